"""Mirrors of a job at Weights & Biases, as the worker runs them: a child process each, and never in a job's way.

What goes wrong with a mirror is a warning in the job's log; the job knows nothing of it.
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from pydantic import JsonValue, ValidationError

from jobs import events
from jobs.claims import Claim
from jobs.store.jobs import NewEvent
from jobs.store.records import Fenced
from schemas.errors import ApiError, JobFailure
from schemas.fine_tuning import Event, Integration, Job
from schemas.mirror import MirrorAnswer, MirrorEnd, MirrorStart, MirrorStep
from serving.child import die_with_us

logger = logging.getLogger(__name__)

_GRACE: Final = 30.0
"""Seconds; the job's end is told already."""
_MAX_TAG: Final = 64
"""Characters that Weights & Biases takes."""
_PASSED_ON: Final = frozenset(
    {
        "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "SSL_CERT_FILE",
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
    }
)  # fmt: skip


class Mirror:
    """The mirrors of one job; most have none."""

    def __init__(self, *, grace: float) -> None:
        self._grace = grace
        self._processes: list[asyncio.subprocess.Process] = []
        self._end = MirrorEnd(outcome="interrupted")

    def add(self, told: Iterable[Event]) -> None:
        """Pass on the steps among a job's events. Never waits."""
        for event in told:
            if event.type == "metrics":
                step = int(event.data["step"])
                numbers = {name: float(v) for name, v in event.data.items() if name != "step"}
                self._say(MirrorStep(step=step, metrics=numbers))

    def succeeded(self, model: str | None) -> None:
        """Say that the job has ended well."""
        self._end = MirrorEnd(outcome="succeeded", summary={"fine_tuned_model": model})

    def failed(self) -> None:
        """Say that the job has failed."""
        self._end = MirrorEnd(outcome="failed")

    @asynccontextmanager
    async def joined_by(self, process: asyncio.subprocess.Process) -> AsyncGenerator[None]:
        """Pass everything on to a process too; at the end say how the job ended, and see it go."""
        self._processes.append(process)
        try:
            yield
        finally:
            self._processes.remove(process)
            await _see_off(process, self._end, grace=self._grace)

    def _say(self, line: MirrorStep) -> None:
        for process in self._processes:
            _write(process, line)


@asynccontextmanager
async def mirrored(
    claim: Claim, *, module: str = "jobs.wandb_run", grace: float = _GRACE
) -> AsyncGenerator[Mirror]:
    """Run the mirrors that a claimed job asks for, from its first step on, while the body runs.

    Args:
        claim: Its job names them.
        module: What to run; tests pass a stand-in.
        grace: Seconds that a mirror has for its last metrics.
    """
    mirror = Mirror(grace=grace)
    async with AsyncExitStack() as stack:
        for number, integration in enumerate(claim.record.job.integrations):
            await stack.enter_async_context(_one(claim, mirror, integration, number, module=module))
        if claim.record.job.integrations:
            # A run that goes on lacks what was told while nobody mirrored.
            mirror.add(await claim.services.store.jobs.metrics(claim.job_id))
        try:
            yield mirror
        except JobFailure:
            mirror.failed()
            raise


async def add_to_summaries(
    job: Job,
    summary: Mapping[str, JsonValue],
    *,
    directory: Path,
    module: str = "jobs.wandb_run",
    grace: float = _GRACE,
) -> None:
    """Add to the summaries of a job's runs what was found after its end.

    Args:
        job: It has succeeded. Nothing is told in its log any more, not even what goes wrong here.
        summary: By name.
        directory: Where offline runs are kept.
        module: What to run; tests pass a stand-in.
        grace: Seconds that each run has.
    """
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    for integration in job.integrations:
        process = await _spawn(module, directory / "summaries.log")
        _write(process, _start_of(job, integration, directory=directory))
        end = MirrorEnd(outcome="succeeded", summary=dict(summary))
        await _see_off(process, end, grace=grace)


@asynccontextmanager
async def _one(
    claim: Claim, mirror: Mirror, integration: Integration, number: int, *, module: str
) -> AsyncGenerator[None]:
    data_dir = claim.services.settings.data_dir
    start = _start_of(claim.record.job, integration, directory=data_dir / "wandb")
    log_path = claim.services.blobs.work_dir(claim.job_id) / f"wandb-{number}.log"
    process = await _spawn(module, log_path)
    _write(process, start)
    listener = asyncio.create_task(_report(claim, process, key=f"wandb-{number}"))
    try:
        async with mirror.joined_by(process):
            yield
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)


async def _spawn(module: str, log_path: Path) -> asyncio.subprocess.Process:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith("WANDB_")
    }
    with log_path.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=environment,
            preexec_fn=die_with_us(),
        )


def _write(process: asyncio.subprocess.Process, line: MirrorStart | MirrorStep | MirrorEnd) -> None:
    # Not drained: a mirror that hangs costs the memory of a job's metrics, and no time.
    if process.stdin is not None and not process.stdin.is_closing():
        process.stdin.write(line.model_dump_json().encode() + b"\n")


async def _report(claim: Claim, process: asyncio.subprocess.Process, *, key: str) -> None:
    """Tell the user where the mirror is, or why there is none."""
    assert process.stdout is not None
    line = await process.stdout.readline()
    try:
        answer = MirrorAnswer.model_validate_json(line)
    except ValidationError:
        answer = MirrorAnswer(problem="the process that mirrors ended without a word")
    try:
        await claim.log(_told_of(answer, key=f"{key}-{claim.record.attempt}"))
    except (Fenced, ApiError) as exc:
        logger.warning("nobody was told of a mirror: job_id=%s %r", claim.job_id, exc)


def _told_of(answer: MirrorAnswer, *, key: str) -> NewEvent:
    if answer.problem is not None:
        message = (
            f"The metrics are not mirrored to Weights & Biases: {answer.problem} "
            "The job goes on; its events and result file hold every metric."
        )
        return events.noted(key, message, level="warn")
    where = answer.url or "an offline run, which the server's operator can sync"
    return events.noted(key, f"The metrics are mirrored to Weights & Biases: {where}")


async def _see_off(process: asyncio.subprocess.Process, end: MirrorEnd, *, grace: float) -> None:
    assert process.stdin is not None
    _write(process, end)
    process.stdin.close()
    going = asyncio.create_task(_gone(process, grace=grace))
    try:
        await asyncio.shield(going)
    except asyncio.CancelledError:
        # A job that is over has no claim, which cancels its work; the mirror is not over yet.
        await going
        raise


async def _gone(process: asyncio.subprocess.Process, *, grace: float) -> None:
    """Return once the process has ended, by itself or made to."""
    try:
        async with asyncio.timeout(grace):
            await process.wait()
    except TimeoutError:
        logger.warning("a mirror did not end in time: pid=%s", process.pid)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _start_of(job: Job, integration: Integration, *, directory: Path) -> MirrorStart:
    asked = integration.wandb
    # OpenAI's own three tags come first.
    tags = ["openai/finetune", f"openai/{job.model}", f"openai/{job.id}", *asked.tags]
    return MirrorStart(
        run_id=asked.run_id,
        project=asked.project,
        entity=asked.entity,
        name=asked.name or job.id,
        tags=[tag for tag in dict.fromkeys(tags) if len(tag) <= _MAX_TAG],
        config={
            "model": job.model,
            "training_file": job.training_file,
            "validation_file": job.validation_file,
            "seed": job.seed,
            **job.hyperparameters.model_dump(),
        },
        directory=directory.absolute(),
    )
