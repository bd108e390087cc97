"""`/v1/embeddings`: the request, what of it an engine is asked, and the answer."""

from typing import Any, Final, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from schemas.base import RequestBody, Schema
from schemas.prompts import Prompt, count_prompts, count_tokens, estimate_tokens

MAX_INPUTS: Final = 2048
MAX_TOKENS: Final = 300_000
"""Of all inputs together, where they come as tokens."""

EncodingFormat = Literal["float", "base64"]


class EmbeddingRequest(RequestBody):
    """The body of `POST /v1/embeddings`."""

    model: str = Field(min_length=1, max_length=512)
    input: Prompt
    encoding_format: EncodingFormat | None = None
    dimensions: int | None = Field(default=None, ge=1, le=100_000)
    user: str | None = None

    def estimated_tokens(self) -> int:
        """Guess what the inputs will take."""
        return estimate_tokens(self.input)

    @field_validator("input")
    @classmethod
    def _fits_in_one_request(cls, value: Prompt) -> Prompt:
        if (n_inputs := count_prompts(value)) > MAX_INPUTS:
            raise PydanticCustomError(
                "array_above_max_length",
                f"Invalid '{{param}}': array too long. Expected an array with maximum length "
                f"{MAX_INPUTS}, but got an array with length {n_inputs} instead.",
            )
        if (n_tokens := count_tokens(value)) > MAX_TOKENS:
            raise PydanticCustomError(
                "invalid_value",
                f"Invalid '{{param}}': {n_tokens} tokens in one request; at most {MAX_TOKENS} are taken.",
            )
        return value


def to_upstream(request: EmbeddingRequest, *, cache_salt: str) -> dict[str, Any]:
    """Return what the engine is asked, all but who shall answer.

    Vectors come as base64 whatever the client wants: a third of the bytes, and exact.

    Args:
        request: Checked.
        cache_salt: One for each project, so that no text's timing tells another project of it.
    """
    body = request.model_dump(include={"input", "dimensions"}, exclude_none=True)
    as_bytes = {"encoding_format": "base64", "embed_dtype": "float32", "endianness": "little"}
    return body | as_bytes | {"cache_salt": cache_salt}


class Embedding(Schema):
    """The vector of one input."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str
    """Numbers, or base64 of little-endian float32, as it was asked for."""


class EmbeddingUsage(Schema):
    """Counted tokens."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Schema):
    """The answer: a vector for each input, in the inputs' order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
