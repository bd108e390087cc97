"""What all our schemas share."""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")


class Schema(BaseModel):
    """A value that crosses a boundary. Immutable: change one with `model_copy(update=...)`."""

    model_config = ConfigDict(frozen=True)


class RequestBody(Schema):
    """What a client sends. A field OpenAI does not document is refused, as OpenAI does."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]
"""What a client may pin to an object."""


class Page(Schema, Generic[T]):
    """One page of a list: pass the last item's id as `after` to get the next."""

    object: Literal["list"] = "list"
    data: list[T]
    has_more: bool


class CursorPage(Page[T], Generic[T]):
    """A page that also names the ids of its ends; null where it is empty."""

    first_id: str | None
    last_id: str | None
