"""vLLM's embeddings in OpenAI's exact shape."""

import base64
import struct

from schemas.base import Schema
from schemas.embeddings import Embedding, EmbeddingList, EmbeddingUsage, EncodingFormat

_FLOAT_BYTES = 4


def read_embeddings(body: bytes, *, model: str, encoding_format: EncodingFormat) -> EmbeddingList:
    """Return the vectors as OpenAI would send them.

    Args:
        body: What vLLM answered, its vectors as base64 of little-endian float32.
        model: The public name that was asked.
        encoding_format: As the client wants the vectors.

    Raises:
        pydantic.ValidationError: `body` holds no embeddings.
    """
    answer = _VllmEmbeddings.model_validate_json(body)
    return EmbeddingList(
        data=[
            Embedding(
                index=one.index,
                embedding=one.embedding
                if encoding_format == "base64"
                else decode_vector(one.embedding),
            )
            for one in answer.data
        ],
        model=model,
        usage=answer.usage,
    )


def decode_vector(text: str) -> list[float]:
    """Return the numbers of a vector that is written as base64 of little-endian float32."""
    content = base64.b64decode(text)
    return list(struct.unpack(f"<{len(content) // _FLOAT_BYTES}f", content))


class _VllmEmbedding(Schema):
    index: int
    embedding: str


class _VllmEmbeddings(Schema):
    data: list[_VllmEmbedding]
    usage: EmbeddingUsage
