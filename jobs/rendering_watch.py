"""Whether engines render what adapters were trained on: looked at when an adapter comes to an engine.

An engine's template may change under a model that is served: the operator's engine restarts with another one,
a base's directory is touched. Nobody would hear of it: the model goes on answering, worse.
"""

import asyncio
import logging
from pathlib import Path

from jobs.chat_template import local_time
from jobs.rendering_samples import read_samples
from schemas.bases import BaseModelInfo
from schemas.errors import JobFailure, ModelServerUnavailable
from serving.rendering import RenderingReport, compare_rendering
from serving.vllm import NotOffered, Vllm

logger = logging.getLogger(__name__)


async def rendering_report(
    vllm: Vllm, *, base: BaseModelInfo, adapter_dir: Path, model: str
) -> RenderingReport | None:
    """Hold an engine's rendering against an adapter's samples; None where it carries none.

    Args:
        vllm: An engine of `base`.
        base: What the adapter was trained on.
        adapter_dir: Where its `rendering.json` lies.
        model: The base's or the adapter's name inside the engine.

    Raises:
        NotOffered: The engine does not tell.
        ModelServerUnavailable: It is not there.
        JobFailure: The base's own template cannot be read.
        ValueError: The samples cannot be read.
    """
    samples = await asyncio.to_thread(read_samples, adapter_dir, base.directory, now=local_time())
    return await compare_rendering(vllm, samples, model=model) if samples else None


class RenderingWatch:
    """Looks once at each adapter in each engine, until told to forget."""

    def __init__(self) -> None:
        self._looks: dict[tuple[str, str], asyncio.Task[None]] = {}
        """At an adapter in an engine: under way, or done."""
        self._told: set[tuple[str, str]] = set()

    async def ensure(
        self, vllm: Vllm, *, base: BaseModelInfo, adapter_id: str, adapter_dir: Path
    ) -> None:
        """Return where the engine may answer as the adapter, which is loaded. Concurrent callers share one look.

        An engine that renders some conversations otherwise is told of in the log and may answer: what is
        wrong may be wrong with tools only. One that renders none as in training answers as no model that
        anybody trained.

        Raises:
            ModelServerUnavailable: All conversations are rendered otherwise, or the engine is not there.
        """
        key = vllm.url, adapter_id
        look = self._looks.get(key)
        if look is not None and look.done() and not look.cancelled() and not look.exception():
            return  # as for nearly every request
        # One that failed is not remembered: the next request looks again, in case somebody has repaired it.
        if look is None or look.done():
            look = asyncio.create_task(self._look(key, vllm, base=base, adapter_dir=adapter_dir))
            self._looks[key] = look
        await asyncio.shield(look)

    async def _look(
        self, key: tuple[str, str], vllm: Vllm, *, base: BaseModelInfo, adapter_dir: Path
    ) -> None:
        try:
            report = await rendering_report(vllm, base=base, adapter_dir=adapter_dir, model=key[1])
        except (NotOffered, JobFailure, ValueError) as exc:
            self._warn(key, f"its rendering cannot be checked: {exc}")
            report = None
        if report and report.differences:
            self._warn(key, report.sentence)
            if report.is_all_different:
                raise ModelServerUnavailable(
                    f"The model is not served, because {report.sentence}", retry_after=30
                )

    def forget(self, vllm: Vllm) -> None:
        """Look again at all adapters of an engine: it has restarted, perhaps with another template."""
        self._looks = {key: look for key, look in self._looks.items() if key[0] != vllm.url}
        self._told = {key for key in self._told if key[0] != vllm.url}

    def _warn(self, key: tuple[str, str], message: str) -> None:
        if key not in self._told:
            self._told.add(key)
            logger.warning("rendering: adapter=%s %s", key[1], message)
