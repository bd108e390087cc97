"""How fast a training file is looked at: `python -m tests.bench.data_check [--base NAME_OR_DIRECTORY]`.

Megabytes of JSON Lines per second of one core's time (CPU time: a busy machine does not change it), the
best of several passes. Parsing and OpenAI's rules first, then rendering, which no goal is set for.
"""

import argparse
import json
import platform
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from jobs.bases.catalog import NANO_DIRECTORY
from jobs.dataset import examine_file
from jobs.rendering import Renderer

TARGET_MB = 100.0
_WORDS = ("where", "is", "my", "card", "please", "when", "it's", '"lost"', "—", "grüße", "here\n")


def text(rng: random.Random, n_bytes: int) -> str:
    """Return words of about so many bytes: quotes, line breaks and a few letters beyond ASCII."""
    return " ".join(rng.choices(_WORDS, k=n_bytes // 5))


def short_chat(rng: random.Random) -> dict[str, object]:
    """A question and its answer: about 250 bytes."""
    return {
        "messages": [
            {"role": "system", "content": "Answer with the code."},
            {"role": "user", "content": text(rng, 100)},
            {"role": "assistant", "content": text(rng, 12)},
        ]
    }


def long_chat(rng: random.Random, *, turns: int, n_bytes: int) -> dict[str, object]:
    """Several turns, of which some are not learned from."""
    messages: list[dict[str, object]] = [{"role": "system", "content": text(rng, 200)}]
    for turn in range(turns):
        messages.append({"role": "user", "content": text(rng, n_bytes)})
        messages.append({"role": "assistant", "content": text(rng, n_bytes), "weight": turn % 2})
    return {"messages": messages}


def chat_with_tools(rng: random.Random) -> dict[str, object]:
    """A tool on offer, called twice and answered: about 1,500 bytes."""
    parameters = {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": text(rng, 40)} for name in ("city", "day")
        },
        "required": ["city"],
    }
    function = {"name": "weather", "description": text(rng, 60), "parameters": parameters}
    messages: list[dict[str, object]] = [{"role": "user", "content": text(rng, 100)}]
    for number in range(2):
        called = {
            "name": "weather",
            "arguments": json.dumps({"city": text(rng, 20), "day": number}),
        }
        call = {"id": f"call_{number}", "type": "function", "function": called}
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append(
            {"role": "tool", "tool_call_id": f"call_{number}", "content": text(rng, 60)}
        )
    messages.append({"role": "assistant", "content": text(rng, 100)})
    return {"messages": messages, "tools": [{"type": "function", "function": function}]}


KINDS: dict[str, Callable[[random.Random], dict[str, object]]] = {
    "short": short_chat,
    "middle": lambda rng: long_chat(rng, turns=3, n_bytes=280),
    "long": lambda rng: long_chat(rng, turns=10, n_bytes=950),
    "tools": chat_with_tools,
}


def write_file(path: Path, kind: str, *, n_bytes: int) -> int:
    """Write so many bytes of one kind, as `json.dumps` writes them; return the number of lines."""
    rng = random.Random(7)
    lines = [json.dumps(KINDS[kind](rng), ensure_ascii=False).encode() + b"\n" for _ in range(500)]
    size = sum(map(len, lines))
    n_copies = max(1, n_bytes // size)
    path.write_bytes(b"".join(lines) * n_copies)
    return len(lines) * n_copies


def megabytes_a_second(path: Path, renderer: Renderer | None, *, passes: int) -> float:
    """Return the best of several passes over a file."""

    def seconds() -> Iterator[float]:
        for _ in range(passes):
            began = time.process_time()
            found = examine_file(path, context_length=2048, renderer=renderer)
            yield time.process_time() - began
            assert not found.problems, found.problems[0]

    return path.stat().st_size / 1e6 / min(seconds())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, default=NANO_DIRECTORY, help="a model directory")
    options = parser.parse_args()
    renderer = Renderer.load(options.base)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    print(f"MB/s of one core; rendered with {options.base.name}'s template and tokenizer")
    with tempfile.TemporaryDirectory() as directory:
        for kind in KINDS:
            path = Path(directory) / f"{kind}.jsonl"
            n_lines = write_file(path, kind, n_bytes=20_000_000)
            checked = megabytes_a_second(path, None, passes=5)
            bytes_a_line = path.stat().st_size / n_lines
            write_file(path, kind, n_bytes=1)
            rendered = megabytes_a_second(path, renderer, passes=2)
            verdict = "ok" if checked >= TARGET_MB else f"under {TARGET_MB:.0f}"
            print(
                f"{kind:8} {bytes_a_line:8,.0f} bytes a line   parsed and ruled {checked:6.1f} ({verdict})"
                f"   with rendering {rendered:5.2f}"
            )


if __name__ == "__main__":
    main()
