"""`/ui/jobs/new`: the form of a job, its estimate, the same as code, and what it makes."""

import hashlib
import secrets
import time
from typing import Final

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from api.bodies import ApiRequest
from api.dashboard import job_form
from api.dashboard.guard import form_of
from api.dashboard.job_form import Draft
from api.dashboard.pages import Page, Reader, is_fragment, render
from api.dashboard.snippets import as_curl, as_python
from api.uploads import admitted, receive_among
from jobs import files, fine_tuning, models
from jobs.dataset import MIN_EXAMPLES
from jobs.dry_run import dry_run
from jobs.job_requests import clean_suffix, has_wandb
from jobs.keys import Caller
from jobs.memory_check import least_bytes
from jobs.services import Services
from jobs.store.idempotency import Attempt
from schemas.base import Schema
from schemas.dry_run import DryRun
from schemas.errors import ApiError, NotFound
from schemas.files import File
from schemas.fine_tuning_requests import JobCreate
from schemas.ids import TunedModelName

PATH: Final = "/ui/jobs/new"
_FILES: Final = 100
"""That are offered; older ones are reached from their own page."""


class NewJob(Schema):
    """The query of an empty form: what it begins with."""

    like: str | None = None
    """A job's id."""
    model: str | None = None
    training_file: str | None = None


class NameQuery(Schema):
    """The query for the name that the model will have."""

    model: str = ""
    suffix: str = ""


@get(PATH)
async def form(
    request: ApiRequest,
    params: NamedDependency[NewJob],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Ask what to train; like another job, if somebody wants one more of it."""
    values = {}
    if params.like is not None:
        caller.ensure_may("api.fine_tuning.read")
        values = job_form.values_of(await fine_tuning.get(services, caller, params.like))
    values |= {
        name: value
        for name, value in (("model", params.model), ("training_file", params.training_file))
        if value
    }
    values["attempt"] = secrets.token_urlsafe(16)
    return await _page(request, services, caller, Draft.new(values))


@post(PATH)
async def create(
    request: ApiRequest,
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page | Redirect:
    """Make the job, once however often the button was pressed, and lead to its page."""
    draft = job_form.read(form_of(request))
    if draft.request is None:
        return await _page(request, services, caller, draft)
    attempt = _attempt(caller, draft.request, sent_as=draft.value("attempt"))
    try:
        job = await fine_tuning.create(services, caller, draft.request, attempt=attempt)
    except ApiError as exc:
        return await _page(request, services, caller, draft.refused(exc))
    return Redirect(f"/ui/jobs/{job.id}", status_code=303)


@post(PATH + "/estimate")
async def estimate(
    request: ApiRequest,
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Say what the job would do, as a dry run finds."""
    draft, told = job_form.read(form_of(request)), None
    if draft.request is not None:
        try:
            told = await dry_run(services, caller, draft.request)
        except ApiError as exc:
            draft = draft.refused(exc)
    return await _answer(request, services, caller, draft, told=told)


@post(PATH + "/code")
async def code(
    request: ApiRequest,
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Show the request as curl and Python send it."""
    draft = job_form.read(form_of(request))
    snippets = {}
    if draft.request is not None:
        # Where the reader sees this page, a program on the same machine finds the API.
        base_url = f"{Reader(request).origin}/v1"
        snippets = {
            "Python": as_python(draft.request, base_url=base_url),
            "curl": as_curl(draft.request, base_url=base_url),
        }
    return await _answer(request, services, caller, draft, snippets=snippets)


@post(PATH + "/upload/{field:str}")
async def upload(
    request: ApiRequest,
    field: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Take a file for a field, without scripts: the form comes back with the file chosen, all else as it was."""
    if field not in job_form.UPLOADS:
        raise NotFound(f"There is no field '{field}' that takes a file.")
    part = job_form.UPLOADS[field]
    async with (
        services.blobs.incoming() as incoming,
        admitted(request, services.limiter, incoming),
    ):
        name, values = await receive_among(
            request, incoming, file=part, fields=job_form.FIELDS - {part}
        )
        draft = Draft.new(values)
        try:
            blob = await incoming.finish()
            file = await files.create(services, caller, blob, filename=name, purpose="fine-tune")
        except ApiError as exc:
            return await _page(request, services, caller, draft.refused(exc, field=field))
    chosen = {field: file.id, **({"validation": "file"} if field == "validation_file" else {})}
    return await _page(request, services, caller, Draft.new({**values, **chosen}))


@get(PATH + "/name")
async def name(
    request: ApiRequest, params: NamedDependency[NameQuery], caller: NamedDependency[Caller]
) -> Page:
    """Show what the model will be called."""
    return render(request, "model_name.html", name=_model_name(caller, params.model, params.suffix))


async def _answer(
    request: ApiRequest,
    services: Services,
    caller: Caller,
    draft: Draft,
    *,
    told: DryRun | None = None,
    snippets: dict[str, str] | None = None,
) -> Page:
    """Return what a button asked for: alone to a script, else in the form's page."""
    if is_fragment(request):
        return render(request, "new_job_answer.html", draft=draft, told=told, snippets=snippets)
    return await _page(request, services, caller, draft, told=told, snippets=snippets)


async def _page(
    request: ApiRequest,
    services: Services,
    caller: Caller,
    draft: Draft,
    *,
    told: DryRun | None = None,
    snippets: dict[str, str] | None = None,
) -> Page:
    bases = [base for base in services.catalog.all() if base.task == "generate"]
    problem = next(iter(draft.problems.values()), None)
    model = draft.value("model") or (bases[0].name if bases else "")
    return render(
        request,
        "new_job.html",
        status_code=problem.status if problem else 200,
        draft=draft,
        told=told,
        snippets=snippets,
        bases=[(base, await least_bytes(services, base)) for base in bases],
        tuned=await _tuned(services, caller),
        files=await _files(services, caller, draft),
        bounds=job_form.bounds(max_rank=services.settings.max_lora_rank),
        numbers=job_form.NUMBERS,
        advanced=job_form.ADVANCED,
        stopping=job_form.STOPPING,
        wandb=job_form.WANDB,
        has_wandb=has_wandb(),
        uploads=job_form.UPLOADS,
        may_upload="api.files.write" in caller.scopes,
        name=_model_name(caller, model, draft.value("suffix")),
        limits=job_form.limits(),
        least_examples=MIN_EXAMPLES["training"],
    )


async def _tuned(services: Services, caller: Caller) -> list[str]:
    """Return the tuned models to go on from, as far as the key may see models."""
    if "api.model.read" not in caller.scopes:
        return []
    listed = await models.list_models(services, caller)
    return [model.id for model in listed.data if TunedModelName.parse(model.id) is not None]


async def _files(services: Services, caller: Caller, draft: Draft) -> list[File] | None:
    """Return the files to choose from, those that are chosen among them; None: the key may not see any."""
    if "api.files.read" not in caller.scopes:
        return None
    page = await files.list_files(
        services, caller, purpose="fine-tune", limit=_FILES, order="desc", after=None
    )
    listed = {file.id for file in page.data}
    chosen = {draft.value(field) for field in job_form.UPLOADS} - listed - {""}
    older = []
    for file_id in sorted(chosen):
        try:
            older.append(await files.get(services, caller, file_id))
        except NotFound:
            continue  # deleted since; creating the job would say so
    return [*older, *page.data]


def _attempt(caller: Caller, request: JobCreate, *, sent_as: str) -> Attempt:
    """Return which try this is: a repetition always, so that the same form makes one job within ten minutes."""
    asked = f"{PATH}\n{sent_as}\n{request.model_dump_json()}"
    return Attempt(
        project_id=caller.project_id,
        key_id=caller.key_id,
        request_sha256=hashlib.sha256(asked.encode()).hexdigest(),
        retry_count=1,
        began_at=time.time(),
    )


def _model_name(caller: Caller, model: str, suffix: str) -> str | None:
    """Return the name with a `…` for the part that is drawn; None where the suffix cannot stand in one."""
    tuned = TunedModelName.parse(model)
    base = tuned.base if tuned else model
    try:
        clean = clean_suffix(suffix or None)
    except ApiError:
        return None
    return str(TunedModelName(base=base, organization=caller.organization_id, suffix=clean, id="…"))
