"""What must hold of a real vLLM that embeds: started as ours are, on the tiny base."""

import math
from pathlib import Path

import pytest

from schemas.bases import BaseModelInfo
from schemas.embeddings import EmbeddingRequest, to_upstream
from schemas.errors import InvalidRequest
from schemas.settings import Settings
from serving.embedding_answers import decode_vector, read_embeddings
from serving.engine import EngineProcess, internal_base_name
from serving.vllm import Vllm

pytestmark = [pytest.mark.engine, pytest.mark.anyio, pytest.mark.timeout(600)]


async def test_vectors(nano: BaseModelInfo, short_tmp_path: Path) -> None:
    """Texts and their token ids get vectors of the base's width and of length 1; what is too long is refused."""
    base = nano.model_copy(update={"task": "embed"})
    settings = Settings(data_dir=short_tmp_path, bases_dir=short_tmp_path, engine_memory_mb=64)
    process = EngineProcess(
        base, settings, socket=short_tmp_path / "e.sock", log_path=short_tmp_path / "e.log"
    )

    async def ask(vllm: Vllm, given: object, **options: object):
        asked = EmbeddingRequest.model_validate({"model": "x", "input": given} | options)
        body = to_upstream(asked, cache_salt="s") | {"model": internal_base_name(base)}
        async with vllm.ask("/v1/embeddings", body) as answer:
            return read_embeddings(await answer.read(), model="x", encoding_format="base64")

    await process.start()
    try:
        await process.wait_until_healthy()
        async with Vllm(process.url) as vllm:
            told = await ask(vllm, ["The sky", "A rose"])
            vectors = [decode_vector(one.embedding) for one in told.data]
            assert [len(vector) for vector in vectors] == [base.hidden_size] * 2
            assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1, 1], abs=0.01)
            assert told.usage.prompt_tokens == told.usage.total_tokens > 2
            assert len((await ask(vllm, [[1, 2], [3]])).data) == 2
            with pytest.raises(InvalidRequest) as refused:
                await ask(vllm, "word " * 2000)
            assert refused.value.param == "input"
            with pytest.raises(InvalidRequest):
                await ask(vllm, "a", dimensions=5)
    finally:
        await process.stop()
