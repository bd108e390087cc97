"""The events by which a response is streamed; each is numbered, from 0 and without gaps."""

from typing import Literal

from pydantic import Field

from schemas.base import Schema
from schemas.response_items import Logprob, OutputItem, OutputText
from schemas.responses import Response

ResponseEventType = Literal[
    "response.created",
    "response.in_progress",
    "response.completed",
    "response.incomplete",
    "response.failed",
]


class StreamEvent(Schema):
    """What all events have."""

    sequence_number: int = 0
    """Given when the event is sent."""


class ResponseEvent(StreamEvent):
    """The whole response as it is at this moment; the last event of a stream is one of these."""

    type: ResponseEventType
    response: Response


class ItemEvent(StreamEvent):
    """An output item begins, or is over."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: OutputItem


class _OfItem(StreamEvent):
    item_id: str
    output_index: int


class PartEvent(_OfItem):
    """A piece of a message begins, or is over."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    content_index: int
    part: OutputText


class TextDelta(_OfItem):
    """More text."""

    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    content_index: int
    delta: str
    logprobs: list[Logprob] = Field(default_factory=list)


class TextDone(_OfItem):
    """All of a piece's text."""

    type: Literal["response.output_text.done"] = "response.output_text.done"
    content_index: int
    text: str
    logprobs: list[Logprob] = Field(default_factory=list)


class ArgumentsDelta(_OfItem):
    """More of a call's arguments."""

    type: Literal["response.function_call_arguments.delta"] = (
        "response.function_call_arguments.delta"
    )
    delta: str


class ArgumentsDone(_OfItem):
    """All of a call's arguments."""

    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"
    name: str
    arguments: str


class StreamError(StreamEvent):
    """Why a stream stops that has no response to end with."""

    type: Literal["error"] = "error"
    code: Literal["server_error"] = "server_error"
    message: str
    param: None = None


Event = (
    ResponseEvent
    | ItemEvent
    | PartEvent
    | TextDelta
    | TextDone
    | ArgumentsDelta
    | ArgumentsDone
    | StreamError
)


def encode_event(event: Event) -> bytes:
    """Return the event as a stream carries it, with its blank line."""
    return f"event: {event.type}\ndata: {event.model_dump_json()}\n\n".encode()
