"""A batch's end: its output and error files, in which every request stands once, and its last status."""

import time
from collections.abc import Iterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Final, Literal

from jobs.batch_claim import BatchClaim
from jobs.batch_input import Request, read_requests
from jobs.batch_journal import Entry, Tally, read_entries
from jobs.batch_lifecycle import advance
from jobs.blobs import IncomingBlob, StoredBlob
from jobs.blocks import in_thread
from jobs.store.batches import BatchOutcome, BatchRecord
from jobs.store.records import Fenced, FileRecord
from schemas.batches import LineError, ResultLine
from schemas.files import File
from schemas.ids import new_hex_id, new_id

Ending = Literal["completed", "expired", "cancelled"]

_INSTEAD: Final[dict[Ending, LineError]] = {
    "expired": LineError(
        code="batch_expired",
        message="This request could not be executed before the completion window expired.",
    ),
    "cancelled": LineError(
        code="batch_cancelled",
        message="This request was not executed because the batch was cancelled.",
    ),
}
"""What is said of requests that were not asked."""


class RequestsLeft(Exception):
    """A batch that was to be complete has requests without an outcome; they are still to be asked."""


async def conclude(claim: BatchClaim, ending: Ending, *, input_path: Path, work_dir: Path) -> None:
    """Write the batch's files and end it, all or nothing. Safe to repeat.

    Args:
        claim: Of a batch whose requests are asked no more.
        ending: `completed`: every request has an outcome.
        input_path: Absent where the batch ends before its input was looked at.
        work_dir: With the journals.

    Raises:
        RequestsLeft: It is not complete.
        Fenced: The batch is ours no longer.
        StorageFull: There is no room for the files.
    """
    if ending == "completed":
        await claim.change(_finalizing)
        if claim.batch.status == "cancelling":
            ending = "cancelled"
    blobs = claim.services.blobs
    async with blobs.incoming() as output, blobs.incoming() as errors:
        tally = Tally(claim.batch.request_counts.total)
        # A file that nobody found good has no requests.
        if claim.batch.in_progress_at is not None:
            async with aclosing(in_thread(_outcomes(ending, input_path, work_dir))) as entries:
                async for entry in entries:
                    tally.add(entry)
                    await _write(output if entry.is_completed else errors, entry)
        await _end(claim, ending, tally, await output.finish(), await errors.finish())


def _outcomes(ending: Ending, input_path: Path, work_dir: Path) -> Iterator[Entry]:
    """Yield one outcome for each request. Blocking, in flat memory."""
    seen: set[int] = set()
    for entry in read_entries(work_dir):
        seen.add(entry.number)
        yield entry
    for request in read_requests(input_path):
        if request.number not in seen:
            if ending not in _INSTEAD:
                raise RequestsLeft(request.number)
            yield _instead(request, _INSTEAD[ending])


def _instead(request: Request, error: LineError) -> Entry:
    line = ResultLine(
        id=new_hex_id("batch_req_"), custom_id=request.custom_id, response=None, error=error
    )
    return Entry(number=request.number, is_completed=False, result=line.model_dump_json())


async def _write(blob: IncomingBlob, entry: Entry) -> None:
    await blob.write(entry.result.encode() + b"\n")


async def _end(
    claim: BatchClaim, ending: Ending, tally: Tally, output: StoredBlob, errors: StoredBlob
) -> None:
    now = int(time.time())
    files: dict[str, tuple[File, FileRecord]] = {}
    for kind, blob in (("output", output), ("error", errors)):
        if blob.bytes:
            file = _file(claim.record, kind, blob, now=now)
            # Bytes before the record: a record never points at nothing.
            await claim.services.blobs.keep_file(blob, file.id)
            record = FileRecord(project_id=claim.record.project_id, sha256=blob.sha256)
            files[f"{kind}_file_id"] = (file, record)
    try:
        await claim.change(partial(_ended, ending=ending, files=files, tally=tally, now=now))
    except Fenced:
        # Only now is it sure that no record will name them.
        for file, _ in files.values():
            await claim.services.blobs.delete_file(file.id)
        raise


def _file(record: BatchRecord, kind: str, blob: StoredBlob, *, now: int) -> File:
    lifetime = record.plan.output_seconds
    return File(
        id=new_id("file-"),
        bytes=blob.bytes,
        created_at=now,
        filename=f"{record.batch.id}_{kind}.jsonl",
        purpose="batch_output",
        expires_at=None if lifetime is None else now + lifetime,
    )


def _finalizing(record: BatchRecord) -> BatchOutcome:
    if record.batch.status != "in_progress":
        return BatchOutcome(record=record)  # taken up again, or cancelled at the last moment
    batch = advance(record.batch, "finalizing", now=int(time.time()))
    return BatchOutcome(record=record.model_copy(update={"batch": batch}))


def _ended(
    record: BatchRecord,
    *,
    ending: Ending,
    files: dict[str, tuple[File, FileRecord]],
    tally: Tally,
    now: int,
) -> BatchOutcome:
    status = "cancelled" if record.batch.status == "cancelling" else ending
    ids = {name: file.id for name, (file, _) in files.items()}
    batch = tally.shown_by(advance(record.batch, status, now=now)).model_copy(update=ids)
    released = {"batch": batch, "owner": None, "lease_until": 0.0}
    return BatchOutcome(record=record.model_copy(update=released), files=list(files.values()))
