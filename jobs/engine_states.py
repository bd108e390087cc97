"""How the engine of each base is: what its keeper wrote down, and what itself says when asked."""

import asyncio

from jobs.services import Services
from schemas.base import Schema
from schemas.bases import BaseModelInfo
from schemas.errors import ApiError
from schemas.models import EngineCondition


class EngineLook(Schema):
    """An engine, as it was a moment ago."""

    base: str
    state: EngineCondition
    message: str = ""
    """Why it failed."""
    adapters: frozenset[str] | None = None
    """Internal ids of what it holds; None: nobody can tell."""


async def look(services: Services) -> dict[str, EngineLook]:
    """Return how each engine is, by its base. All are asked at once; one that is stopped is not."""
    records = {record.base: record for record in await services.store.machines.engines()}

    async def one(base: BaseModelInfo) -> EngineLook:
        record = records.get(base.name)
        # An operator's engine has no keeper who writes: it is asked always.
        if base.engine_url is None and (record is None or record.state != "ready"):
            return EngineLook(
                base=base.name,
                state=record.state if record else "stopped",
                message=record.message if record else "",
            )
        try:
            adapters = await services.engines.loaded(base)
        except ApiError as exc:
            return EngineLook(base=base.name, state="unreachable", message=exc.message)
        return EngineLook(base=base.name, state="ready", adapters=frozenset(adapters))

    looks = await asyncio.gather(*(one(base) for base in services.catalog.all()))
    return {each.base: each for each in looks}
