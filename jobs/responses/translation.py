"""A request for a response as a request for a chat, and a response as it begins and as it ends. Pure."""

from typing import Final, Literal

from schemas import chat
from schemas.chat import ChatRequest, Message
from schemas.completions import FinishReason
from schemas.completions import Usage as ChatUsage
from schemas.response_items import OutputItem
from schemas.response_requests import (
    AllowedTools,
    ChosenFunction,
    Conversation,
    Format,
    FunctionTool,
    JsonSchemaFormat,
    ReasoningSettings,
    ResponseRequest,
    ShapedConversation,
    TextSettings,
)
from schemas.responses import (
    IncompleteDetails,
    InputTokensDetails,
    OutputTokensDetails,
    Response,
    ResponseError,
    Usage,
)

_CUT: Final[dict[FinishReason, Literal["max_output_tokens", "content_filter"]]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}
"""Why an answer ended early, by a chat's word for it."""


def plain_chat(conversation: Conversation, messages: list[Message]) -> ChatRequest:
    """Return what a model is to be told.

    Args:
        conversation: Checked; its instructions come first, its `input` is in `messages`.
        messages: The whole conversation, from `previous_response_id` on.
    """
    if conversation.instructions is not None:
        told = chat.InstructionMessage(role="system", content=conversation.instructions)
        messages = [told, *messages]
    return ChatRequest(model=conversation.model, messages=messages)


def to_chat(conversation: ShapedConversation, messages: list[Message]) -> ChatRequest:
    """Return what a model is to be asked, before how it shall choose its words; arguments as for `plain_chat`."""
    request = plain_chat(conversation, messages)
    update: dict[str, object] = {}
    if conversation.tools:
        update |= {
            "tools": [_tool(tool) for tool in _allowed(conversation)],
            "tool_choice": _tool_choice(conversation),
            "parallel_tool_calls": conversation.parallel_tool_calls,
        }
    if conversation.text and conversation.text.format:
        update["response_format"] = _response_format(conversation.text.format)
    if conversation.reasoning:
        update["reasoning_effort"] = conversation.reasoning.effort
    return request.model_copy(update=update)


def with_sampling(asked: ChatRequest, request: ResponseRequest) -> ChatRequest:
    """Return `asked` with how the model shall choose its words, and how the answer shall come."""
    return asked.model_copy(
        update={
            "stream": request.stream,
            "stream_options": chat.StreamOptions(include_usage=True) if request.stream else None,
            "max_completion_tokens": request.max_output_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "logprobs": request.wants_logprobs or None,
            "top_logprobs": request.top_logprobs,
        }
    )


def opened(request: ResponseRequest, *, response_id: str, model: str, now: int) -> Response:
    """Return a response as it begins.

    Args:
        request: What it answers.
        response_id: Its own.
        model: The public name of who answers.
        now: Unix seconds.
    """
    given = request.text or TextSettings()
    return Response(
        id=response_id,
        created_at=now,
        status="in_progress",
        instructions=request.instructions,
        max_output_tokens=request.max_output_tokens,
        max_tool_calls=request.max_tool_calls,
        model=model,
        parallel_tool_calls=request.parallel_tool_calls is not False,
        previous_response_id=request.previous_response_id,
        prompt_cache_key=request.prompt_cache_key,
        prompt_cache_retention=request.prompt_cache_retention,
        reasoning=request.reasoning or ReasoningSettings(),
        safety_identifier=request.safety_identifier,
        store=request.store is not False,
        temperature=1.0 if request.temperature is None else request.temperature,
        text=TextSettings(format=given.format or chat.TextFormat(type="text"), verbosity="medium"),
        tool_choice=request.tool_choice or "auto",
        tools=request.tools or [],
        top_logprobs=request.top_logprobs or 0,
        top_p=1.0 if request.top_p is None else request.top_p,
        user=request.user,
        metadata=request.metadata or {},
    )


def is_cut(finish_reason: FinishReason) -> bool:
    """Whether an answer that ended so is not whole."""
    return finish_reason in _CUT


def ended(
    response: Response,
    *,
    output: list[OutputItem],
    usage: ChatUsage | None,
    finish_reason: FinishReason,
    now: int,
) -> Response:
    """Return a response whose model has come to its end."""
    reason = _CUT.get(finish_reason)
    return response.model_copy(
        update={
            "status": "incomplete" if reason else "completed",
            "completed_at": None if reason else now,
            "incomplete_details": IncompleteDetails(reason=reason) if reason else None,
            "output": output,
            "usage": usage and counted(usage),
        }
    )


def failed(response: Response, *, output: list[OutputItem], message: str) -> Response:
    """Return a response whose model broke off."""
    return response.model_copy(
        update={"status": "failed", "error": ResponseError(message=message), "output": output}
    )


def counted(usage: ChatUsage) -> Usage:
    """Return a chat's count of tokens as a response's."""
    return Usage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputTokensDetails(
            cached_tokens=usage.prompt_tokens_details.cached_tokens
        ),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputTokensDetails(
            reasoning_tokens=usage.completion_tokens_details.reasoning_tokens
        ),
        total_tokens=usage.total_tokens,
    )


def _allowed(conversation: ShapedConversation) -> list[FunctionTool]:
    tools = conversation.tools or []
    if not isinstance(conversation.tool_choice, AllowedTools):
        return tools
    names = {tool.name for tool in conversation.tool_choice.tools}
    return [tool for tool in tools if tool.name in names]


def _tool(tool: FunctionTool) -> chat.Tool:
    given = tool.model_dump(
        include={"name", "description", "parameters", "strict"}, exclude_unset=True
    )
    return chat.Tool(type="function", function=chat.Function.model_validate(given))


def _tool_choice(
    conversation: ShapedConversation,
) -> Literal["none", "auto", "required"] | chat.ToolChoice | None:
    match conversation.tool_choice:
        case ChosenFunction(name=name):
            return chat.ToolChoice(type="function", function=chat.ChosenFunction(name=name))
        case AllowedTools(mode=mode):
            return mode
        case choice:
            return choice


def _response_format(given: Format) -> chat.ResponseFormat:
    if not isinstance(given, JsonSchemaFormat):
        return given
    named = given.model_dump(exclude={"type"}, exclude_unset=True)
    return chat.JsonSchemaFormat(
        type="json_schema", json_schema=chat.NamedSchema.model_validate(named)
    )
