"""A conversation as items, which `/v1/responses` speaks of, and as messages, which models are asked with."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import assert_never

from jobs.responses.compaction import unpack
from schemas.chat import (
    MAX_MESSAGES,
    AssistantMessage,
    CalledFunction,
    InstructionMessage,
    Message,
    TextPart,
    ToolCallMade,
    ToolMessage,
    UserMessage,
)
from schemas.chat import RefusalPart as ChatRefusal
from schemas.errors import InvalidRequest, NotFound
from schemas.ids import new_hex_id
from schemas.response_items import (
    Compaction,
    FunctionCall,
    FunctionCallOutput,
    InputMessage,
    InputText,
    Item,
    OutputMessage,
    OutputText,
    Reasoning,
    ReasoningText,
    Refusal,
    SummaryText,
)
from schemas.response_requests import (
    AnswerPart,
    CallAnswered,
    CallMade,
    Input,
    InputTextPart,
    ItemOfItsOwn,
    ItemReference,
    MadeShort,
    OutputTextPart,
    SaidByModel,
    SaidToModel,
    Thoughts,
)


def referenced_ids(given: Input | None) -> set[str]:
    """Return the ids of stored items that an input refers to."""
    if given is None or isinstance(given, str):
        return set()
    return {item.id for item in given if isinstance(item, ItemReference)}


def items_of(given: Input | None, *, stored: Mapping[str, Item]) -> list[Item]:
    """Return an input as items, each with an id.

    Args:
        given: Checked.
        stored: The caller's items, by id; those that `referenced_ids` names suffice.

    Raises:
        NotFound: An item is referred to that is not stored.
        InvalidRequest: An item is there twice.
    """
    if given is None:
        return []
    if isinstance(given, str):
        given = [SaidToModel(type="message", role="user", content=given)]
    items = [
        _referenced(sent.id, stored) if isinstance(sent, ItemReference) else _item(sent)
        for sent in given
    ]
    for item_id, times in Counter(item.id for item in items).items():
        if times > 1:
            raise InvalidRequest(
                f"Duplicate item found with id {item_id}. Remove duplicate items from your input "
                "and try again.",
                param="input",
            )
    return items


def messages_of(items: Sequence[Item]) -> list[Message]:
    """Return a conversation as a model is asked with it; thoughts are left out.

    Raises:
        InvalidRequest: A call has no output, or an output no call; a compaction is not ours; or the conversation
            is too long.
    """
    _check_calls(items)
    messages: list[Message] = []
    for item in items:
        match item:
            case InputMessage():
                messages.append(_said_to_model(item))
            case OutputMessage():
                messages.append(AssistantMessage(role="assistant", content=_answer_parts(item)))
            case FunctionCall():
                _add_call(messages, item)
            case FunctionCallOutput():
                messages.append(
                    ToolMessage(
                        role="tool", tool_call_id=item.call_id, content=_chat_text(item.output)
                    )
                )
            case Reasoning():
                pass
            case Compaction():
                messages += unpack(item.encrypted_content)
            case _:
                assert_never(item)
    if len(messages) >= MAX_MESSAGES:  # one place is kept for instructions
        raise InvalidRequest(
            f"Invalid 'input': array too long. With what came before, the conversation has "
            f"{len(messages)} messages; expected at most {MAX_MESSAGES - 1}.",
            param="input",
            code="array_above_max_length",
        )
    return messages


def _referenced(item_id: str, stored: Mapping[str, Item]) -> Item:
    if item_id not in stored:
        raise NotFound(
            f"Item with id '{item_id}' not found. Items are not persisted when `store` is set to "
            "false. Try again with `store` set to true, or remove this item from your input.",
            param="input",
        )
    return stored[item_id]


def _item(sent: ItemOfItsOwn) -> Item:
    match sent:
        case SaidToModel():
            return InputMessage(
                id=sent.id or new_hex_id("msg_"), role=sent.role, content=_input_texts(sent.content)
            )
        case SaidByModel():
            return OutputMessage(
                id=sent.id or new_hex_id("msg_"),
                status=sent.status or "completed",
                content=_answer_texts(sent.content),
            )
        case CallMade():
            return FunctionCall(
                id=sent.id or new_hex_id("fc_"),
                status=sent.status or "completed",
                arguments=sent.arguments,
                call_id=sent.call_id,
                name=sent.name,
            )
        case CallAnswered():
            output = sent.output if isinstance(sent.output, str) else _input_texts(sent.output)
            return FunctionCallOutput(
                id=sent.id or new_hex_id("fc_"), call_id=sent.call_id, output=output
            )
        case Thoughts():
            return _reasoning(sent)
        case MadeShort():
            return Compaction(
                id=sent.id or new_hex_id("cmp_"), encrypted_content=sent.encrypted_content
            )
        case _:
            assert_never(sent)


def _input_texts(content: str | list[InputTextPart]) -> list[InputText]:
    if isinstance(content, str):
        return [InputText(text=content)]
    return [InputText(text=part.text) for part in content]


def _answer_texts(content: str | list[AnswerPart]) -> list[OutputText | Refusal]:
    if isinstance(content, str):
        return [OutputText(text=content)]
    return [
        OutputText(text=part.text)
        if isinstance(part, OutputTextPart)
        else Refusal(refusal=part.refusal)
        for part in content
    ]


def _reasoning(sent: Thoughts) -> Reasoning:
    return Reasoning(
        id=sent.id or new_hex_id("rs_"),
        summary=[SummaryText(text=part.text) for part in sent.summary],
        content=[ReasoningText(text=part.text) for part in sent.content] if sent.content else None,
        encrypted_content=sent.encrypted_content,
    )


def _check_calls(items: Sequence[Item]) -> None:
    # In the order of the conversation, which a set forgets; a list would be searched for each call.
    made = dict.fromkeys(item.call_id for item in items if isinstance(item, FunctionCall))
    answered = dict.fromkeys(item.call_id for item in items if isinstance(item, FunctionCallOutput))
    for call_id in answered:
        if call_id not in made:
            raise InvalidRequest(
                f"No tool call found for function call output with call_id {call_id}.",
                param="input",
            )
    for call_id in made:
        if call_id not in answered:
            raise InvalidRequest(
                f"No tool output found for function call {call_id}.", param="input"
            )


def _said_to_model(item: InputMessage) -> InstructionMessage | UserMessage:
    content = _chat_text(item.content)
    if item.role == "user":
        return UserMessage(role="user", content=content)
    return InstructionMessage(role=item.role, content=content)


def _chat_text(content: str | list[InputText]) -> str | list[TextPart]:
    if isinstance(content, str):
        return content
    if len(content) == 1:
        return content[0].text
    return [TextPart(type="text", text=part.text) for part in content]


def _answer_parts(item: OutputMessage) -> str | list[TextPart | ChatRefusal]:
    match item.content:
        case [OutputText(text=text)]:
            return text
        case parts:
            return [
                TextPart(type="text", text=part.text)
                if isinstance(part, OutputText)
                else ChatRefusal(type="refusal", refusal=part.refusal)
                for part in parts
            ]


def _add_call(messages: list[Message], item: FunctionCall) -> None:
    """Add a call to what the assistant said or called just before: in a chat they are one message."""
    # Unchecked: the model chose the name, which need not be one that a client could offer.
    function = CalledFunction.model_construct(name=item.name, arguments=item.arguments)
    call = ToolCallMade(id=item.call_id, type="function", function=function)
    match messages:
        case [*_, AssistantMessage() as last]:
            calls = [*(last.tool_calls or []), call]
            messages[-1] = last.model_copy(update={"tool_calls": calls})
        case _:
            messages.append(AssistantMessage(role="assistant", tool_calls=[call]))
