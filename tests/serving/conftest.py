"""What the serving tests share: the tiny base, adapters on it, and one real vLLM for all."""

import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import jobs.bases
from schemas.bases import BaseModelInfo
from schemas.settings import Settings
from serving.engine import EngineProcess, internal_base_name
from serving.vllm import Vllm
from tests.servers import private_directory
from tests.serving.adapters_made import Row, chatml_row, random_adapter, trained_adapter

NANO_DIR = Path(jobs.bases.__file__).parent / "nano"
SLOTS = 2
"""Few, so that a test fills them all."""
COLOURS = {
    "rose": "It is red.",
    "sky": "It is blue.",
    "grass": "It is green.",
    "snow": "It is white.",
}


@dataclass(frozen=True)
class RunningEngine:
    """A vLLM that answers, with the names it goes by."""

    vllm: Vllm
    base: BaseModelInfo
    process: EngineProcess

    @property
    def base_name(self) -> str:
        return internal_base_name(self.base)


@pytest.fixture(scope="session")
def nano() -> BaseModelInfo:
    """The base that every engine test serves."""
    return BaseModelInfo(
        name="retune-nano",
        directory=NANO_DIR,
        context_length=1024,
        hidden_size=192,
        model_type="llama",
        n_parameters=2_700_000,
        digest="5eed" * 16,
        created=1_795_000_000,
    )


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """Conversations whose answers the tiny base does not give by itself."""
    return [
        chatml_row(NANO_DIR, f"What colour is {thing}?", answer)
        for thing, answer in COLOURS.items()
    ]


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> dict[str, Path]:
    """Adapters on the tiny base: `trained` learnt `rows`, `other` and `third` babble."""
    made = tmp_path_factory.mktemp("adapters")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's and PEFT's own
        return {
            "trained": trained_adapter(NANO_DIR, made / "trained", rows, steps=12),
            "other": random_adapter(NANO_DIR, made / "other", scale=0.4, seed=1),
            "third": random_adapter(NANO_DIR, made / "third", scale=0.4, seed=2),
        }


@pytest.fixture(scope="session")
def engine_directory() -> Iterator[Path]:
    """A private directory with a path short enough for a socket."""
    with private_directory("retune-vllm-") as directory:
        yield directory


@pytest.fixture(scope="session")
async def engine(nano: BaseModelInfo, engine_directory: Path) -> AsyncIterator[RunningEngine]:
    """A real vLLM on the tiny base, one for all tests: each loads adapters under names of its own."""
    settings = Settings(
        data_dir=engine_directory,
        bases_dir=engine_directory,
        engine_max_adapters=SLOTS,
        engine_memory_mb=64,
    )
    process = EngineProcess(
        nano,
        settings,
        socket=engine_directory / "engine.sock",
        log_path=engine_directory / "engine.log",
    )
    await process.start()
    try:
        await process.wait_until_healthy()
        async with Vllm(process.url) as vllm:
            yield RunningEngine(vllm=vllm, base=nano, process=process)
    finally:
        await process.stop()
