"""What a user can do with batches."""

import time
from functools import partial

from jobs.batch_endpoints import ENDPOINTS
from jobs.batch_lifecycle import NEXT, advance
from jobs.keys import Caller
from jobs.services import Services
from jobs.store.batches import BatchOutcome, BatchPlan, BatchRecord
from schemas.base import CursorPage
from schemas.batches import COMPLETION_SECONDS, Batch, BatchCreate
from schemas.errors import Conflict, FileNotFound, InvalidRequest
from schemas.ids import new_hex_id


async def create(services: Services, caller: Caller, request: BatchCreate) -> Batch:
    """Record a batch; a worker finds it within a second.

    Raises:
        InvalidRequest: The endpoint is not served, or the file is not there or not for batches.
        MissingScope: The key may not ask the endpoint itself.
    """
    endpoint = ENDPOINTS.get(request.endpoint)
    if endpoint is None:
        served = ", ".join(f"'{endpoint}'" for endpoint in ENDPOINTS)
        raise InvalidRequest(
            f"Unsupported value: 'endpoint' does not support '{request.endpoint}' with this server. "
            f"Supported values are: {served}.",
            param="endpoint",
            code="unsupported_value",
        )
    caller.ensure_may(endpoint.scope)
    await _check_file(services, caller, request.input_file_id)
    now = int(time.time())
    batch = Batch(
        id=new_hex_id("batch_"),
        endpoint=request.endpoint,
        input_file_id=request.input_file_id,
        created_at=now,
        expires_at=now + COMPLETION_SECONDS,
        metadata=request.metadata,
    )
    expiry = request.output_expires_after
    plan = BatchPlan(
        key_id=caller.key_id,
        output_seconds=None if expiry is None else expiry.seconds,
    )
    await services.store.batches.add(
        BatchRecord(batch=batch, project_id=caller.project_id, plan=plan)
    )
    return batch


async def list_batches(
    services: Services, caller: Caller, *, after: str | None, limit: int
) -> CursorPage[Batch]:
    """Return one page of the caller's batches, newest first.

    Raises:
        InvalidRequest: `after` is no batch of the caller's.
    """
    return await services.store.batches.page(project_id=caller.project_id, limit=limit, after=after)


async def get(services: Services, caller: Caller, batch_id: str) -> Batch:
    """Return a batch of the caller's.

    Raises:
        BatchNotFound: There is none of that id.
    """
    return (await services.store.batches.get(batch_id, project_id=caller.project_id)).batch


async def cancel(services: Services, caller: Caller, batch_id: str) -> Batch:
    """Ask for a batch to end; its worker notices within a second, and keeps what was answered.

    Raises:
        BatchNotFound: There is none of that id.
        Conflict: It is over, or about to be.
    """
    record = await services.store.batches.change(
        batch_id, partial(_cancelling, now=int(time.time())), project_id=caller.project_id
    )
    return record.batch


def _cancelling(record: BatchRecord, *, now: int) -> BatchOutcome:
    batch = record.batch
    if batch.status == "cancelling":
        return BatchOutcome(record=record)
    if "cancelling" not in NEXT[batch.status]:
        raise Conflict(f"Cannot cancel a batch with status '{batch.status}'.")
    # Now, whatever it waits for.
    change = {"batch": advance(batch, "cancelling", now=now), "next_run_at": 0.0}
    return BatchOutcome(record=record.model_copy(update=change))


async def _check_file(services: Services, caller: Caller, file_id: str) -> None:
    try:
        file = await services.store.files.get(file_id, project_id=caller.project_id)
    except FileNotFound as exc:
        # 400, not 404: the missing thing is not what the URL names.
        raise InvalidRequest(f"invalid input_file_id: {file_id}", param="input_file_id") from exc
    if file.purpose != "batch":
        raise InvalidRequest(
            f"File '{file_id}' was uploaded for '{file.purpose}'. Upload it with purpose 'batch'.",
            param="input_file_id",
            code="invalid_file_purpose",
        )
