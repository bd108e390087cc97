"""Which bases this installation offers, under which names: the two of our own, and what the operator configured."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from jobs.bases.digests import DigestCache
from jobs.bases.hub_cache import cache_directory, find_snapshot
from jobs.bases.model_directory import CONFIG, UnusableBase, inspect_directory
from jobs.bases.offers import Offer, parse_engine_urls, parse_offers
from schemas.bases import BaseModelInfo
from schemas.errors import InvalidRequest
from schemas.settings import Settings

NANO: Final = "retune-nano"
SMOLLM2: Final = "smollm2-135m"
NANO_DIRECTORY: Final = Path(__file__).with_name("nano")


class Catalog:
    """The bases on offer, by name or alias. What could not be offered is told in `problems`, a line each."""

    def __init__(
        self,
        bases: Iterable[BaseModelInfo],
        *,
        aliases: Mapping[str, str] | None = None,
        problems: Iterable[str] = (),
    ) -> None:
        self._bases = {base.name: base for base in bases}
        self._aliases = dict(aliases or {})
        self.problems = list(problems)

    def resolve(self, name: str) -> str:
        """Return the base's own name for an alias, and any other name as it is."""
        return self._aliases.get(name, name)

    def find(self, name: str) -> BaseModelInfo | None:
        """Return the base of this name or alias, or None."""
        return self._bases.get(self.resolve(name))

    def get(self, name: str) -> BaseModelInfo:
        """Return the base of this name or alias, on which can be tuned.

        Raises:
            InvalidRequest: It is not offered, or only embeds; in OpenAI's words.
        """
        base = self.find(name)
        if base is None or base.task != "generate":
            raise InvalidRequest(
                f"Model {name} is not available for fine-tuning or does not exist.",
                param="model",
                code="model_not_available",
            )
        return base

    def all(self) -> list[BaseModelInfo]:
        """Return every base once, ours first, then in the order they were configured."""
        return list(self._bases.values())

    def aliases(self) -> dict[str, str]:
        """Return which alias stands for which base."""
        return dict(self._aliases)


def load_catalog(settings: Settings, *, environ: Mapping[str, str] | None = None) -> Catalog:
    """Look at every configured base and offer those that are whole.

    Reads no weights but to hash those that are new or changed, which takes seconds for each 10 GB: call it where a
    process starts, not in a request.

    Args:
        settings: Names the bases; where ours are prepared; where digests are kept.
        environ: Tells where the Hugging Face cache is; None: the process's.
    """
    environ = os.environ if environ is None else environ
    configured = parse_offers(settings.base_models, known=frozenset({NANO, SMOLLM2}))
    urls, url_problems = parse_engine_urls(settings.engine_urls)
    problems = [*configured.problems, *url_problems]
    digests = DigestCache.open(settings.data_dir / "base-digests.json")
    bases: dict[str, BaseModelInfo] = {}
    for offer in (_ours(settings) | configured.models).values():
        try:
            bases[offer.name] = _prepare(offer, settings, digests, environ)
        except UnusableBase as exc:
            problems += [f"{offer.name} is not offered. {problem}" for problem in exc.problems]
    digests.save()
    aliases = {
        name: base
        for name, base in configured.aliases.items()
        if base in bases and name not in bases
    }
    problems += _alias_problems(configured.aliases, bases)
    for name, url in urls.items():
        base = bases.get(aliases.get(name, name))
        if base is None:
            problems.append(f"RETUNE_ENGINE_URLS names {name}, which is not offered.")
        else:
            bases[base.name] = base.model_copy(update={"engine_url": url})
    return Catalog(bases.values(), aliases=aliases, problems=problems)


def _ours(settings: Settings) -> dict[str, Offer]:
    """Return the bases that need no configuration; a configured one of the same name takes the place."""
    ours = {NANO: Offer(NANO, directory=NANO_DIRECTORY)}
    prepared = settings.bases_dir / SMOLLM2
    return ours | {SMOLLM2: Offer(SMOLLM2, directory=prepared)} if prepared.exists() else ours


def _prepare(
    offer: Offer, settings: Settings, digests: DigestCache, environ: Mapping[str, str]
) -> BaseModelInfo:
    try:
        directory = inspect_directory(
            offer.directory or _downloaded(offer, environ), task=offer.task
        )
        digest = digests.digest(directory.files)
        created = int((directory.path / CONFIG).stat().st_mtime)
    except OSError as exc:
        raise UnusableBase([f"{exc.filename} cannot be read: {exc.strerror}."]) from exc
    bounds = (settings.context_length, offer.context_length, directory.max_context)
    return BaseModelInfo(
        name=offer.name,
        directory=directory.path,
        context_length=min(bound for bound in bounds if bound is not None),
        hidden_size=directory.hidden_size,
        model_type=directory.model_type,
        n_parameters=directory.n_parameters,
        digest=digest,
        created=created,
        task=offer.task,
        shutdown_date=offer.shutdown_date,
    )


def _downloaded(offer: Offer, environ: Mapping[str, str]) -> Path:
    assert offer.hub_id is not None
    if snapshot := find_snapshot(offer.hub_id, environ):
        return snapshot
    raise UnusableBase(
        [
            (
                f"{offer.hub_id} is not in {cache_directory(environ)}. Run `hf download {offer.hub_id}`, "
                "or give the directory of a copy."
            )
        ]
    )


def _alias_problems(aliases: Mapping[str, str], bases: Mapping[str, BaseModelInfo]) -> list[str]:
    shadowed = [
        f"The alias {name} is not used: a base has that name." for name in aliases if name in bases
    ]
    dangling = [
        f"The alias {name} stands for {base}, which is not offered."
        + (" Run `make setup-bases`." if base == SMOLLM2 else "")
        for name, base in aliases.items()
        if base not in bases and name not in bases
    ]
    return shadowed + dangling
