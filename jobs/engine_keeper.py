"""Keeping engines as SQL wants them: started when needed, restarted on any exit, given back their adapters.

Runs in the process that serves; API and worker only say what they want (`jobs.engines`).
"""

import asyncio
import logging
import time
from typing import Final

from jobs.engines import AdapterRef, engine_socket
from jobs.services import Services
from jobs.store.records import EngineRecord, EngineState
from schemas.bases import BaseModelInfo
from schemas.errors import ApiError, JobFailure
from serving.engine import EngineFailed, EngineProcess

logger = logging.getLogger(__name__)

_LOOK_EVERY: Final = 0.25
_BACKOFF: Final = 1.0
_MAX_BACKOFF: Final = 60.0
_STEADY: Final = 120.0
"""An engine that ran this many seconds is started again at once."""
_LEAST_IDLE: Final = 60.0
_UNNAMED_KEPT: Final = 24 * 3600.0


class EngineKeeper:
    """Owns every engine of ours on this machine."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Keep engines until cancelled, then stop them all."""
        await self.delete_unnamed_adapters(now=time.time())
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._adjust(group)
                    await asyncio.sleep(_LOOK_EVERY)
        finally:
            for base in self._running:
                await self._report(base, "stopped")

    async def delete_unnamed_adapters(self, *, now: float) -> None:
        """Delete adapters that no model names: only before any engine runs, which could read them.

        Whether their base is offered today says nothing: it may be again tomorrow. What is younger than a
        day may be on its way to a name, from a worker on another machine.

        Args:
            now: Unix seconds.
        """
        blobs = self._services.blobs
        named = await self._services.store.models.live_adapters()
        for adapter_id in blobs.adapter_ids():
            age = now - blobs.adapter_dir(adapter_id).stat().st_mtime
            if adapter_id not in named and age > _UNNAMED_KEPT:
                await blobs.delete_adapter(adapter_id)

    async def _adjust(self, group: asyncio.TaskGroup) -> None:
        try:
            idle, now = self._services.settings.engine_idle_seconds, time.time()
            wanted = {
                record.base
                for record in await self._services.store.machines.engines()
                if is_wanted(record, idle_seconds=idle, now=now)
            }
        except ApiError as exc:
            logger.warning("engines stay as they are: %r", exc)
            return
        for name in wanted - self._running.keys():
            base = self._services.catalog.find(name)
            if base is not None and base.engine_url is None:
                self._running[name] = group.create_task(self._keep(base))
        for name in self._running.keys() - wanted:
            stopping = self._running.pop(name)
            stopping.cancel()
            # Waited for: its successor would listen on the same socket.
            await asyncio.wait({stopping})

    async def _keep(self, base: BaseModelInfo) -> None:
        """Run one engine, again and again, until cancelled."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                message = await self._run_once(base)
            except (EngineFailed, OSError) as exc:
                message = str(exc)
                logger.error("engine failed: base=%s %s", base.name, message)  # noqa: TRY400 - told in full
            failures = 0 if time.monotonic() - began > _STEADY else failures + 1
            # One quick death may be a stray kill; after that somebody should be told.
            await self._report(base.name, "failed" if failures > 2 else "starting", message)
            await asyncio.sleep(
                min(_MAX_BACKOFF, _BACKOFF * 2 ** (failures - 1)) if failures else 0
            )

    async def _run_once(self, base: BaseModelInfo) -> str:
        """Run one engine until it ends, and return how."""
        settings = self._services.settings
        log_path = settings.data_dir / "logs" / f"engine-{_file_name(base.name)}.log"
        engine = EngineProcess(
            base, settings, socket=engine_socket(settings, base), log_path=log_path
        )
        began = time.monotonic()
        await self._report(base.name, "starting")
        try:
            await engine.start()
            await engine.wait_until_healthy()
            await self._give_back_adapters(base)
            logger.info("engine ready: base=%s seconds=%.1f", base.name, time.monotonic() - began)
            await self._report(base.name, "ready")
            status = await engine.wait()
        finally:
            await asyncio.shield(engine.stop())
            self._services.engines.forget(base)
            await self._report(base.name, "stopped")
        logger.warning("engine ended: base=%s status=%s", base.name, status)
        return f"The engine ended with status {status}; see {log_path}."

    async def _give_back_adapters(self, base: BaseModelInfo) -> None:
        for record in await self._services.store.models.live_on(base.name):
            directory = self._services.blobs.adapter_dir(record.adapter_id)
            try:
                await self._services.engines.ensure(base, AdapterRef(record.adapter_id, directory))
            except (ApiError, JobFailure) as exc:
                logger.warning("adapter not given back: model=%s %r", record.name, exc)

    async def _report(self, base: str, state: EngineState, message: str = "") -> None:
        try:
            await self._services.store.machines.report_engine(
                base, state, now=time.time(), message=message
            )
        except ApiError as exc:
            logger.warning("engine state not recorded: base=%s %r", base, exc)


def is_wanted(record: EngineRecord, *, idle_seconds: float, now: float) -> bool:
    """Whether an engine should run: somebody asked for it, and not too long ago.

    Args:
        record: What was asked.
        idle_seconds: After which it may stop, at least a minute; 0: never.
        now: Unix seconds.
    """
    if record.wanted_at == 0:
        return False
    return idle_seconds == 0 or now - record.wanted_at < max(idle_seconds, _LEAST_IDLE)


def _file_name(base: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in base)
