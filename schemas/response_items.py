"""What a response is made of, going in and coming out: messages, calls of functions, and what the functions gave.

OpenAI calls these items. Here they are as they are stored, listed and answered, each with its id; what a client
may send is `schemas.response_requests`.
"""

from typing import Annotated, Literal

from pydantic import Discriminator, Field

from schemas.base import Schema
from schemas.completions import AbsentIfNone

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class TopLogprob(Schema):
    """One of the likeliest tokens at a position."""

    token: str
    logprob: float
    """In nats; -9999.0 stands for minus infinity."""
    bytes: list[int]


class Logprob(TopLogprob):
    """A token of the answer, and the likeliest ones at its place."""

    top_logprobs: list[TopLogprob]


class InputText(Schema):
    """A piece of what was said to the model."""

    type: Literal["input_text"] = "input_text"
    text: str


class OutputText(Schema):
    """A piece of what the model said."""

    type: Literal["output_text"] = "output_text"
    annotations: list[None] = Field(default_factory=list)
    """Always empty: no model here searches files or the web."""
    logprobs: list[Logprob] = Field(default_factory=list)
    """Empty unless asked for."""
    text: str


class Refusal(Schema):
    """A refusal of an earlier answer that a client sent back."""

    type: Literal["refusal"] = "refusal"
    refusal: str


class InputMessage(Schema):
    """What the user or the application said."""

    id: str
    type: Literal["message"] = "message"
    status: ItemStatus = "completed"
    content: list[InputText]
    role: Literal["user", "system", "developer"]


class OutputMessage(Schema):
    """What the model said."""

    id: str
    type: Literal["message"] = "message"
    status: ItemStatus
    content: list[Annotated[OutputText | Refusal, Discriminator("type")]]
    role: Literal["assistant"] = "assistant"


class FunctionCall(Schema):
    """What the model called: `arguments` is JSON as the model wrote it, which need not be valid."""

    id: str
    type: Literal["function_call"] = "function_call"
    status: ItemStatus
    arguments: str
    call_id: str
    """Names the call where its output is sent back."""
    name: str


class FunctionCallOutput(Schema):
    """What a called function gave."""

    id: str
    type: Literal["function_call_output"] = "function_call_output"
    status: ItemStatus = "completed"
    call_id: str
    output: str | list[InputText]


class SummaryText(Schema):
    """A piece of a summary of thoughts."""

    type: Literal["summary_text"] = "summary_text"
    text: str


class ReasoningText(Schema):
    """A piece of the thoughts themselves."""

    type: Literal["reasoning_text"] = "reasoning_text"
    text: str


class Reasoning(Schema):
    """Thoughts of another server's model that a client sent back; no model here is shown them."""

    id: str
    type: Literal["reasoning"] = "reasoning"
    summary: list[SummaryText]
    content: AbsentIfNone[list[ReasoningText]] = None
    encrypted_content: AbsentIfNone[str] = None


class Compaction(Schema):
    """A conversation made short (`jobs.responses.compaction`)."""

    id: str
    type: Literal["compaction"] = "compaction"
    encrypted_content: str


OutputItem = Annotated[OutputMessage | FunctionCall, Discriminator("type")]
Item = Annotated[
    Annotated[InputMessage | OutputMessage, Discriminator("role")]
    | FunctionCall
    | FunctionCallOutput
    | Reasoning
    | Compaction,
    Discriminator("type"),
]
