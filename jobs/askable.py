"""Whom a project may ask by a name, remembered for a second: every request to a model looks it up."""

import time
from typing import Final

from jobs.store.models import ModelRecords
from jobs.store.records import ModelRecord

_KNOWN_FOR: Final = 1.0
"""Seconds that another process's deletion, or end of a permission, may go unheard."""
_CACHE_SIZE: Final = 4096


class AskableModels:
    """The tuned models that projects may ask: their own, and those that others let them ask."""

    def __init__(self, records: ModelRecords) -> None:
        self._records = records
        self._known: dict[tuple[str, str], tuple[float, ModelRecord]] = {}

    async def find(self, name: str, *, project_id: str) -> ModelRecord | None:
        """Return the model of that name, or None; what is not there is looked up each time."""
        known = self._known.get((project_id, name))
        if known is not None and known[0] > time.monotonic():
            return known[1]
        record = await self._records.find_askable(name, project_id=project_id)
        if record is not None:
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            self._known[project_id, name] = (time.monotonic() + _KNOWN_FOR, record)
        return record

    def forget(self, name: str) -> None:
        """Look a model up again, whoever asks: it was deleted, or permissions on it have changed."""
        self._known = {key: known for key, known in self._known.items() if key[1] != name}
