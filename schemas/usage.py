"""What was used, as `/v1/organization/usage` tells it: tokens, requests and device seconds in buckets of time."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import Field

from schemas.base import Schema
from schemas.completions import AbsentIfNone

GroupField = Literal[
    "project_id", "api_key_id", "model", "batch", "user_id", "service_tier", "job_id"
]
"""OpenAI's, and as an extension the fine-tuning job; other kinds have none."""
BucketWidth = Literal["1m", "1h", "1d"]
UsageKind = Literal["completions", "embeddings", "fine_tuning"]

WIDTHS: Final[dict[BucketWidth, int]] = {"1m": 60, "1h": 3600, "1d": 86_400}
"""Seconds."""
LIMITS: Final[dict[BucketWidth, tuple[int, int]]] = {
    "1m": (60, 1440),
    "1h": (24, 168),
    "1d": (7, 31),
}
"""How many buckets a page has where nothing is asked, and at most."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Used:
    """What one answer took, or one job, or many of them together. Plain: made for every answer."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    """Of the input."""
    output_tokens: int = 0
    device_seconds: float = 0.0
    """For which a trainer held its device."""

    def __add__(self, other: "Used") -> "Used":
        """Return the sum."""
        return Used(
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            device_seconds=self.device_seconds + other.device_seconds,
        )


@dataclass(frozen=True, slots=True)
class UsedBy:
    """Who used something, for what, in which minute."""

    minute: int
    """Unix seconds of its beginning."""
    kind: UsageKind
    project_id: str
    api_key_id: str
    """Empty for jobs: they outlive the key that created them."""
    model: str
    batch: bool = False
    job_id: str = ""


class UsageQuery(Schema):
    """The query of a page of usage."""

    start_time: int = Field(ge=0, le=2**40)
    """Inclusive; buckets begin at whole minutes, hours or days of UTC."""
    end_time: int | None = Field(default=None, ge=0, le=2**40)
    """Exclusive."""
    bucket_width: BucketWidth = "1d"
    limit: int | None = Field(default=None, ge=1, le=1440)
    page: str | None = Field(default=None, pattern=r"^page_[0-9]{1,12}$")
    batch: bool | None = None
    project_ids: Annotated[list[str], Field(max_length=100)] = Field(default_factory=list)
    api_key_ids: Annotated[list[str], Field(max_length=100)] = Field(default_factory=list)
    user_ids: Annotated[list[str], Field(max_length=100)] = Field(default_factory=list)
    models: Annotated[list[str], Field(max_length=100)] = Field(default_factory=list)
    group_by: Annotated[list[GroupField], Field(max_length=8)] = Field(default_factory=list)


class UsageResult(Schema):
    """Usage of one group; the fields that were not grouped by are null."""

    object: str
    """Such as `organization.usage.completions.result`."""
    input_tokens: int
    num_model_requests: int
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None
    batch: bool | None = None
    service_tier: str | None = None
    output_tokens: AbsentIfNone[int] = None
    input_cached_tokens: AbsentIfNone[int] = None
    device_seconds: AbsentIfNone[float] = None
    """Of fine-tuning, which is an extension."""
    job_id: AbsentIfNone[str] = None


class UsageBucket(Schema):
    """What was used in one stretch of time."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[UsageResult]


class UsagePage(Schema):
    """A page of buckets, oldest first; pass `next_page` as `page` to get the next."""

    object: Literal["page"] = "page"
    data: list[UsageBucket]
    has_more: bool
    next_page: str | None = None


def shown(used: Used, *, kind: UsageKind, group: dict[str, Any]) -> UsageResult:
    """Return `used` as the API tells it."""
    details: dict[str, Any] = {}
    if kind == "completions":
        details = {"output_tokens": used.output_tokens, "input_cached_tokens": used.cached_tokens}
    elif kind == "fine_tuning":
        details = {"device_seconds": round(used.device_seconds, 3)}
    return UsageResult(
        object=f"organization.usage.{kind}.result",
        input_tokens=used.input_tokens,
        num_model_requests=used.requests,
        **details,
        **group,
    )
