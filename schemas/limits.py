"""How much a project may use: rate limits as OpenAI shows them, and quotas, which are ours."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer
from pydantic_core import PydanticCustomError

from schemas.base import RequestBody, Schema

UNLIMITED: Final = 2**31 - 1
"""OpenAI's clients expect a number where nothing is limited."""

Bound = Annotated[int, Field(ge=0, le=UNLIMITED)]


class Limits(Schema):
    """How much of one model a project may use; null: not limited."""

    max_requests_per_1_minute: int | None = None
    max_tokens_per_1_minute: int | None = None
    max_requests_per_1_day: int | None = None
    batch_1_day_max_input_tokens: int | None = None


class RateLimit(Schema):
    """A project's limits on one model, under an id made of the model's name."""

    id: str
    object: Literal["project.rate_limit"] = "project.rate_limit"
    model: str
    max_requests_per_1_minute: int
    max_tokens_per_1_minute: int
    max_requests_per_1_day: int | None = None
    batch_1_day_max_input_tokens: int | None = None

    @classmethod
    def of(cls, model: str, limits: Limits) -> Self:
        """Show the limits on `model`."""
        shown = limits.model_dump(exclude_none=True)
        defaults = {"max_requests_per_1_minute": UNLIMITED, "max_tokens_per_1_minute": UNLIMITED}
        return cls(id=rate_limit_id(model), model=model, **defaults | shown)

    @model_serializer(mode="wrap")
    def _without_nulls(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # "Only present for relevant models", says OpenAI of all but the two that are always there.
        return {name: value for name, value in serialize(self).items() if value is not None}


class RateLimitUpdate(RequestBody):
    """The body of `POST …/rate_limits/{id}`; what is absent stays, `UNLIMITED` lifts a limit."""

    max_requests_per_1_minute: Bound | None = None
    max_tokens_per_1_minute: Bound | None = None
    max_requests_per_1_day: Bound | None = None
    batch_1_day_max_input_tokens: Bound | None = None
    max_audio_megabytes_per_1_minute: Bound | None = None
    max_images_per_1_minute: Bound | None = None

    @field_validator("max_audio_megabytes_per_1_minute", "max_images_per_1_minute")
    @classmethod
    def _refuse(cls, value: int | None) -> None:
        if value is not None:
            raise PydanticCustomError(
                "unsupported_parameter",
                "Unsupported parameter: '{param}' is not supported: no model here takes audio or images.",
            )

    def applied_to(self, limits: Limits) -> Limits:
        """Return `limits` with what this asks for."""
        asked = self.model_dump(exclude_none=True)
        return limits.model_copy(
            update={name: None if bound == UNLIMITED else bound for name, bound in asked.items()}
        )


class Quotas(Schema):
    """How much a project may have at a time; null: not limited. An extension of ours."""

    object: Literal["organization.project.quotas"] = "organization.project.quotas"
    max_storage_bytes: int | None = None
    """Of all its files together."""
    max_concurrent_jobs: int | None = None
    """Fine-tuning jobs that wait or run."""
    max_jobs_per_day: int | None = None
    """Fine-tuning jobs created within any 24 hours."""


class QuotasUpdate(RequestBody):
    """The body of `POST …/projects/{id}/quotas`: what is absent stays, null lifts a quota."""

    max_storage_bytes: Annotated[int, Field(ge=0, le=2**60)] | None = None
    max_concurrent_jobs: Bound | None = None
    max_jobs_per_day: Bound | None = None

    def applied_to(self, quotas: Quotas) -> Quotas:
        """Return `quotas` with what this asks for."""
        return quotas.model_copy(update=self.model_dump(exclude_unset=True))


def rate_limit_id(model: str) -> str:
    """Return the id of the limits on a model, as OpenAI forms it: `rl-gpt-4o-mini`."""
    return f"rl-{model}"


def rate_limited_model(rate_limit_id: str) -> str:
    """Return the model whose limits have that id."""
    return rate_limit_id.removeprefix("rl-")
