"""What `RETUNE_BASE_MODELS` and `RETUNE_ENGINE_URLS` say: text to offers, aliases and addresses; reads no model.

The comma form holds `name=source` entries. A source is a directory, a hub id (`ORG/NAME`), or the name of another offered
base, for which `name` then is an alias:

    qwen3-0.6b=Qwen/Qwen3-0.6B,house=/models/house,gpt-4o-mini=smollm2-135m

A TOML file says the same at length; a relative path counts from the file:

    [models."qwen3-0.6b"]
    hub = "Qwen/Qwen3-0.6B"
    context_length = 8192

    [models."bge-small"]
    path = "bge-small-en-v1.5"
    task = "embed"

    [models.house]
    path = "/models/house"
    shutdown_date = 2027-06-30

    [aliases]
    gpt-4o-mini = "smollm2-135m"
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final, Self

from pydantic import ConfigDict, PositiveInt, ValidationError, model_validator

from schemas.base import Schema
from schemas.bases import Task

HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
"""A colon would break `ft:<base>:…` apart."""
_FORMS: Final = "It should be NAME=DIRECTORY-OR-HUB-ID,… or the path of a TOML file."


@dataclass(frozen=True)
class Offer:
    """One base to offer: where it comes from, before anybody looked."""

    name: str
    directory: Path | None = None
    hub_id: str | None = None
    """Where `directory` is None."""
    context_length: int | None = None
    """The operator's bound for this base, in tokens."""
    task: Task = "generate"
    shutdown_date: date | None = None
    """As `/v1/models` will tell it."""


@dataclass
class Offers:
    """All that the configuration says; what it says wrongly is in `problems`, and does not stop the rest."""

    models: dict[str, Offer] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class _ModelTable(Schema):
    """`[models.NAME]` in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | None = None
    hub: str | None = None
    context_length: PositiveInt | None = None
    task: Task = "generate"
    shutdown_date: date | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give either path or hub")
        if self.hub is not None and not HUB_ID.fullmatch(self.hub):
            raise ValueError(f"hub must be ORG/NAME, not {self.hub!r}")
        return self


def parse_offers(text: str, *, known: frozenset[str]) -> Offers:
    """Read `RETUNE_BASE_MODELS`.

    Args:
        text: Comma-separated entries, or the path of a TOML file; empty for none.
        known: Names that are offered without being configured; an alias may point at them.
    """
    text = text.strip()
    if not text:
        return Offers()
    if text.endswith(".toml") or "=" not in text:
        return _from_file(_expanded(text))
    return _from_entries(text, known)


def parse_engine_urls(text: str) -> tuple[dict[str, str], list[str]]:
    """Read `RETUNE_ENGINE_URLS`: the address for each name, without a closing slash, and what is wrong."""
    urls: dict[str, str] = {}
    problems: list[str] = []
    for entry in filter(None, map(str.strip, text.split(","))):
        name, _, url = (part.strip() for part in entry.partition("="))
        if name and url.startswith(("http://", "https://", "unix:///")):
            urls[name] = url.rstrip("/")
        else:
            problems.append(
                f"RETUNE_ENGINE_URLS: {entry!r} is not NAME=URL with an http://, https:// or unix:/// address."
            )
    return urls, problems


def _from_entries(text: str, known: frozenset[str]) -> Offers:
    offers = Offers()
    pairs = [entry.partition("=") for entry in filter(None, map(str.strip, text.split(",")))]
    names = known | {name.strip() for name, _, _ in pairs}
    for name, _, source in pairs:
        _add_entry(offers, name.strip(), source.strip(), names=names)
    return offers


def _add_entry(offers: Offers, name: str, source: str, *, names: frozenset[str]) -> None:
    if not _is_name(name, offers) or not _is_new(name, offers):
        return
    path = _expanded(source)
    if source in names - {name}:
        offers.aliases[name] = source
    elif source.startswith((".", "/", "~")) or (source and path.is_dir()):
        offers.models[name] = Offer(name, directory=path.absolute())
    elif HUB_ID.fullmatch(source):
        offers.models[name] = Offer(name, hub_id=source)
    else:
        offers.problems.append(
            f"RETUNE_BASE_MODELS: {name}={source}: this is no directory, no hub id (ORG/NAME), and not the name of an offered base."
        )


def _from_file(path: Path) -> Offers:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as exc:
        return Offers(
            problems=[f"RETUNE_BASE_MODELS: {path} cannot be read: {exc.strerror}. {_FORMS}"]
        )
    except ValueError as exc:  # not UTF-8, or not TOML
        return Offers(problems=[f"{path} is not TOML: {exc}."])
    offers = Offers()
    for key in document.keys() - {"models", "aliases"}:
        offers.problems.append(
            f"{path}: [{key}] is not known; there are [models.NAME] and [aliases]."
        )
    for name, table in _table(document, "models", path, offers).items():
        _add_table(offers, name, table, file=path)
    for name, target in _table(document, "aliases", path, offers).items():
        if _is_name(name, offers) and _is_new(name, offers):
            offers.aliases[name] = str(target)
    return offers


def _table(
    document: Mapping[str, object], key: str, path: Path, offers: Offers
) -> dict[str, object]:
    table = document.get(key, {})
    if isinstance(table, dict):
        return table
    offers.problems.append(f"{path}: {key} must be a table.")
    return {}


def _add_table(offers: Offers, name: str, table: object, *, file: Path) -> None:
    if not _is_name(name, offers):
        return
    try:
        given = _ModelTable.model_validate(table)
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            place = ".".join(["models", name, *map(str, error["loc"])])
            offers.problems.append(f"{file}: {place}: {error['msg']}.")
        return
    directory = None if given.path is None else (file.parent / _expanded(given.path)).absolute()
    offers.models[name] = Offer(
        name, directory, given.hub, given.context_length, given.task, given.shutdown_date
    )


def _is_name(name: str, offers: Offers) -> bool:
    if _NAME.fullmatch(name):
        return True
    offers.problems.append(
        f"A base cannot be called {name!r}: letters, digits and . _ / - only, at most 128, and a letter or digit first."
    )
    return False


def _is_new(name: str, offers: Offers) -> bool:
    if name not in offers.models and name not in offers.aliases:
        return True
    offers.problems.append(f"{name} is configured twice; the first one counts.")
    return False


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # nobody's home: it will be told as a directory that is not there
        return Path(path)
