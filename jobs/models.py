"""What a user can do with models."""

import time
from collections.abc import Mapping
from typing import Final

from jobs import engine_states
from jobs.engine_states import EngineLook
from jobs.engines import AdapterRef, ChatTarget
from jobs.keys import Caller
from jobs.services import Services
from jobs.store.records import ModelRecord
from schemas.bases import BaseModelInfo, Task
from schemas.errors import Forbidden, ModelNotFound, NotFound
from schemas.ids import TunedModelName
from schemas.models import Model, ModelDeleted, ModelDetails, ModelList

_OWNER_OF_BASES: Final = "system"
_NOT_ALLOWED: Final[dict[Task, str]] = {
    "generate": "You are not allowed to sample from this model",
    "embed": "You are not allowed to generate embeddings from this model",
}


async def list_models(
    services: Services, caller: Caller, *, with_details: bool = False
) -> ModelList:
    """Return the caller's tuned models, newest first, then the bases, then their aliases.

    Args:
        services: Open.
        caller: Whose.
        with_details: Whether to say what each is made of and whether it is at hand; asks every engine.
    """
    if with_details:
        return ModelList(data=await _detailed(services, caller))
    tuned = [
        _tuned(services, record) for record in await services.store.models.all_of(caller.project_id)
    ]
    bases = [_base(info.name, info) for info in services.catalog.all()]
    aliases = [
        _base(alias, info)
        for alias in services.catalog.aliases()
        if (info := services.catalog.find(alias)) is not None
    ]
    return ModelList(data=[*tuned, *bases, *aliases])


async def _detailed(services: Services, caller: Caller) -> list[Model]:
    found = await engine_states.look(services)
    shared: Mapping[str, int] | None = None
    if "api.fine_tuning.read" in caller.scopes:
        shared = await services.store.permissions.counts(owner=caller.project_id)
    tuned = [
        _tuned(services, record).model_copy(
            update={"details": _tuned_details(services, record, found, shared)}
        )
        for record in await services.store.models.all_of(caller.project_id)
    ]
    names = [*(info.name for info in services.catalog.all()), *services.catalog.aliases()]
    bases = [
        _base(name, info).model_copy(update={"details": _base_details(info, found[info.name])})
        for name in names
        if (info := services.catalog.find(name)) is not None
    ]
    return [*tuned, *bases]


async def get(services: Services, caller: Caller, name: str) -> Model:
    """Return a model that the caller may ask.

    Raises:
        ModelNotFound: There is none of that name.
    """
    info = services.catalog.find(name)
    if info is not None:
        return _base(name, info)
    record = await services.askable.find(name, project_id=caller.project_id)
    if record is None:
        raise ModelNotFound(name)
    return _tuned(services, record)


async def delete(services: Services, caller: Caller, name: str) -> ModelDeleted:
    """Delete a tuned model: its name answers no more, and engines let go of it.

    Its files stay until no engine can read them again (`jobs.engines.EngineKeeper`).

    Raises:
        ModelNotFound: The caller has none of that name.
        Forbidden: It is a base.
    """
    if services.catalog.find(name) is not None:
        raise Forbidden(
            f"'{name}' is a base model; only fine-tuned models can be deleted.",
            param="model",
            code="model_not_deletable",
        )
    record = await services.store.models.delete(
        name, project_id=caller.project_id, now=int(time.time())
    )
    services.askable.forget(name)
    still_named = any(
        other.adapter_id == record.adapter_id
        for other in await services.store.models.live_on(record.base)
    )
    if not still_named:
        await services.engines.unload(record.base, record.adapter_id)
    return ModelDeleted(id=name)


async def target(
    services: Services, caller: Caller, name: str, *, task: Task = "generate"
) -> ChatTarget:
    """Return who answers to `name`. What the operator calls so comes before any tuned model.

    Raises:
        NotFound: Nobody the caller may ask.
        Forbidden: Somebody who does something else; in OpenAI's words.
    """
    record, base = None, services.catalog.find(name)
    if base is None:
        record = await services.askable.find(name, project_id=caller.project_id)
        base = services.catalog.find(record.base) if record else None
    if base is None:
        raise NotFound(
            f"The model `{name}` does not exist or you do not have access to it.",
            code="model_not_found",
        )
    if base.task != task:
        raise Forbidden(_NOT_ALLOWED[task])
    if record is None:
        return ChatTarget(base.name, base, None, caller.project_id)
    directory = services.blobs.adapter_dir(record.adapter_id)
    adapter = AdapterRef(record.adapter_id, directory)
    return ChatTarget(record.name, base, adapter, caller.project_id)


def _tuned(services: Services, record: ModelRecord) -> Model:
    base = services.catalog.find(record.base)
    return Model(
        id=record.name,
        created=record.created_at,
        owned_by=record.organization_id,
        shutdown_date=base and base.shutdown_date,
    )


def _tuned_details(
    services: Services,
    record: ModelRecord,
    found: Mapping[str, EngineLook],
    shared: Mapping[str, int] | None,
) -> ModelDetails:
    base, look = services.catalog.find(record.base), found.get(record.base)
    parts = TunedModelName.parse(record.name)
    is_known = look is not None and look.adapters is not None
    return ModelDetails(
        task=base and base.task,
        base=record.base,
        context_length=base and base.context_length,
        job=record.job_id,
        step=parts and parts.step,
        engine=look.state if look else "unreachable",
        engine_message=look.message if look else "Its base model is not offered any more.",
        is_loaded=record.adapter_id in (look.adapters or ()) if look and is_known else None,
        n_shared=None if shared is None else shared.get(record.name, 0),
    )


def _base_details(info: BaseModelInfo, look: EngineLook) -> ModelDetails:
    return ModelDetails(
        task=info.task,
        base=info.name,
        context_length=info.context_length,
        engine=look.state,
        engine_message=look.message,
    )


def _base(name: str, info: BaseModelInfo) -> Model:
    return Model(
        id=name, created=info.created, owned_by=_OWNER_OF_BASES, shutdown_date=info.shutdown_date
    )
