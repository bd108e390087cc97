"""Engines, as those see them who need an answer: wanted in SQL, reached over a socket, adapters loaded on demand.

Who starts and stops them is `jobs.engine_keeper`, in the process that serves, or the operator.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jobs.bases.catalog import Catalog
from jobs.rendering_watch import RenderingWatch
from jobs.store.machines import MachineRecords
from schemas.bases import BaseModelInfo
from schemas.errors import ModelServerUnavailable
from schemas.settings import Settings
from serving.adapters import Residency
from serving.answers import fingerprint_of
from serving.engine import internal_base_name
from serving.vllm import AdapterMissing, AdapterRejected, Answer, Route, Vllm

CHAT_PATIENCE: Final = 120.0
"""Seconds a first request waits for its engine to start."""
_WANT_EVERY: Final = 5.0
_POLL: Final = 0.2


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """An adapter that a model name stands for."""

    id: str
    """Its name inside the engine: opaque, so that no client can name a path."""
    directory: Path


@dataclass(frozen=True, slots=True)
class ChatTarget:
    """Who shall answer."""

    public_name: str
    """As the answer will show it: an alias resolved."""
    base: BaseModelInfo
    adapter: AdapterRef | None
    """None: the base itself."""
    project_id: str

    @property
    def fingerprint(self) -> str:
        """What answers tell of the weights that gave them (`system_fingerprint`)."""
        return fingerprint_of(self.base.digest, self.adapter.id if self.adapter else "")

    @property
    def cache_salt(self) -> str:
        """What keeps one project's prompts from being timed by another: each has a prefix cache of its own."""
        return hashlib.sha256(self.project_id.encode()).hexdigest()


class Engines:
    """The engines of all bases."""

    def __init__(
        self, settings: Settings, catalog: Catalog, machines: MachineRecords, stack: AsyncExitStack
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._machines = machines
        self._stack = stack
        self._clients: dict[str, Vllm] = {}
        self._residency = Residency()
        self._rendering = RenderingWatch()
        self._wanted: dict[str, float] = {}
        self._base_names: dict[str, str] = {}

    async def want(self, base: BaseModelInfo) -> None:
        """Say that an engine of `base` is needed; it starts if it does not run."""
        now = time.monotonic()
        if base.engine_url is None and now - self._wanted.get(base.name, -1e9) > _WANT_EVERY:
            self._wanted[base.name] = now
            await self._machines.want_engine(base.name, now=time.time())

    async def ready(self, base: BaseModelInfo, *, patience: float = CHAT_PATIENCE) -> Vllm:
        """Return the engine of `base`, waiting for it to start.

        Raises:
            ModelServerUnavailable: It is not there within `patience` seconds, or cannot start.
        """
        vllm = await self._client(base)
        deadline = time.monotonic() + patience
        while True:
            await self.want(base)
            if await vllm.is_healthy():
                return vllm
            # An engine that answered before and does not now has lost its adapters.
            self._forget(vllm)
            await self._refuse_if_failed(base)
            if time.monotonic() > deadline:
                raise ModelServerUnavailable(
                    f"The engine of '{base.name}' is still starting. Try again in a moment.",
                    retry_after=10,
                )
            await asyncio.sleep(_POLL)

    async def ensure(self, base: BaseModelInfo, adapter: AdapterRef) -> None:
        """Make an adapter answer in the engine of its base, loading it if need be.

        Raises:
            ModelServerUnavailable: The engine is not there, or did not load it in time.
            AdapterRejected: The engine refuses it.
        """
        vllm = await self.ready(base)
        await self._residency.ensure(vllm, adapter.id, adapter.directory)

    async def is_there(self, base: BaseModelInfo) -> bool:
        """Whether the engine of `base` answers just now."""
        return await (await self._client(base)).is_healthy()

    async def count_running(self, base: BaseModelInfo) -> int:
        """Return how many requests the engine of `base` works on or keeps waiting, whoever sent them.

        Raises:
            ModelServerUnavailable: The engine is not there, or does not tell.
        """
        return await (await self._client(base)).count_running()

    async def loaded(self, base: BaseModelInfo) -> set[str]:
        """Return the ids of the adapters that the engine of `base` holds just now, whoever loaded them.

        Raises:
            ModelServerUnavailable: The engine is not there, or does not tell.
        """
        return await (await self._client(base)).list_adapters()

    async def unload(self, base_name: str, adapter_id: str) -> None:
        """Let the engine forget an adapter; an engine that does not run has forgotten it."""
        base = self._catalog.find(base_name)
        if base is None:
            return
        vllm = await self._client(base)
        try:
            await vllm.unload_adapter(adapter_id)
        except ModelServerUnavailable:
            return
        finally:
            self._residency.forget(vllm, adapter_id)

    def forget(self, base: BaseModelInfo) -> None:
        """Remember no adapter of an engine that ended."""
        if base.name in self._clients:
            self._forget(self._clients[base.name])

    @asynccontextmanager
    async def open_answer(
        self, target: ChatTarget, body: Mapping[str, Any], *, route: Route = "/v1/chat/completions"
    ) -> AsyncIterator[Answer]:
        """Ask the engine, and yield the answer it begins to give; leaving stops the generation.

        Args:
            target: Who shall answer.
            body: A checked request; its `model` is set here.
            route: What is asked for.

        Raises:
            InvalidRequest: The engine refuses the request.
            ModelServerUnavailable: The engine is not there; the request may be sent again.
        """
        await self.want(target.base)
        async with AsyncExitStack() as stack:
            try:
                answer = await self._begin(target, body, route, stack)
            except ModelServerUnavailable as exc:
                # Nothing was answered yet: wait for the engine, load again, ask once more.
                if isinstance(exc, AdapterMissing):
                    self.forget(target.base)
                else:
                    await self.ready(target.base)
                answer = await self._begin(target, body, route, stack)
            yield answer

    async def base_name(self, base: BaseModelInfo) -> str:
        """Return what the engine of `base` calls it: ours by a name of ours, the operator's by theirs.

        Raises:
            ModelServerUnavailable: The operator's engine is not there.
        """
        if base.engine_url is None:
            return internal_base_name(base)
        if base.name not in self._base_names:
            vllm = await self._client(base)
            self._base_names[base.name] = await vllm.base_name()
        return self._base_names[base.name]

    async def _begin(
        self, target: ChatTarget, body: Mapping[str, Any], route: Route, stack: AsyncExitStack
    ) -> Answer:
        vllm = await self._client(target.base)
        if target.adapter is None:
            name = await self.base_name(target.base)
        else:
            name = target.adapter.id
            try:
                await self._residency.ensure(vllm, name, target.adapter.directory)
            except AdapterRejected as exc:
                # It was proven once: the engine has changed since, or its files were touched.
                raise ModelServerUnavailable(
                    f"The engine no longer takes the model '{target.public_name}': {exc.reason}"
                ) from exc
            await self._rendering.ensure(
                vllm, base=target.base, adapter_id=name, adapter_dir=target.adapter.directory
            )
        return await stack.enter_async_context(vllm.ask(route, {**body, "model": name}))

    def _forget(self, vllm: Vllm) -> None:
        self._residency.forget(vllm)
        self._rendering.forget(vllm)

    async def _client(self, base: BaseModelInfo) -> Vllm:
        if base.name not in self._clients:
            url = engine_url(self._settings, base)
            self._clients[base.name] = await self._stack.enter_async_context(Vllm(url))
        return self._clients[base.name]

    async def _refuse_if_failed(self, base: BaseModelInfo) -> None:
        record = await self._machines.find_engine(base.name)
        if record is not None and record.state == "failed":
            raise ModelServerUnavailable(
                f"The engine of '{base.name}' does not start: {record.message}", retry_after=30
            )


@asynccontextmanager
async def open_engines(
    settings: Settings, catalog: Catalog, machines: MachineRecords
) -> AsyncGenerator[Engines]:
    """Open the way to all engines; none need be running."""
    async with AsyncExitStack() as stack:
        yield Engines(settings, catalog, machines, stack)


def engine_socket(settings: Settings, base: BaseModelInfo) -> Path:
    """Where our own engine of `base` listens."""
    return settings.run_dir / f"{internal_base_name(base)}.sock"


def engine_url(settings: Settings, base: BaseModelInfo) -> str:
    """Where the engine of `base` answers: the operator's URL, else our own socket."""
    return base.engine_url or f"unix://{engine_socket(settings, base)}"
