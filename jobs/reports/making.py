"""One report: its examples chosen, asked, measured and written down. Safe to do again; what was answered is kept."""

import os
import time
from asyncio import to_thread
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Final

from pydantic import ValidationError

from jobs.batch_pace import Pace
from jobs.claims import Claim
from jobs.engines import AdapterRef, ChatTarget
from jobs.graders.children import ChildFailed
from jobs.holding_out import places_held_out
from jobs.rendering import Renderer
from jobs.reports.asking import Answers, ask_all
from jobs.reports.kept import KeptAnswers
from jobs.reports.reading import comparisons, latency_of, notes_on, pairs_shown
from jobs.reports.sample import Chosen, NotAskable, choose, numbers_found_in
from jobs.reports.states import ended
from jobs.store.jobs import Outcome
from jobs.store.records import FileRecord, JobRecord
from schemas.errors import FileNotFound, JobFailure
from schemas.files import File
from schemas.ids import new_id
from schemas.report import Case, Cases, Compared, JobReport, LeftOut, Measured, Report, Source

_MEASURING_SECONDS: Final = 120.0
_MEASURING_SECONDS_A_CASE: Final = 10.0
"""Two answers of 3,000 words beside a reference of 1,500 take two, where nothing else runs."""
_LATE: Final = NotAskable("no_answer", "There was no answer in time (RETUNE_REPORT_SECONDS).")


class NothingToCompare(Exception):
    """There can be no report; the message says why."""


class NotMeasured(Exception):
    """There could be a report, but something of ours failed; the message says what."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a report's examples are from."""

    source: Source
    file_id: str
    held_out: frozenset[int] | None = None
    """Numbers of the examples, from 1, that were held out of the file; None: all are meant."""


async def make(claim: Claim, pace: Pace) -> None:
    """Make a claimed job's report and write it down.

    Raises:
        NothingToCompare: A file or a model was deleted, or no example can be asked.
        NotMeasured: No answer came in time, or the answers could not be measured.
        ModelServerUnavailable: The engine is not there.
        Fenced: The job is no longer ours.
    """
    base, tuned = await _targets(claim)
    origin = origin_of(claim.record)
    chosen = await _choose(claim, base, origin)
    found = await _asked(claim, chosen, base, tuned, pace)
    cases, left_out = _cases(chosen, found), _left_out(found)
    if not cases:
        reasons = " ".join(each.detail for each in left_out)
        raise NotMeasured(f"No example was answered by both models. {reasons}")
    measured = await _measured(claim, cases)
    scores = measured.scores
    examples = await _compared(claim, origin, chosen, cases, left_out)
    report = Report(
        job_id=claim.job_id,
        created_at=int(time.time()),
        base_model=base.public_name,
        tuned_model=tuned.public_name,
        examples=examples,
        scores=scores,
        notes=notes_on(examples, cases, scores),
        pairs=pairs_shown(cases, chosen.questions),
        comparisons=comparisons(cases, chosen.questions, measured.each),
        latency=latency_of(cases),
    )
    await _targets(claim)  # nobody asked for numbers of a model that was deleted meanwhile
    await _write_down(claim, report)


def origin_of(record: JobRecord) -> Origin:
    """Return where a job's examples are from: what was held out, else what was trained on."""
    job, share = record.job, record.job.hyperparameters.validation_split
    if job.validation_file is not None:
        return Origin("validation_file", job.validation_file)
    if share is None:
        return Origin("training_file", job.training_file)
    places = places_held_out(record.plan.n_examples, share=share, seed=job.seed)
    held_out = frozenset(place + 1 for place in places)
    return Origin("validation_split", job.training_file, held_out)


async def _targets(claim: Claim) -> tuple[ChatTarget, ChatTarget]:
    """Return base and tuned model.

    Raises:
        NothingToCompare: One of them is no longer there.
    """
    services, project_id = claim.services, claim.record.project_id
    base = services.catalog.find(claim.record.base)
    if base is None:
        raise NothingToCompare(f"The base model '{claim.record.base}' is no longer offered.")
    name = claim.record.job.fine_tuned_model or ""
    model = await services.store.models.find(name, project_id=project_id)
    if model is None:
        raise NothingToCompare("The tuned model was deleted.")
    adapter = AdapterRef(model.adapter_id, services.blobs.adapter_dir(model.adapter_id))
    return (
        ChatTarget(base.name, base, None, project_id),
        ChatTarget(model.name, base, adapter, project_id),
    )


async def _choose(claim: Claim, target: ChatTarget, origin: Origin) -> Chosen:
    services, base, file_id = claim.services, target.base, origin.file_id
    try:
        await services.store.files.get(file_id, project_id=claim.record.project_id)
        chosen = await to_thread(
            choose,
            services.blobs.file_path(file_id),
            await to_thread(Renderer.load, base.directory),
            model=base.name,
            context_length=base.context_length,
            n=services.settings.report_examples,
            seed=claim.record.job.seed,
            among=origin.held_out,
        )
    except (FileNotFound, FileNotFoundError) as exc:
        raise NothingToCompare(f"The file {file_id} was deleted.") from exc
    except JobFailure as exc:
        raise NothingToCompare(exc.message) from exc
    if not chosen.questions:
        reasons = " ".join(each.detail for each in _left_out(chosen.left_out))
        raise NothingToCompare(f"No example can be asked. {reasons}")
    return chosen


async def _asked(
    claim: Claim, chosen: Chosen, base: ChatTarget, tuned: ChatTarget, pace: Pace
) -> dict[int, Answers | NotAskable]:
    """Return what became of every chosen example, in this try or an earlier one."""
    services = claim.services
    kept = KeptAnswers(services.blobs, claim.job_id, of=tuned.fingerprint)
    known = {n: found for n, found in (await kept.read()).items() if n in chosen.questions}
    # Shuffled: what is answered when the time is over is from all over the file, not from its beginning.
    questions = [each for each in chosen.questions.items() if each[0] not in known]
    Random(claim.record.job.seed).shuffle(questions)  # noqa: S311 - to be repeated, not to be secret
    if questions:
        await services.engines.ready(base.base)
        with kept.journal(claim.record.attempt) as journal:
            known |= await ask_all(
                services,
                dict(questions),
                base=base,
                tuned=tuned,
                turns=await pace.look(base.base),
                seconds=services.settings.report_seconds,
                keep=journal.keep,
            )
    return dict.fromkeys(chosen.questions, _LATE) | chosen.left_out | known


def _cases(chosen: Chosen, found: Mapping[int, Answers | NotAskable]) -> dict[int, Case]:
    """Return what both models answered, in the file's order."""
    return {
        number: Case(reference=chosen.questions[number].reference, base=said.base, tuned=said.tuned)
        for number, said in sorted(found.items())
        if isinstance(said, Answers)
    }


def _left_out(found: Mapping[int, Answers | NotAskable]) -> list[LeftOut]:
    """Count reasons; each is explained by the first example that has it."""
    reasons: defaultdict[str, list[NotAskable]] = defaultdict(list)
    for _, each in sorted(found.items()):
        if isinstance(each, NotAskable):
            reasons[each.reason].append(each)
    return [
        LeftOut(reason=same[0].reason, n=len(same), detail=same[0].detail)
        for same in reasons.values()
    ]


async def _measured(claim: Claim, cases: Mapping[int, Case]) -> Measured:
    asked = Cases(seed=claim.record.job.seed, cases=list(cases.values()))
    # Where a checkout is run from; else the installed package is found without it.
    found_at = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    try:
        answer = await claim.services.report_children.ask(
            "jobs.reports.measures",
            asked.model_dump_json().encode(),
            seconds=_MEASURING_SECONDS + _MEASURING_SECONDS_A_CASE * len(cases),
            environment=found_at,
        )
        return Measured.model_validate_json(answer)
    except (ChildFailed, ValidationError) as exc:
        raise NotMeasured(f"The answers could not be measured. {exc}") from exc


async def _compared(
    claim: Claim,
    origin: Origin,
    chosen: Chosen,
    cases: Mapping[int, Case],
    left_out: list[LeftOut],
) -> Compared:
    return Compared(
        source=origin.source,
        file_id=origin.file_id,
        n_available=chosen.n_available,
        n_chosen=len(chosen.examples),
        n_compared=len(cases),
        n_in_training=await _in_training(claim, chosen, cases, origin),
        left_out=left_out,
        n_candidates=await _n_candidates(claim, origin),
    )


async def _n_candidates(claim: Claim, origin: Origin) -> int:
    """Return of how many states of the model these examples' loss chose the final one; 0: it chose none."""
    if origin.source == "training_file":
        return 0
    steps = await claim.services.store.jobs.metrics(claim.job_id)
    return sum(1 for step in steps if step.data.get("full_valid_loss") is not None)


async def _in_training(
    claim: Claim, chosen: Chosen, cases: Mapping[int, Case], origin: Origin
) -> int | None:
    if origin.source == "training_file":
        return len(cases)
    path = claim.services.blobs.file_path(claim.record.job.training_file)
    with suppress(FileNotFoundError):
        found = await to_thread(
            numbers_found_in, path, chosen, but_at=origin.held_out or frozenset()
        )
        return len(found & cases.keys())
    return None


async def _write_down(claim: Claim, report: Report) -> None:
    """Keep the file and let the job name it, all or nothing."""
    blobs = claim.services.blobs
    async with blobs.incoming() as incoming:
        await incoming.write(report.model_dump_json(indent=2).encode() + b"\n")
        blob = await incoming.finish()
        file = File(
            id=new_id("file-"),
            bytes=blob.bytes,
            created_at=report.created_at,
            filename="report.json",
            purpose="fine-tune-results",
        )
        # Bytes before the record: a record never points at nothing.
        await blobs.keep_file(blob, file.id)
    file_record = FileRecord(project_id=claim.record.project_id, sha256=blob.sha256)

    def change(record: JobRecord) -> Outcome:
        done = JobReport(
            status="done",
            file_id=file.id,
            source=report.examples.source,
            headline=report.scores.headline,
            notes=report.notes,
        )
        record = ended(record, done)
        job = record.job.model_copy(update={"result_files": [*record.job.result_files, file.id]})
        record = record.model_copy(update={"job": job})
        return Outcome(record=record, files=[(file, file_record)])

    try:
        await claim.change(change)
    except BaseException:
        # A cancellation may come after the commit: only the record knows which it was.
        job = (await claim.services.store.jobs.get(claim.job_id)).job
        if file.id not in job.result_files:
            await blobs.delete_file(file.id)
        raise
