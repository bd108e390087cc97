"""What the way through us costs: `make bench-gateway`, beside LiteLLM's proxy in one run.

An engine that answers from memory and the load live on one core, the gateway on another. CPU milliseconds of the
gateway's process are what to trust: wall times suffer from neighbours. Keys are checked, limits and usage counted.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.bench.canned_engine import CHUNKS
from tests.e2e.server import KEY, free_port, running_server, wait_for
from tests.servers import private_directory, running_redis

ROOT = Path(__file__).parents[2]
LITELLM = ROOT / ".venv-litellm" / "bin" / "litellm"
BASE = "retune-nano"
PACE_MS = 10
GOALS = {"CPU-ms a request": 0.35, "CPU-µs a chunk": 80.0, "added p50, ms": 1.0}
"""Of issue and page; ours alone is held against them."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Gateway:
    """What is measured: the engine itself, LiteLLM or ours."""

    name: str
    url: str
    model: str
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of the process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mb(self) -> float:
        """Resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE / 2**20


@dataclass
class Row:
    """What was seen of one gateway."""

    name: str
    figures: dict[str, float] = field(default_factory=dict)
    lost: int = 0
    """Streams that lacked a chunk, or had one in another's place."""


async def measure(gateway: Gateway, asked: argparse.Namespace) -> Row:
    """Ask it whole and streamed, alone and side by side."""
    row = Row(gateway.name)
    async with client(gateway) as session:
        await whole(session, gateway, requests=50, at_once=4)  # warm
        alone = await whole(session, gateway, requests=asked.requests // 4, at_once=1)
        row.figures["p50 alone, ms"] = statistics.median(alone)
        row.figures["p99 alone, ms"] = sorted(alone)[int(len(alone) * 0.99)]
        before, began = gateway.cpu_seconds(), time.perf_counter()
        await whole(session, gateway, requests=asked.requests, at_once=32)
        row.figures["requests/s"] = asked.requests / (time.perf_counter() - began)
        row.figures["CPU-ms a request"] = (gateway.cpu_seconds() - before) / asked.requests * 1000
        await streams(session, gateway, row, streams=8, at_once=8)
        before = gateway.cpu_seconds()
        late = await streams(session, gateway, row, streams=asked.streams, at_once=40)
        spent = gateway.cpu_seconds() - before
        row.figures["CPU-µs a chunk"] = spent / asked.streams / CHUNKS * 1e6
        row.figures["chunk late p50, ms"] = statistics.median(late)
        row.figures["chunk late p99, ms"] = sorted(late)[int(len(late) * 0.99)]
        row.figures["memory, MB"] = gateway.memory_mb()
    return row


async def soak(gateway: Gateway, row: Row, *, total: int) -> None:
    """Stream `total` answers, and say by how much memory grew after the first tenth."""
    async with client(gateway) as session:
        await streams(session, gateway, row, streams=total // 10, at_once=40, pace=0)
        before = gateway.memory_mb()
        await streams(session, gateway, row, streams=total - total // 10, at_once=40, pace=0)
        row.figures[f"MB grown over {total} streams"] = gateway.memory_mb() - before


@contextlib.asynccontextmanager
async def client(gateway: Gateway) -> AsyncIterator[aiohttp.ClientSession]:
    """Connections that are kept."""
    async with aiohttp.ClientSession(
        gateway.url,
        headers={"authorization": f"Bearer {KEY}"},
        connector=aiohttp.TCPConnector(limit=0),
    ) as session:
        yield session


async def whole(
    session: aiohttp.ClientSession, gateway: Gateway, *, requests: int, at_once: int
) -> list[float]:
    """Ask for whole answers; returns milliseconds for each."""
    body = {"model": gateway.model, "messages": [{"role": "user", "content": "word " * 20}]}
    times: list[float] = []

    async def ask() -> None:
        began = time.perf_counter()
        async with session.post("/v1/chat/completions", json=body) as response:
            answer = await response.json()
        assert answer["choices"][0]["message"]["content"].startswith("word"), answer
        times.append((time.perf_counter() - began) * 1000)

    await repeat(ask, times=requests, at_once=at_once)
    return times


async def streams(
    session: aiohttp.ClientSession,
    gateway: Gateway,
    row: Row,
    *,
    streams: int,
    at_once: int,
    pace: int = PACE_MS,
) -> list[float]:
    """Ask for streamed answers; returns how late each chunk came, in milliseconds."""
    body = {"model": gateway.model, "messages": [{"role": "user", "content": "word"}]}
    body |= {"stream": True, "seed": pace}
    late: list[float] = []

    async def ask() -> None:
        numbers = []
        async with session.post("/v1/chat/completions", json=body) as response:
            async for line in response.content:
                if not line.startswith(b"data: {"):
                    continue
                now = time.monotonic_ns()
                choices = json.loads(line[6:])["choices"]
                content = choices and choices[0]["delta"].get("content")
                if content:
                    number, _, sent = content.strip().partition(":")
                    numbers.append(int(number))
                    late.append((now - int(sent)) / 1e6)
        row.lost += numbers != list(range(CHUNKS))

    await repeat(ask, times=streams, at_once=at_once)
    return late


async def repeat(ask, *, times: int, at_once: int) -> None:
    """Call `ask` so often, so many side by side."""
    left = iter(range(times))

    async def work() -> None:
        for _ in left:
            await ask()

    await asyncio.gather(*(work() for _ in range(at_once)))


@contextmanager
def canned_engine() -> Iterator[Gateway]:
    """Run the engine that answers from memory."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.canned_engine", str(port)])
    try:
        gateway = Gateway("engine itself", f"http://127.0.0.1:{port}", "canned", process.pid)
        wait_for(lambda: answers(gateway), seconds=30, what="the engine")
        yield gateway
    finally:
        process.terminate()
        process.wait()


@contextmanager
def ours(engine: Gateway, directory: Path) -> Iterator[Gateway]:
    """Run our API process on that engine, with keys, limits and usage."""
    with (
        running_redis() as redis,
        running_server(
            directory / "data",
            "--only",
            "api",
            ready="/health",
            RETUNE_REDIS_URL=redis,
            RETUNE_ENGINE_URLS=f"{BASE}={engine.url}",
        ) as server,
    ):
        yield Gateway("retune", server.url.removesuffix("/v1"), BASE, server.process.pid)


@contextmanager
def litellm(engine: Gateway, directory: Path) -> Iterator[Gateway]:
    """Run LiteLLM's proxy on that engine, with one worker and a key."""
    port = free_port()
    config = directory / "litellm.yaml"
    target = {"model": "openai/canned", "api_base": f"{engine.url}/v1", "api_key": "none"}
    config.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": "canned", "litellm_params": target}],
                "general_settings": {"master_key": KEY},
            }
        )
    )
    environment = os.environ | {
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PATH": f"{LITELLM.parent}:{os.environ['PATH']}",
    }
    arguments = ("--host", "127.0.0.1", "--port", str(port), "--num_workers", "1")
    with (directory / "litellm.log").open("wb") as log:
        process = subprocess.Popen(
            [LITELLM, "--config", config, *arguments],
            env=environment,
            stdout=log,
            stderr=log,
            cwd=directory,
        )
        try:
            gateway = Gateway("LiteLLM", f"http://127.0.0.1:{port}", "canned", process.pid)
            wait_for(lambda: answers(gateway), seconds=180, what="LiteLLM")
            yield gateway
        finally:
            process.terminate()
            process.wait(30)


def answers(gateway: Gateway) -> bool:
    """Whether it gives a whole answer."""

    async def once() -> bool:
        async with client(gateway) as session:
            with contextlib.suppress(aiohttp.ClientError, AssertionError, KeyError, ValueError):
                await whole(session, gateway, requests=1, at_once=1)
                return True
        return False

    return asyncio.run(once())


def table(rows: list[Row]) -> str:
    """Return the figures side by side, and what ours costs of LiteLLM's."""
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    lines = [["", *(row.name for row in rows)]]
    lines += [
        [name, *(f"{row.figures[name]:.3g}" if name in row.figures else "" for row in rows)]
        for name in names
    ]
    lines.append(["streams that lost or reordered", *(str(row.lost) for row in rows)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def main() -> int:
    """Measure and print; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--streams", type=int, default=400)
    parser.add_argument("--soak", type=int, default=10_000, help="streams; 0: none")
    parser.add_argument("--without-litellm", action="store_true")
    asked = parser.parse_args()
    os.sched_setaffinity(0, {0})
    rows = []
    with private_directory("retune-bench-") as directory, canned_engine() as engine:
        rows.append(asyncio.run(measure(engine, asked)))
        if not asked.without_litellm:
            fewer = argparse.Namespace(requests=asked.requests // 10, streams=asked.streams // 10)
            with litellm(engine, directory) as gateway:
                os.sched_setaffinity(gateway.pid, {1})
                rows.append(asyncio.run(measure(gateway, fewer)))
        with ours(engine, directory) as gateway:
            os.sched_setaffinity(gateway.pid, {1})
            rows.append(asyncio.run(measure(gateway, asked)))
            if asked.soak:
                asyncio.run(soak(gateway, rows[-1], total=asked.soak))
    mine = rows[-1]
    mine.figures["added p50, ms"] = mine.figures["p50 alone, ms"] - rows[0].figures["p50 alone, ms"]
    print(table(rows))
    missed = [name for name, goal in GOALS.items() if mine.figures[name] > goal]
    for name, goal in GOALS.items():
        told = "missed" if name in missed else "met"
        print(f"{name}: {mine.figures[name]:.3f}, goal {goal}: {told}")
    return int(bool(missed or mine.lost))


if __name__ == "__main__":
    sys.exit(main())
