"""`retune demo`: the main job from end to end, with OpenAI's own SDK against a server of its own."""

import argparse
import asyncio
import contextlib
import importlib.resources
import io
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from openai import APIConnectionError, AsyncOpenAI, OpenAI, OpenAIError
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from rich.console import Console, Group
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from api.cli.main import settings_from
from jobs.bases.catalog import NANO
from schemas.settings import Settings

_START_SECONDS: Final = 60.0
_AT_ONCE: Final = 8
_ENDS: Final = frozenset({"succeeded", "failed", "cancelled"})


class DemoFailed(Exception):
    """Something did not work; the message says what."""


@dataclass(frozen=True)
class Question:
    """A held-out message and the answer that was never shown."""

    messages: list[dict[str, str]]
    expected: str

    @property
    def text(self) -> str:
        """What the customer wrote."""
        return self.messages[-1]["content"]


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="retune demo", description=__doc__)
    parser.add_argument("--base", default="smollm2-135m", help="which base to tune (%(default)s)")
    parser.add_argument("--epochs", type=int, help="how often to go over the data (default: auto)")
    parser.add_argument(
        "--port", type=int, default=8000, help="(default: %(default)s, else a free one)"
    )
    parser.add_argument("--picture", type=Path, help="also save the comparison as an SVG file")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        _demo(console, options)
    except DemoFailed as exc:
        console.print(f"\n[bold red]The demo stopped:[/] {exc}")
        return 1
    except OpenAIError as exc:
        console.print(f"\n[bold red]The server refused:[/] {exc}")
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped.")
        return 130
    return 0


def _demo(console: Console, options: argparse.Namespace) -> None:
    settings = settings_from()
    console.print(
        Panel(
            f"Tune [bold]{options.base}[/] on 200 customer messages through OpenAI's API,\n"
            "load the adapter into a running vLLM, prove it, and ask base and tuned model\n"
            "40 messages that the training file does not have.",
            title="retune demo",
            title_align="left",
            expand=False,
        )
    )
    with _server(console, settings, options.port) as (base_url, key):
        client = OpenAI(base_url=base_url, api_key=key)
        job = _tune(console, client, options)
        questions = list(_questions("heldout.jsonl"))
        answers = {}
        with _progress(console) as progress:
            for label, model in (("base", options.base), ("tuned", job.fine_tuned_model or "")):
                asking = AsyncOpenAI(base_url=base_url, api_key=key)
                asked = _ask(asking, model, questions, progress=progress, label=label)
                answers[label] = asyncio.run(asked)
        comparison = _comparison(questions, answers["base"], answers["tuned"])
        console.print(comparison)
        if options.base == NANO:
            console.print(
                "[dim]retune-nano is made for tests in seconds: it learns, but hardly generalises. "
                "`make demo` tunes a real one.[/]"
            )
        if options.picture is not None:
            _save_picture(comparison, options.picture)
        _show_next_steps(console, base_url, key, job.fine_tuned_model or "", questions[0])


@contextlib.contextmanager
def _server(console: Console, settings: Settings, port: int) -> Generator[tuple[str, str]]:
    """Run `retune serve` for the demo and yield its URL and a key."""
    port = port if _is_free(port) else _free_port()
    key = f"sk-demo-{secrets.token_hex(16)}"
    log_path = settings.data_dir.absolute() / "logs" / "demo-server.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    base_url = f"http://127.0.0.1:{port}/v1"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli.main", "serve", "--port", str(port)],
            # It compares base and tuned model itself, and on messages that were held out.
            env=os.environ | {"RETUNE_API_KEY": key, "RETUNE_REPORT_EXAMPLES": "0"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with console.status(f"Starting the server at {base_url} …"):
            _wait_for(process, base_url, key, log_path)
        console.print(
            f"[green]✓[/] Server at [bold]{base_url}[/] (log: {log_path})", soft_wrap=True
        )
        yield base_url, key
    finally:
        with console.status("Stopping the server …"):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(process: subprocess.Popen[bytes], base_url: str, key: str, log_path: Path) -> None:
    client = OpenAI(base_url=base_url, api_key=key, max_retries=0)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoFailed(log_path.read_text().strip().splitlines()[-1])
        try:
            client.models.list()
        except (APIConnectionError, OpenAIError):
            time.sleep(0.2)
        else:
            return
    raise DemoFailed(f"the server did not become ready; see {log_path}")


def _tune(console: Console, client: OpenAI, options: argparse.Namespace) -> FineTuningJob:
    offered = {model.id for model in client.models.list()}
    if options.base not in offered:
        raise DemoFailed(
            f"the base '{options.base}' is not offered here, only {', '.join(sorted(offered))}. "
            "`make setup-bases` prepares smollm2-135m."
        )
    with importlib.resources.as_file(_data("train.jsonl")) as path:
        file = client.files.create(file=path, purpose="fine-tune")
    console.print(f"[green]✓[/] Uploaded 200 messages as [bold]{file.id}[/]")
    job = client.fine_tuning.jobs.create(
        model=options.base,
        training_file=file.id,
        suffix="demo",
        seed=1,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": options.epochs or "auto"}},
        },
    )
    console.print(f"[green]✓[/] Created job [bold]{job.id}[/]")
    job = _watch(console, client, job)
    if job.status != "succeeded":
        raise DemoFailed(f"the job ended {job.status}: {job.error and job.error.message}")
    console.print(f"[green]✓[/] Tuned model [bold]{job.fine_tuned_model}[/]", soft_wrap=True)
    return job


def _watch(console: Console, client: OpenAI, job: FineTuningJob) -> FineTuningJob:
    """Show a job's events as they come, until it is over."""
    seen: set[str] = set()
    with _progress(console) as progress:
        task = progress.add_task("Waiting for a worker", total=None)
        while True:
            # The status first: what is told after it cannot be missed.
            job = client.fine_tuning.jobs.retrieve(job.id)
            for event in reversed(_new_events(client, job, seen)):
                seen.add(event.id)
                _show(progress, task, event)
            if job.status in _ENDS:
                return job
            time.sleep(0.5)


def _new_events(client: OpenAI, job: FineTuningJob, seen: set[str]) -> list[FineTuningJobEvent]:
    """Return the events not seen yet, newest first."""
    new = []
    for event in client.fine_tuning.jobs.list_events(job.id, limit=100):
        if event.id in seen:
            break
        new.append(event)
    return new


def _show(progress: Progress, task: TaskID, event: FineTuningJobEvent) -> None:
    numbers = event.data if isinstance(event.data, dict) else {}
    if event.type == "metrics":
        progress.update(
            task,
            completed=numbers["step"],
            total=numbers["total_steps"],
            description=f"Training, loss {numbers['train_loss']:.3f}",
        )
        if numbers["step"] == numbers["total_steps"]:
            progress.update(task, description="Loading into vLLM and proving")
        return
    colour = {"warn": "yellow", "error": "red"}.get(event.level, "dim")
    progress.console.print(f"  [{colour}]{event.message}[/]")
    if event.message == "Fine-tuning job started":
        progress.update(task, description="Loading the base")


async def _ask(
    client: AsyncOpenAI, model: str, questions: list[Question], *, progress: Progress, label: str
) -> list[str]:
    task = progress.add_task(f"Asking the {label} model", total=len(questions))
    free = asyncio.Semaphore(_AT_ONCE)
    async with client:

        async def answer(question: Question) -> str:
            async with free:
                completion = await client.chat.completions.create(
                    model=model,
                    messages=question.messages,  # type: ignore[arg-type]
                    temperature=0,
                    max_tokens=16,
                )
            progress.advance(task)
            return completion.choices[0].message.content or ""

        return await asyncio.gather(*(answer(question) for question in questions))


def _comparison(questions: list[Question], base: list[str], tuned: list[str]) -> Group:
    table = Table(title="The same messages, asked of both", title_justify="left", expand=True)
    table.add_column("customer's message, not in the training file", ratio=5, no_wrap=True)
    table.add_column("expected", no_wrap=True)
    table.add_column("base answers", ratio=4, no_wrap=True)
    table.add_column("tuned answers", no_wrap=True)
    for question, before, after in zip(questions, base, tuned, strict=True):
        table.add_row(
            " ".join(question.text.split()),
            question.expected,
            _marked(before, before == question.expected),
            _marked(after[:20], after == question.expected),
        )
    return Group(
        table,
        Text.assemble(
            "Exact matches:  base ",
            (_rate(questions, base), "bold red"),
            "   tuned ",
            (_rate(questions, tuned), "bold green"),
        ),
    )


def _save_picture(comparison: Group, path: Path) -> None:
    easel = Console(record=True, width=120, file=io.StringIO())
    easel.print(comparison)
    easel.save_svg(str(path), title="retune demo")


def _rate(questions: list[Question], answers: list[str]) -> str:
    right = sum(a == q.expected for q, a in zip(questions, answers, strict=True))
    return f"{right}/{len(questions)} = {right / len(questions):.0%}"


def _marked(text: str, is_right: bool) -> Text:
    line = " ".join(text.split())
    return Text(f"{'✓' if is_right else '✗'} {line}", style="green" if is_right else "red")


def _show_next_steps(
    console: Console, base_url: str, key: str, model: str, question: Question
) -> None:
    """Print what can be copied: no line is broken where the terminal ends."""
    body = json.dumps({"model": model, "messages": question.messages})
    call = (
        f'client.chat.completions.create(model="{model}", messages={json.dumps(question.messages)})'
    )
    serve = (
        "make serve" if ":8000/" in base_url else f"retune serve --port {urlsplit(base_url).port}"
    )
    console.print("\n[bold]The model stays. Start the server again and ask it yourself:[/]\n")
    for lines in (
        [f"RETUNE_API_KEY={key} {serve}"],
        [
            "from openai import OpenAI",
            f'client = OpenAI(base_url="{base_url}", api_key="{key}")',
            f"print({call}.choices[0].message.content)",
        ],
        [
            f"curl {base_url}/chat/completions -H 'Authorization: Bearer {key}' \\",
            f"  -H 'Content-Type: application/json' -d {_quoted(body)}",
        ],
    ):
        console.print("\n".join(lines), style="cyan", markup=False, highlight=False, soft_wrap=True)
        console.print()


def _quoted(text: str) -> str:
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"


def _questions(name: str) -> Generator[Question]:
    for line in _data(name).read_text().splitlines():
        *messages, answer = json.loads(line)["messages"]
        yield Question(messages, answer["content"])


def _data(name: str) -> importlib.resources.abc.Traversable:
    return importlib.resources.files("api.demo") / name


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=console,
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
