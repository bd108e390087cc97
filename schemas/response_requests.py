"""A request to `/v1/responses`: what OpenAI documents, within caps.

What a text model of ours cannot do (hosted tools, pictures, background work, conversations kept by the server) is
refused by name, so that nothing silently changes an answer.
"""

from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from schemas.base import Metadata, RequestBody
from schemas.chat import (
    MAX_MESSAGES,
    FunctionName,
    Ignored,
    JsonObjectFormat,
    JsonSchema,
    NonEmpty,
    TextFormat,
    Unsupported,
)
from schemas.completions import AbsentIfNone

MAX_TOOLS: Final = 128
_HOSTED_TOOLS: Final = "its type must be 'function', because this server hosts no tools of its own"


def _is_none(value: object) -> bool:
    return value is None


def _only_functions(value: JsonValue) -> JsonValue:
    if isinstance(value, str) and value != "function":
        raise PydanticCustomError(
            "unsupported_value",
            f"Unsupported value: '{{param}}' does not support '{{given}}': {_HOSTED_TOOLS}.",
            {"given": value[:64]},
        )
    return value


def _refuse_true(value: bool | None) -> bool | None:
    if value:
        raise PydanticCustomError(
            "unsupported_value",
            "Unsupported value: '{param}' does not support true with this server. "
            "Leave it out or send false.",
        )
    return value


def _refuse_auto(value: str | None) -> str | None:
    if value == "auto":
        raise PydanticCustomError(
            "unsupported_value",
            "Unsupported value: '{param}' does not support 'auto' with this server, which drops "
            "nothing of a conversation. Use 'disabled' and shorten the input.",
        )
    return value


def _with_type(item: JsonValue) -> JsonValue:
    """Name the type of an item that may leave it out: a message, or a reference."""
    if isinstance(item, dict) and not isinstance(item.get("type"), str):
        if "role" in item:
            return {**item, "type": "message"}
        if "id" in item:
            return {**item, "type": "item_reference"}
    return item


AbsentUnsupported = Annotated[Unsupported, Field(exclude_if=_is_none)]
"""As `Unsupported`, in a value that answers repeat."""

FunctionType = Annotated[Literal["function"], BeforeValidator(_only_functions)]
ItemId = Annotated[str, Field(min_length=1, max_length=64)]
CallId = Annotated[str, Field(min_length=1, max_length=512)]
Status = Literal["in_progress", "completed", "incomplete"]
ReasoningSummary = Literal["auto"]
"""The most that a model gives, which here is none."""


class InputTextPart(RequestBody):
    """A piece of a message; pictures, audio and files are refused by name."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: Ignored = None


class OutputTextPart(RequestBody):
    """A piece of an earlier answer, as it was answered."""

    type: Literal["output_text"]
    text: str
    annotations: Ignored = None
    logprobs: Ignored = None


class RefusalPart(RequestBody):
    """A refusal in an earlier answer."""

    type: Literal["refusal"]
    refusal: str


AnswerPart = Annotated[OutputTextPart | RefusalPart, Discriminator("type")]


class SaidToModel(RequestBody):
    """What the user or the application says."""

    type: Literal["message"]
    role: Literal["user", "system", "developer"]
    content: str | NonEmpty[InputTextPart]
    id: ItemId | None = None
    status: Status | None = None


class SaidByModel(RequestBody):
    """What the model said before."""

    type: Literal["message"]
    role: Literal["assistant"]
    content: str | NonEmpty[AnswerPart]
    id: ItemId | None = None
    status: Status | None = None
    phase: Ignored = None


class CallMade(RequestBody):
    """A function that the model called before."""

    type: Literal["function_call"]
    call_id: CallId
    name: FunctionName
    arguments: str
    id: ItemId | None = None
    status: Status | None = None
    namespace: Unsupported = None
    caller: Unsupported = None
    async_: Unsupported = Field(default=None, alias="async")


class CallAnswered(RequestBody):
    """What the function gave."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: str | NonEmpty[InputTextPart]
    id: ItemId | None = None
    status: Status | None = None
    name: str | None = None
    """Repeats what the call says."""
    namespace: Unsupported = None
    caller: Unsupported = None


class SummaryPart(RequestBody):
    """A piece of a summary of thoughts."""

    type: Literal["summary_text"]
    text: str


class ThoughtPart(RequestBody):
    """A piece of thoughts."""

    type: Literal["reasoning_text"]
    text: str


class Thoughts(RequestBody):
    """Thoughts of an earlier answer: taken and kept, but shown to no model, as OpenAI drops those of past turns."""

    type: Literal["reasoning"]
    summary: list[SummaryPart] = Field(default_factory=list)
    content: list[ThoughtPart] | None = None
    encrypted_content: str | None = None
    id: ItemId | None = None
    status: Status | None = None


class MadeShort(RequestBody):
    """A conversation that this server made short."""

    type: Literal["compaction"]
    encrypted_content: str
    id: ItemId | None = None
    created_by: Ignored = None


class ItemReference(RequestBody):
    """An item of a stored response."""

    type: Literal["item_reference"]
    id: ItemId


ItemOfItsOwn = SaidToModel | SaidByModel | CallMade | CallAnswered | Thoughts | MadeShort
SentItem = Annotated[
    Annotated[SaidToModel | SaidByModel, Discriminator("role")]
    | CallMade
    | CallAnswered
    | Thoughts
    | MadeShort
    | ItemReference,
    Discriminator("type"),
    BeforeValidator(_with_type),
]
Input = str | Annotated[list[SentItem], Field(min_length=1, max_length=MAX_MESSAGES)]


class FunctionTool(RequestBody):
    """A function that the model may call; answers repeat it."""

    type: FunctionType
    name: FunctionName
    description: str | None = None
    parameters: JsonSchema | None = None
    strict: bool | None = None
    allowed_callers: AbsentUnsupported = None
    async_: Annotated[AbsentUnsupported, Field(alias="async")] = None
    defer_loading: AbsentUnsupported = None
    output_schema: AbsentUnsupported = None


class ChosenFunction(RequestBody):
    """The function that must be called, or one of those that may be."""

    type: Literal["function"]
    name: FunctionName


class AllowedTools(RequestBody):
    """The tools that may be called, or of which one must be."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[ChosenFunction], Field(min_length=1, max_length=MAX_TOOLS)]


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[ChosenFunction | AllowedTools, Discriminator("type")]
)


class JsonSchemaFormat(RequestBody):
    """JSON that fits a schema."""

    model_config = ConfigDict(serialize_by_alias=True)

    type: Literal["json_schema"]
    name: FunctionName
    description: AbsentIfNone[str] = None
    schema_: JsonSchema = Field(alias="schema")
    strict: bool | None = None


Format = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Discriminator("type")]


class TextSettings(RequestBody):
    """How the text shall look; answers repeat it."""

    format: Format | None = None
    verbosity: Literal["medium"] | None = None


class ReasoningSettings(RequestBody):
    """How much the model shall think; answers repeat it."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: ReasoningSummary | None = None
    generate_summary: AbsentIfNone[ReasoningSummary] = None
    context: AbsentIfNone[Literal["auto"]] = None
    mode: AbsentIfNone[Literal["standard"]] = None


class StreamOptions(RequestBody):
    """What a stream shows beside the answer."""

    include_obfuscation: bool | None = None
    """Accepted; our events carry no padding."""


Includable = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]
"""All but the last are of items that no answer here has."""


class Conversation(RequestBody):
    """What is said to a model."""

    model: str = Field(min_length=1, max_length=512)
    input: Input | None = None
    instructions: str | None = None
    previous_response_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class CompactRequest(Conversation):
    """The body of `POST /v1/responses/compact`."""

    image: Ignored = None
    prompt_cache_key: str | None = Field(default=None, max_length=64)
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    service_tier: Literal["auto", "default"] | None = None


class ShapedConversation(Conversation):
    """What is said to a model, and the shape of what it may answer."""

    parallel_tool_calls: bool | None = None
    reasoning: ReasoningSettings | None = None
    text: TextSettings | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None

    conversation: Unsupported = None

    @field_validator("tool_choice")
    @classmethod
    def _among_tools(cls, value: ToolChoice | None, info: ValidationInfo) -> ToolChoice | None:
        names = {tool.name for tool in info.data.get("tools") or []}
        match value:
            case ChosenFunction():
                is_there = value.name in names
            case AllowedTools():
                is_there = all(tool.name in names for tool in value.tools)
            case "required":
                is_there = bool(names)
            case _:
                is_there = True
        if not is_there:
            raise PydanticCustomError(
                "invalid_value", "Tool choice not found in 'tools' parameter: see '{param}'."
            )
        return value


class ResponseRequest(ShapedConversation):
    """The body of `POST /v1/responses`."""

    max_output_tokens: int | None = Field(default=None, ge=16, le=10_000_000)
    max_tool_calls: int | None = Field(default=None, ge=0, le=10_000_000)
    """Limits calls of hosted tools only, of which there are none."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    include: list[Includable] | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    truncation: Annotated[Literal["auto", "disabled"] | None, AfterValidator(_refuse_auto)] = None
    background: Annotated[bool | None, AfterValidator(_refuse_true)] = None
    service_tier: Literal["auto", "default"] | None = None

    image: Ignored = None
    """Of pictures, which there are none of."""
    prompt_cache_key: str | None = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    safety_identifier: str | None = Field(default=None, max_length=64)
    user: str | None = None

    access_programs: Unsupported = None
    context_management: Unsupported = None
    moderation: Unsupported = None
    prompt: Unsupported = None

    @field_validator("stream_options")
    @classmethod
    def _only_of_a_stream(
        cls, value: StreamOptions | None, info: ValidationInfo
    ) -> StreamOptions | None:
        if value is not None and not info.data.get("stream"):
            raise PydanticCustomError(
                "invalid_value",
                "The '{param}' parameter is only allowed when 'stream' is enabled.",
            )
        return value

    @property
    def wants_logprobs(self) -> bool:
        """Whether the answer shall tell how likely its tokens were."""
        return bool(self.top_logprobs) or "message.output_text.logprobs" in (self.include or [])


class CountRequest(ShapedConversation):
    """The body of `POST /v1/responses/input_tokens`."""

    truncation: Annotated[Literal["auto", "disabled"] | None, AfterValidator(_refuse_auto)] = None
    personality: Unsupported = None
