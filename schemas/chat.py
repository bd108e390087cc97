"""A request to `/v1/chat/completions`: what OpenAI documents, within caps, and what of it an engine is asked.

vLLM takes many fields beyond OpenAI's, some of which read files or end the engine. So nothing passes that is
not named here: `to_upstream` builds the engine's request from checked values, never from what came in.
"""

import json
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    JsonValue,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from schemas.base import Metadata, RequestBody

MAX_MESSAGES: Final = 2048
MAX_CHOICES: Final = 8
"""Of `n`. OpenAI takes 128; each is a sequence of its own on the device."""
MAX_SCHEMA_BYTES: Final = 64 * 1024
MAX_SCHEMA_DEPTH: Final = 32
"""JSON levels: sixteen objects, each under the `properties` of another."""
MAX_SCHEMA_PATTERN: Final = 256
"""Characters of a regular expression that the engine would compile."""

LEGACY_CALL_ID: Final = "call_function"
"""The id of a deprecated `function_call`, which has none; training renders the same (`jobs.template_messages`)."""

_SMALLEST_TOP_P: Final = 1e-6
_T = TypeVar("_T")


def _refuse_parameter(value: JsonValue) -> JsonValue:
    if value is not None:
        raise PydanticCustomError(
            "unsupported_parameter",
            "Unsupported parameter: '{param}' is not supported by this server.",
        )
    return value


def _check_schema(schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Keep a JSON Schema from costing the engine more than it may."""
    if len(json.dumps(schema)) > MAX_SCHEMA_BYTES:
        raise PydanticCustomError(
            "invalid_value", f"Invalid '{{param}}': schema larger than {MAX_SCHEMA_BYTES} bytes."
        )
    level: list[JsonValue] = [schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        level = [member for value in level for member in _members(value)]
    if level:
        raise PydanticCustomError(
            "invalid_value",
            f"Invalid '{{param}}': schema nests deeper than {MAX_SCHEMA_DEPTH} levels.",
        )
    return schema


def _members(value: JsonValue) -> list[JsonValue]:
    match value:
        case list():
            return value
        case {"pattern": str(pattern)} if len(pattern) > MAX_SCHEMA_PATTERN:
            raise PydanticCustomError(
                "invalid_value",
                f"Invalid '{{param}}': a 'pattern' is longer than {MAX_SCHEMA_PATTERN} characters.",
            )
        case dict():
            return list(value.values())
        case _:
            return []


Unsupported = Annotated[
    JsonValue,
    AfterValidator(_refuse_parameter),
    WithJsonSchema({"type": "null", "description": "Not supported here: only null is taken."}),
]
"""A field that OpenAI documents and that would change the answer; only null is accepted."""

Ignored = Annotated[JsonValue, Field(description="Taken, and means nothing to the answer here.")]
"""A field that OpenAI documents and that means nothing to the answer here."""

NonEmpty = Annotated[list[_T], Field(min_length=1)]
JsonSchema = Annotated[dict[str, JsonValue], AfterValidator(_check_schema)]
FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
ParticipantName = Annotated[str, Field(min_length=1, max_length=64)]
StopSequence = Annotated[str, Field(min_length=1, max_length=1024)]
TokenId = Annotated[str, Field(pattern=r"^[0-9]{1,7}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]


class TextPart(RequestBody):
    """A piece of a message; images, audio and files are refused by name."""

    type: Literal["text"]
    text: str
    prompt_cache_breakpoint: Ignored = None


class RefusalPart(RequestBody):
    """A piece of an earlier answer of the assistant."""

    type: Literal["refusal"]
    refusal: str


Text = str | NonEmpty[TextPart]


class InstructionMessage(RequestBody):
    """What the application says."""

    role: Literal["system", "developer"]
    content: Text
    name: ParticipantName | None = None


class UserMessage(RequestBody):
    """What the user says."""

    role: Literal["user"]
    content: Text
    name: ParticipantName | None = None


class CalledFunction(RequestBody):
    """What the assistant called, with arguments as it wrote them."""

    name: FunctionName
    arguments: str


class ToolCallMade(RequestBody):
    """A call that the assistant made."""

    id: str = Field(min_length=1, max_length=512)
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(RequestBody):
    """What the assistant said or called."""

    role: Literal["assistant"]
    content: str | NonEmpty[Annotated[TextPart | RefusalPart, Discriminator("type")]] | None = None
    refusal: str | None = None
    name: ParticipantName | None = None
    tool_calls: NonEmpty[ToolCallMade] | None = None
    annotations: Ignored = None
    """Not a request's field, but clients send answers back as they got them."""
    audio: Unsupported = None
    function_call: CalledFunction | None = None
    """Deprecated by OpenAI for `tool_calls`."""

    @model_validator(mode="after")
    def _says_something(self) -> "AssistantMessage":
        said = (self.content, self.refusal, self.tool_calls, self.function_call)
        if all(part is None for part in said):
            raise PydanticCustomError(
                "invalid_value",
                "Invalid value for '{param}.content': expected a string, but got null instead.",
            )
        return self


class ToolMessage(RequestBody):
    """What a called tool answered."""

    role: Literal["tool"]
    tool_call_id: str = Field(min_length=1, max_length=512)
    content: Text


class FunctionMessage(RequestBody):
    """What a called function answered. Deprecated by OpenAI for `ToolMessage`."""

    role: Literal["function"]
    content: str | None
    name: FunctionName


Message = Annotated[
    InstructionMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage,
    Discriminator("role"),
]


class Function(RequestBody):
    """A function that the model may call."""

    name: FunctionName
    description: str | None = None
    parameters: JsonSchema | None = None
    strict: bool | None = None


class Tool(RequestBody):
    """A tool that the model may use."""

    type: Literal["function"]
    function: Function


class ChosenFunction(RequestBody):
    """The function that must be called."""

    name: FunctionName


class ToolChoice(RequestBody):
    """The tool that must be used."""

    type: Literal["function"]
    function: ChosenFunction


class AllowedTools(RequestBody):
    """Of the request's tools, those that may be used this time."""

    mode: Literal["auto", "required"]
    tools: NonEmpty[ToolChoice]


class AllowedToolsChoice(RequestBody):
    """Some of the tools may, or must, be used."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


class TextFormat(RequestBody):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(RequestBody):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(RequestBody):
    """`response_format.json_schema`."""

    name: FunctionName
    description: str | None = None
    schema_: JsonSchema = Field(alias="schema")
    """OpenAI's specification lets it be absent; then there is nothing to hold the answer to."""
    strict: bool | None = None


class JsonSchemaFormat(RequestBody):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Discriminator("type")]


class StreamOptions(RequestBody):
    """What a stream shows beside the answer."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    """Accepted; our events carry no padding."""


class ChatRequest(RequestBody):
    """The body of `POST /v1/chat/completions`."""

    model: str = Field(min_length=1, max_length=512)
    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)

    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_CHOICES)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    max_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stop: StopSequence | Annotated[list[StopSequence], Field(min_length=1, max_length=4)] | None = (
        None
    )
    logit_bias: Annotated[dict[TokenId, Bias], Field(max_length=300)] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = Field(default=None, max_length=128)
    tool_choice: (
        Literal["none", "auto", "required"]
        | Annotated[ToolChoice | AllowedToolsChoice, Discriminator("type")]
        | None
    ) = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[Function], Field(min_length=1, max_length=128)] | None = None
    """Deprecated by OpenAI for `tools`; the answer then calls in the deprecated shape too."""
    function_call: Literal["none", "auto"] | ChosenFunction | None = None
    """Deprecated by OpenAI for `tool_choice`."""
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )

    metadata: Metadata | None = None
    modalities: NonEmpty[Literal["text"]] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None
    safety_identifier: str | None = Field(default=None, max_length=64)
    service_tier: Literal["auto", "default"] | None = None
    store: bool | None = None
    """Whether to keep the answer for `GET /v1/chat/completions/{id}`."""
    user: str | None = None
    verbosity: Literal["medium"] | None = None

    audio: Unsupported = None
    moderation: Unsupported = None
    prediction: Unsupported = None
    web_search_options: Unsupported = None

    @field_validator("stream_options")
    @classmethod
    def _only_of_a_stream(
        cls, value: StreamOptions | None, info: ValidationInfo
    ) -> StreamOptions | None:
        return only_of_a_stream(value, info)

    @field_validator("top_logprobs")
    @classmethod
    def _only_with_logprobs(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and not info.data.get("logprobs"):
            raise PydanticCustomError(
                "invalid_value", "The '{param}' parameter is only allowed when 'logprobs' is true."
            )
        return value

    @field_validator("max_tokens")
    @classmethod
    def _only_one_limit(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("max_completion_tokens") is not None:
            raise PydanticCustomError(
                "invalid_parameter_combination",
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            )
        return value

    @field_validator("tool_choice", "parallel_tool_calls", "function_call")
    @classmethod
    def _only_with_something_to_call(cls, value: _T, info: ValidationInfo) -> _T:
        offered = "functions" if info.field_name == "function_call" else "tools"
        # An invalid list is told by itself.
        if value is not None and offered in info.data and not info.data[offered]:
            raise PydanticCustomError(
                "invalid_value",
                f"Invalid value for '{{param}}': '{{param}}' is only allowed when '{offered}' are "
                "specified.",
            )
        return value

    @field_validator("tool_choice", "function_call")
    @classmethod
    def _names_what_is_offered(cls, value: _T, info: ValidationInfo) -> _T:
        match value:
            case ToolChoice(function=chosen):
                wanted = {chosen.name}
            case AllowedToolsChoice(allowed_tools=allowed):
                wanted = {choice.function.name for choice in allowed.tools}
            case ChosenFunction(name=name):
                wanted = {name}
            case _:
                return value
        tools: list[Tool] = info.data.get("tools") or []
        functions: list[Function] = info.data.get("functions") or []
        offered = {tool.function.name for tool in tools} | {f.name for f in functions}
        if missing := sorted(wanted - offered):
            raise PydanticCustomError(
                "invalid_value",
                f"Invalid value for '{{param}}': there is no function '{missing[0]}' in this request.",
            )
        return value

    @property
    def calls_functions(self) -> bool:
        """Whether calls are answered in the deprecated shape, `function_call`."""
        return bool(self.functions and not self.tools)

    def estimated_tokens(self) -> int:
        """Guess what question and answer will take: a token for four characters, and the whole answer allowed."""
        written = sum(len(message.model_dump_json()) for message in self.messages)
        answer = self.max_completion_tokens or self.max_tokens or 0
        return written // 4 + answer * (self.n or 1)

    @property
    def includes_usage(self) -> bool:
        """Whether a stream shall end with the tokens it took."""
        return bool(self.stream_options and self.stream_options.include_usage)


_FORWARDED: Final = {
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop",
    "stream",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
}


def to_upstream(request: ChatRequest, *, cache_salt: str) -> dict[str, Any]:
    """Return what the engine is asked, all but who shall answer.

    Args:
        request: Checked.
        cache_salt: One for each project, so that no prompt's timing tells another project of it.
    """
    body: dict[str, Any] = {
        name: value
        for name, value in request.model_dump(
            include=_FORWARDED, exclude_unset=True, by_alias=True
        ).items()
        if value is not None
    }
    body["cache_salt"] = cache_salt
    body["messages"] = [plain_message(message) for message in body["messages"]]
    body |= _offered(request)
    if request.stream:
        # Asked for always: it is what usage is counted by. The client sees it if the client asked.
        body["stream_options"] = {"include_usage": True}
    return body | greedy_in_numbers(request.temperature, request.top_p, n_choices=request.n or 1)


def greedy_in_numbers(
    temperature: float | None, top_p: float | None, *, n_choices: int
) -> dict[str, float]:
    """Return how vLLM is asked for what it refuses as OpenAI's clients write it."""
    changed: dict[str, float] = {}
    if top_p == 0:
        changed["top_p"] = _SMALLEST_TOP_P  # vLLM wants more than 0; both leave the likeliest token
    if temperature == 0 and n_choices > 1:
        # vLLM refuses several greedy answers; sampling among the one likeliest token is the same.
        changed |= {"temperature": 1, "top_k": 1}
    return changed


def only_of_a_stream(value: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
    """Check that `stream_options` come with a stream; for the requests that have both fields."""
    if value is not None and not info.data.get("stream"):
        raise PydanticCustomError(
            "invalid_value",
            "The '{param}' parameter is only allowed when 'stream' is enabled.",
        )
    return value


def _offered(request: ChatRequest) -> dict[str, Any]:
    """Return what differs from the request where it offers functions or restricts its tools."""
    tools = list(request.tools or [])
    changed: dict[str, Any] = {}
    if isinstance(request.tool_choice, AllowedToolsChoice):
        allowed = request.tool_choice.allowed_tools
        names = {choice.function.name for choice in allowed.tools}
        tools = [tool for tool in tools if tool.function.name in names]
        changed["tool_choice"] = allowed.mode
    if request.functions:
        tools += [Tool(type="function", function=function) for function in request.functions]
        if request.calls_functions:
            changed["parallel_tool_calls"] = False  # a message holds one `function_call`
        match request.function_call:
            case ChosenFunction(name=name):
                changed["tool_choice"] = {"type": "function", "function": {"name": name}}
            case str(mode):
                changed.setdefault("tool_choice", mode)
    if changed or request.functions:
        changed["tools"] = [tool.model_dump(exclude_unset=True) for tool in tools]
    return changed


def plain_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as the engine hands it to the chat template, and as training rendered it."""
    plain = {
        name: message[name]
        for name in ("role", "content", "name", "tool_calls", "tool_call_id")
        if message.get(name) is not None
    }
    if message.get("refusal"):
        plain.setdefault("content", message["refusal"])
    if isinstance(plain.get("content"), list):
        plain["content"] = [
            {"type": "text", "text": part.get("text") or part.get("refusal", "")}
            for part in plain["content"]
        ]
    if called := message.get("function_call"):
        legacy = {"id": LEGACY_CALL_ID, "type": "function", "function": called}
        plain["tool_calls"] = [*plain.get("tool_calls", []), legacy]
    if plain["role"] == "function":
        plain |= {
            "role": "tool",
            "content": plain.get("content", ""),
            "tool_call_id": LEGACY_CALL_ID,
        }
    return plain
