"""Graders, as `/v1/fine_tuning/alpha/graders` takes and shows them: requests and answers share these shapes."""

import math
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from schemas.base import RequestBody, Schema
from schemas.chat import MAX_MESSAGES, Ignored, NonEmpty
from schemas.completions import AbsentIfNone

MAX_GRADERS: Final = 16
"""In a multi grader."""
MAX_LABELS: Final = 50
MAX_LABEL_CHARACTERS: Final = 100
"""Together they fit into a schema that an engine is sent (`schemas.chat.MAX_SCHEMA_BYTES`), however escaped."""
MAX_SOURCE_CHARACTERS: Final = 256 * 1024

Name = Annotated[str, Field(min_length=1, max_length=512)]
Label = Annotated[str, Field(min_length=1, max_length=MAX_LABEL_CHARACTERS)]
Operation = Literal["eq", "ne", "like", "ilike"]
SimilarityMetric = Literal[
    "cosine", "fuzzy_match", "bleu", "gleu", "meteor",
    "rouge_1", "rouge_2", "rouge_3", "rouge_4", "rouge_5", "rouge_l",
]  # fmt: skip


def _ne(value: object) -> object:
    return "ne" if value == "neq" else value


def _refuse_cosine(value: SimilarityMetric) -> SimilarityMetric:
    if value == "cosine":
        raise PydanticCustomError(
            "unsupported_value",
            "Unsupported value: '{param}' does not support 'cosine' in fine-tuning, only in evals. "
            "Use another metric, such as 'fuzzy_match' or 'rouge_l'.",
        )
    return value


class StringCheckGrader(RequestBody):
    """1 where two texts compare as asked, else 0."""

    type: Literal["string_check"]
    name: Name = "string_check"
    input: str
    reference: str
    operation: Annotated[Operation, BeforeValidator(_ne)]
    """OpenAI's guide writes `neq`; its specification and its SDK `ne`, which is what we show."""


class TextSimilarityGrader(RequestBody):
    """How alike two texts are, from 0 to 1."""

    type: Literal["text_similarity"]
    name: Name = "text_similarity"
    input: str
    reference: str
    evaluation_metric: Annotated[SimilarityMetric, AfterValidator(_refuse_cosine)]
    pass_threshold: AbsentIfNone[float] = None
    """Kept and shown; it decides in evals, not here."""


class TextPart(RequestBody):
    """A piece of a message; images and audio are refused by name: no model here takes them."""

    type: Literal["input_text", "output_text"]
    text: str
    prompt_cache_breakpoint: AbsentIfNone[Ignored] = None


class InputMessage(RequestBody):
    """A message to the model that grades; its texts are templates."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | TextPart | NonEmpty[str | TextPart]
    type: AbsentIfNone[Literal["message"]] = None

    @property
    def text(self) -> str:
        """All of its content in one."""
        parts = self.content if isinstance(self.content, list) else [self.content]
        return "".join(part if isinstance(part, str) else part.text for part in parts)


InputMessages = Annotated[list[InputMessage], Field(min_length=1, max_length=MAX_MESSAGES)]


class SamplingParams(RequestBody):
    """How the model that grades samples; null and absent leave it to the model."""

    seed: AbsentIfNone[Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]] = None
    top_p: AbsentIfNone[Annotated[float, Field(ge=0, le=1)]] = None
    temperature: AbsentIfNone[Annotated[float, Field(ge=0, le=2)]] = None
    max_completions_tokens: AbsentIfNone[Annotated[int, Field(ge=1, le=10_000_000)]] = None
    """OpenAI's spelling, here and nowhere else."""
    reasoning_effort: AbsentIfNone[
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
    ] = None


class ScoreModelGrader(RequestBody):
    """A number that a model gives."""

    type: Literal["score_model"]
    name: Name = "score_model"
    input: InputMessages
    model: Name
    range: list[float] = Field(default=[0, 1])
    """The least and the greatest score; what the model says beyond is cut."""
    sampling_params: AbsentIfNone[SamplingParams] = None
    pass_threshold: AbsentIfNone[float] = None
    """Kept and shown; it decides in evals, not here."""

    @field_validator("range")
    @classmethod
    def _is_a_range(cls, value: list[float]) -> list[float]:
        if len(value) != 2 or not -math.inf < value[0] < value[1] < math.inf:
            raise PydanticCustomError(
                "invalid_value",
                "Invalid '{param}': expected two numbers, the first below the second.",
            )
        return value


class LabelModelGrader(RequestBody):
    """1 where a model chooses a passing label, else 0. Only within a multi grader, as at OpenAI."""

    type: Literal["label_model"]
    name: Name = "label_model"
    input: InputMessages
    model: Name
    labels: list[Label] = Field(min_length=1, max_length=MAX_LABELS)
    passing_labels: list[Label] = Field(min_length=1, max_length=MAX_LABELS)

    @field_validator("passing_labels")
    @classmethod
    def _are_labels(cls, value: list[str], info: ValidationInfo) -> list[str]:
        if not set(value) <= set(info.data.get("labels", value)):
            raise PydanticCustomError(
                "invalid_value", "Invalid '{param}': every passing label must be one of 'labels'."
            )
        return value


class PythonGrader(RequestBody):
    """What the program's `grade(sample, item)` returns."""

    type: Literal["python"]
    name: Name = "python"
    source: str = Field(min_length=1, max_length=MAX_SOURCE_CHARACTERS)
    image_tag: AbsentIfNone[Name] = None
    """Names an environment at OpenAI. Here there is one: the server's own Python."""


PlainGrader = Annotated[
    StringCheckGrader | TextSimilarityGrader | ScoreModelGrader | LabelModelGrader | PythonGrader,
    Discriminator("type"),
]
"""A grader that holds no other."""


def _arrangement(value: object) -> str:
    if isinstance(value, list):
        return "list"
    if isinstance(value, dict) and not isinstance(value.get("type"), str):
        return "map"
    return "one"


class MultiGrader(RequestBody):
    """A formula over what other graders say."""

    type: Literal["multi"]
    name: Name = "multi"
    graders: Annotated[
        Annotated[dict[Name, PlainGrader], Field(max_length=MAX_GRADERS), Tag("map")]
        | Annotated[list[PlainGrader], Field(min_length=1, max_length=MAX_GRADERS), Tag("list")]
        | Annotated[PlainGrader, Tag("one")],
        Discriminator(_arrangement),
    ]
    """A map in OpenAI's guide, a list in its example, a single grader in its schema; shown as it came."""
    calculate_output: str = Field(min_length=1)

    @field_validator("graders")
    @classmethod
    def _are_some_of_different_names(
        cls, value: dict[str, PlainGrader] | list[PlainGrader] | PlainGrader
    ) -> dict[str, PlainGrader] | list[PlainGrader] | PlainGrader:
        if value == {}:
            raise PydanticCustomError(
                "invalid_value", "Invalid '{param}': expected an object with at least one grader."
            )
        if isinstance(value, list) and len({grader.name for grader in value}) < len(value):
            raise PydanticCustomError(
                "invalid_value", "Invalid '{param}': every grader needs a name of its own."
            )
        return value

    def named(self) -> dict[str, PlainGrader]:
        """Return the graders by the key, else the name, under which the answer shows their rewards."""
        if isinstance(self.graders, dict):
            return self.graders
        graders = self.graders if isinstance(self.graders, list) else [self.graders]
        return {grader.name: grader for grader in graders}


Grader = Annotated[
    StringCheckGrader | TextSimilarityGrader | ScoreModelGrader | PythonGrader | MultiGrader,
    Discriminator("type"),
]


class ValidateGrader(RequestBody):
    """The body of `POST /v1/fine_tuning/alpha/graders/validate`."""

    grader: Grader


class GraderValidated(Schema):
    """The grader as it will be used, defaults filled in."""

    grader: Grader


class RunGrader(RequestBody):
    """The body of `POST /v1/fine_tuning/alpha/graders/run`."""

    grader: Grader
    model_sample: str
    """What the model answered: `sample` in templates; `sample.output_json` too, where it is JSON."""
    item: dict[str, JsonValue] | None = None
    """The line of the data set: `item` in templates."""


class GraderErrors(Schema):
    """What went wrong; the reward is then 0, or in a multi grader that grader's part of it."""

    formula_parse_error: bool = False
    sample_parse_error: bool = False
    """`sample.output_json` was asked for, and the sample is not JSON."""
    truncated_observation_error: bool = False
    unresponsive_reward_error: bool = False
    invalid_variable_error: bool = False
    """A template or the formula names what is not there."""
    other_error: bool = False
    python_grader_server_error: bool = False
    python_grader_server_error_type: str | None = None
    python_grader_runtime_error: bool = False
    python_grader_runtime_error_details: str | None = None
    model_grader_server_error: bool = False
    model_grader_refusal_error: bool = False
    model_grader_parse_error: bool = False
    model_grader_server_error_details: str | None = None


class TokenUsage(Schema):
    """What asking a model took."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int
    cached_tokens: int


class GraderMetadata(Schema):
    """How a reward came about."""

    name: str
    type: str
    errors: GraderErrors
    execution_time: float
    """Seconds."""
    scores: dict[str, float]
    """Of a multi grader, what each of its graders said."""
    token_usage: int | None
    """All tokens of all models. OpenAI's example shows an object; its schema and its SDK want a number."""
    sampled_model_name: str | None


class GraderRun(Schema):
    """What a sample is worth."""

    reward: float
    metadata: GraderMetadata
    sub_rewards: dict[str, float]
    """Of a multi grader, what each of its graders said."""
    model_grader_token_usage_per_model: dict[str, TokenUsage]
