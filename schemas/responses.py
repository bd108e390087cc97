"""Answers of `/v1/responses`, with every field OpenAI always sends."""

from typing import Literal

from pydantic import Field

from schemas.base import Metadata, Schema
from schemas.completions import AbsentIfNone
from schemas.response_items import Compaction, OutputItem
from schemas.response_requests import FunctionTool, ReasoningSettings, TextSettings, ToolChoice

Status = Literal["in_progress", "completed", "incomplete", "failed"]


class InputTokensDetails(Schema):
    """Of the input's tokens, those that were not computed afresh."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0
    """Always 0: nobody pays for the engine's cache."""


class OutputTokensDetails(Schema):
    """Of the output's tokens, those that were thoughts."""

    reasoning_tokens: int = 0


class Usage(Schema):
    """Counted tokens."""

    input_tokens: int
    input_tokens_details: InputTokensDetails = InputTokensDetails()
    output_tokens: int
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int


class ResponseError(Schema):
    """Why a response failed after it had begun."""

    code: Literal["server_error"] = "server_error"
    message: str


class IncompleteDetails(Schema):
    """Why a response ends early."""

    reason: Literal["max_output_tokens", "content_filter"]


class Response(Schema):
    """What a model answered, and what it was asked with."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    """Unix seconds."""
    status: Status
    background: Literal[False] = False
    completed_at: int | None = None
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    model: str
    output: list[OutputItem] = Field(default_factory=list)
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    reasoning: ReasoningSettings = ReasoningSettings()
    safety_identifier: str | None = None
    service_tier: Literal["default"] = "default"
    store: bool = True
    temperature: float | None = 1.0
    text: TextSettings = TextSettings()
    tool_choice: ToolChoice = "auto"
    tools: list[FunctionTool] = Field(default_factory=list)
    top_logprobs: int = 0
    top_p: float | None = 1.0
    truncation: Literal["disabled"] = "disabled"
    usage: AbsentIfNone[Usage] = None
    """Known when the response is over."""
    user: AbsentIfNone[str] = None
    metadata: Metadata | None = Field(default_factory=dict)


class ResponseDeleted(Schema):
    """A response that is no more."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class InputTokens(Schema):
    """How many tokens an input is."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


class CompactedResponse(Schema):
    """A conversation made short."""

    id: str
    object: Literal["response.compaction"] = "response.compaction"
    created_at: int
    """Unix seconds."""
    output: list[Compaction]
    """OpenAI repeats the user's messages before it, which its SDK's own types do not take; here they are inside."""
    usage: Usage
