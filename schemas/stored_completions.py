"""Chat completions that were asked for with `store: true`, as OpenAI shows them later."""

from typing import Any, Literal

from pydantic import Field, JsonValue

from schemas.base import Metadata, RequestBody, Schema
from schemas.chat import ChatRequest
from schemas.completions import AbsentIfNone, ChatCompletion, FunctionCall, ToolCall


class StoredCompletion(ChatCompletion):
    """A whole answer, with what of its request shaped it."""

    request_id: str | None = None
    """Of the response's header `x-request-id`; None where no HTTP request asked."""
    input_user: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    temperature: float = 1.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    tools: list[dict[str, JsonValue]] | None = None
    tool_choice: str | dict[str, JsonValue] | None = None
    response_format: dict[str, JsonValue] | None = None

    @classmethod
    def of(
        cls, completion: ChatCompletion, request: ChatRequest, *, request_id: str | None
    ) -> "StoredCompletion":
        """Return what is kept of an answer and its request."""
        asked = request.model_dump(mode="json", exclude_none=True, by_alias=True)
        shaped = {name: asked[name] for name in _SHAPING & asked.keys()}
        return cls.model_validate(
            completion.model_dump()
            | shaped
            | {"request_id": request_id, "input_user": asked.get("user")}
        )


_SHAPING = StoredCompletion.model_fields.keys() - ChatCompletion.model_fields.keys()


class TextPart(Schema):
    """A piece of a message that was sent in pieces."""

    type: Literal["text"] = "text"
    text: str


class StoredMessage(Schema):
    """One message of the request that led to a stored completion."""

    id: str
    """The completion's id, a hyphen, and the message's place from 0."""
    role: str
    content: str | None = None
    content_parts: list[TextPart] | None = None
    """Where the content came as an array; None otherwise."""
    name: str | None = None
    refusal: str | None = None
    tool_calls: AbsentIfNone[list[ToolCall]] = None
    function_call: AbsentIfNone[FunctionCall] = None
    tool_call_id: AbsentIfNone[str] = None


class CompletionDeleted(Schema):
    """The answer to `DELETE /v1/chat/completions/{id}`."""

    id: str
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    deleted: Literal[True] = True


class UpdateCompletion(RequestBody):
    """The body of `POST /v1/chat/completions/{id}`: all that can be changed."""

    metadata: Metadata | None
    """Takes the place of all that was there; null: none."""


def stored_messages(completion_id: str, request: ChatRequest) -> list[StoredMessage]:
    """Return the request's messages as `GET /v1/chat/completions/{id}/messages` shows them."""
    return [
        _stored_message(f"{completion_id}-{place}", message.model_dump())
        for place, message in enumerate(request.messages)
    ]


def _stored_message(id: str, message: dict[str, Any]) -> StoredMessage:
    content = message.get("content")
    shown: dict[str, Any] = {"content": content}
    if isinstance(content, list):
        shown = {"content": None, "content_parts": [_text_part(part) for part in content]}
    return StoredMessage.model_validate(message | shown | {"id": id})


def _text_part(part: dict[str, Any]) -> TextPart:
    return TextPart(text=part.get("text") or part.get("refusal", ""))
