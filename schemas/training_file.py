"""A line of a training file: one conversation, in the shape that OpenAI's supervised method takes.

Only the shape is here. What must hold between messages is in `jobs.example_rules`, how a
conversation becomes tokens in `jobs.rendering`. Source: `FineTuneChatRequestInput` of OpenAI's spec.
"""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, JsonValue, Tag, TypeAdapter

from schemas.base import RequestBody


class TextPart(RequestBody):
    """A piece of a message's text."""

    type: Literal["text"]
    text: str


class RefusalPart(RequestBody):
    """A piece of an answer that declines."""

    type: Literal["refusal"]
    refusal: str


def _written_as(content: object) -> str | None:
    # Chosen by hand, so that a mistake is told about the form that was meant, not about both.
    if isinstance(content, str):
        return "string"
    return "array" if isinstance(content, list) else None


Text = Annotated[
    Annotated[str, Tag("string")] | Annotated[list[TextPart], Field(min_length=1), Tag("array")],
    Discriminator(_written_as),
]
Part = Annotated[TextPart | RefusalPart, Discriminator("type")]
AnswerText = Annotated[
    Annotated[str, Tag("string")] | Annotated[list[Part], Field(min_length=1), Tag("array")],
    Discriminator(_written_as),
]


class CalledFunction(RequestBody):
    """Which function the model calls, and with what."""

    name: str = Field(min_length=1)
    arguments: str
    """A JSON object, written as a string."""


class ToolCall(RequestBody):
    """A call of a tool that an answer makes."""

    id: str = Field(min_length=1)
    type: Literal["function"]
    function: CalledFunction


class InstructionMessage(RequestBody):
    """What the operator of an assistant tells it."""

    role: Literal["system", "developer"]
    content: Text
    name: str | None = None


class UserMessage(RequestBody):
    """What is asked."""

    role: Literal["user"]
    content: Text
    name: str | None = None


class AssistantMessage(RequestBody):
    """What the model answers: the only kind of message that is learned from."""

    role: Literal["assistant"]
    content: AnswerText | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: CalledFunction | None = None
    """Deprecated by OpenAI: one call without an id."""
    audio: None = None
    """OpenAI's own answers carry it as null."""
    weight: int | None = Field(default=None, ge=0, le=1)
    """0: in the context of what follows, but not learned from."""

    @property
    def is_trained(self) -> bool:
        """Whether the model is to learn this answer."""
        return self.weight != 0


class ToolMessage(RequestBody):
    """What a tool returned."""

    role: Literal["tool"]
    content: Text
    tool_call_id: str = Field(min_length=1)
    name: str | None = None


class FunctionMessage(RequestBody):
    """What a function returned. Deprecated by OpenAI for `ToolMessage`."""

    role: Literal["function"]
    content: str | None
    name: str


Message = InstructionMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage


class Function(RequestBody):
    """A function that the model may call."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, JsonValue] | None = None
    """JSON Schema of the arguments."""
    strict: bool | None = None


class Tool(RequestBody):
    """Something the model may call."""

    type: Literal["function"]
    function: Function


class ChatExample(RequestBody):
    """One conversation to learn from."""

    messages: list[Annotated[Message, Discriminator("role")]] = Field(min_length=1)
    tools: list[Tool] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = Field(default=None, min_length=1, max_length=128)
    """Deprecated by OpenAI for `tools`."""

    @property
    def offered_tools(self) -> list[Tool]:
        """`tools`, and `functions` in the shape of tools; empty where none is offered."""
        legacy = [Tool(type="function", function=function) for function in self.functions or []]
        return [*(self.tools or []), *legacy]


chat_messages: TypeAdapter[list[Message]] = TypeAdapter(
    list[Annotated[Message, Discriminator("role")]]
)
"""Reads the `messages` of a request or of an example."""
