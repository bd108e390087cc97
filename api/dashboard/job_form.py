"""The form of a job: its fields, what somebody typed into them, and the request that they mean."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final, NamedTuple, Self

from pydantic import JsonValue

from schemas.errors import ApiError, InvalidRequest
from schemas.fine_tuning import EarlyStopping, Job, WandbIntegration
from schemas.fine_tuning_requests import (
    EarlyStoppingRequest,
    HyperparametersRequest,
    JobCreate,
    NumbersRequest,
    WandbRequest,
)
from schemas.validation import validated

NUMBERS: Final = tuple(NumbersRequest.model_fields)
"""OpenAI's own hyperparameters."""
_WITH_A_PLACE_OF_THEIR_OWN: Final = {"early_stopping", "validation_split"}
ADVANCED: Final = tuple(
    name
    for name in HyperparametersRequest.model_fields
    if name not in {*NUMBERS, *_WITH_A_PLACE_OF_THEIR_OWN}
)
"""Ours."""
STOPPING: Final = ("patience", "min_gain")
WANDB: Final = tuple(f"wandb_{name}" for name in WandbRequest.model_fields)
"""Of the one run of Weights & Biases that the form can ask for."""
UPLOADS: Final = {"training_file": "training_upload", "validation_file": "validation_upload"}
"""Which field takes a new file for which."""
FIELDS: Final = frozenset(
    {
        *HyperparametersRequest.model_fields, *STOPPING, *WANDB, *UPLOADS, *UPLOADS.values(),
        "attempt", "metadata", "method", "model", "seed", "suffix", "validation",
    }
)  # fmt: skip
_AUTO: Final = "auto"
_PLACES: Final = ("method.supervised.hyperparameters.", "hyperparameters.")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]{1,18}\.?[0-9]{0,18}|\.[0-9]{1,18})(e[+-]?[0-9]{1,2})?")
_WANDB_PARAM: Final = re.compile(r"integrations(?:\[0\]\.wandb\.(?P<name>\w+))?.*")
_MISSING: Final = "-"
"""Stands for what is required and was not given, once that was told."""


class Bounds(NamedTuple):
    """What a field takes."""

    low: str
    """Of a number, such as `1` or, where that itself is too low, `> 0`; else empty."""
    high: str
    """Of a number, such as `50` or `< 1`; else, and where nothing is too high, empty."""
    choices: tuple[str, ...]
    is_open: bool
    """Whether other texts than the choices are taken too."""
    default: str
    """What an empty field stands for; empty where that depends."""


@dataclass(frozen=True)
class Draft:
    """What was typed, and what it comes to."""

    values: Mapping[str, str]
    request: JobCreate | None
    """None where something is wrong with it."""
    problems: Mapping[str, ApiError]
    """By field; "" where it is no field's."""

    @classmethod
    def new(cls, values: Mapping[str, str]) -> Self:
        """Return a form that nobody has sent yet: nothing is wrong with it."""
        return cls(values, None, {})

    def refused(self, exc: ApiError, *, field: str | None = None) -> Self:
        """Return the same form, with what the server says against it: where its words say, or at a field."""
        field = field_of(exc.param) if field is None else field
        return replace(self, problems={**self.problems, field: exc})

    def value(self, name: str) -> str:
        """Return what a field holds."""
        return self.values.get(name, "")

    def has_any(self, names: Sequence[str]) -> bool:
        """Whether one of these fields was filled in, or something is wrong with it."""
        return any(self.value(each) not in {"", _AUTO} or each in self.problems for each in names)


def read(values: Mapping[str, str]) -> Draft:
    """Return what was typed as a request, or with all that is wrong with it, each at its field."""
    problems: dict[str, ApiError] = {}
    body = _body(values, problems)
    while True:
        try:
            request = validated(JobCreate, body)
            break
        except InvalidRequest as exc:
            field = field_of(exc.param)
            if field in problems or not field:
                return Draft(values, None, {**problems, field: exc})
            problems[field] = exc
            body = _without(body, field)
    _tell_of_files_left_behind(values, problems)
    return Draft(values, None if problems else request, problems)


def values_of(job: Job) -> dict[str, str]:
    """Return how the form was filled in for a job, as far as the job tells."""
    asked = job.method.supervised.hyperparameters.model_dump(exclude={"early_stopping"})
    wishes = {name: _text(wish) for name, wish in asked.items() if wish is not None}
    stopping = job.hyperparameters.early_stopping
    has_split = "validation_split" in wishes
    return {
        **wishes,
        **(_stopping_values(stopping) if stopping else {}),
        **(_wandb_values(job.integrations[0].wandb) if job.integrations else {}),
        "model": job.model,
        "training_file": job.training_file,
        "validation": "split" if has_split else "file" if job.validation_file else "none",
        "validation_file": job.validation_file or "",
        "suffix": job.user_provided_suffix or "",
        "seed": str(job.seed),
        "metadata": "\n".join(f"{key}={text}" for key, text in (job.metadata or {}).items()),
    }


def field_of(param: str | None) -> str:
    """Return the field that an error's `param` speaks of; "" for none of them."""
    name = param or ""
    if integration := _WANDB_PARAM.fullmatch(name):
        return f"wandb_{integration['name'] or 'project'}"
    for place in _PLACES:
        name = name.removeprefix(place)
    first, _, rest = name.partition(".")
    if first == "early_stopping" and rest in STOPPING:
        first = rest
    first = first.partition("[")[0]
    return first if first in FIELDS else ""


def bounds(*, max_rank: int) -> dict[str, Bounds]:
    """Return what each field for a hyperparameter takes.

    Args:
        max_rank: What the engines are started for.
    """
    found = dict(_bounds())
    found["lora_rank"] = found["lora_rank"]._replace(high=str(max_rank))
    return found


@cache
def limits() -> Mapping[str, int]:
    """Return how much the suffix, the metadata and the tags may hold: characters, pairs, tags."""
    fields = JobCreate.model_json_schema()["properties"]
    run = WandbRequest.model_json_schema()["properties"]
    return {
        "suffix": fields["suffix"]["anyOf"][0]["maxLength"],
        "metadata": fields["metadata"]["anyOf"][0]["maxProperties"],
        "wandb_tags": run["tags"]["anyOf"][0]["maxItems"],
    }


@cache
def _bounds() -> Mapping[str, Bounds]:
    wishes = HyperparametersRequest.model_json_schema()["properties"]
    stopping = EarlyStoppingRequest.model_json_schema()["properties"]
    seed = JobCreate.model_json_schema()["properties"]["seed"]
    members = {name: wish["anyOf"] for name, wish in {**wishes, "seed": seed}.items()}
    members |= {name: [stopping[name]] for name in STOPPING}
    return {name: _bounds_of(each) for name, each in members.items()}


def _bounds_of(members: list[dict[str, Any]]) -> Bounds:
    """Return what a JSON Schema's alternatives take, besides `"auto"` and null."""
    number = next((each for each in members if each.get("type") in {"integer", "number"}), {})
    choices: list[str] = []
    for each in members:
        if each.get("type") == "boolean":
            choices += ["true", "false"]
        choices += each.get("enum", [])
    return Bounds(
        low=_bound(number, "minimum", "exclusiveMinimum", sign=">"),
        high=_bound(number, "maximum", "exclusiveMaximum", sign="<"),
        choices=tuple(choices),
        is_open=any(each.get("type") == "array" for each in members),
        default=str(number.get("default", "")),
    )


def _bound(number: Mapping[str, Any], inclusive: str, exclusive: str, *, sign: str) -> str:
    if inclusive in number:
        return str(number[inclusive])
    return f"{sign} {number[exclusive]}" if exclusive in number else ""


def _body(values: Mapping[str, str], problems: dict[str, ApiError]) -> dict[str, JsonValue]:
    """Return the body that the form means; what was left empty, or `auto`, is not in it."""
    typed = {name: value.strip() for name, value in values.items()}
    body: dict[str, JsonValue] = {
        name: typed[name] for name in ("model", "training_file", "suffix") if typed.get(name)
    }
    if typed.get("validation") == "file":
        body["validation_file"] = typed.get("validation_file", "")
    if typed.get("seed"):
        body["seed"] = _number(typed["seed"])
    if metadata := _metadata(typed.get("metadata", ""), problems):
        body["metadata"] = metadata
    if run := _wandb(typed):
        body["integrations"] = [{"type": "wandb", "wandb": run}]
    if wishes := _wishes(typed):
        supervised: JsonValue = {"hyperparameters": wishes}
        body["method"] = {"type": "supervised", "supervised": supervised}
    if (kind := typed.get("method", "supervised")) != "supervised":
        body["method"] = {"type": kind}
    return body


def _wishes(typed: Mapping[str, str]) -> dict[str, JsonValue]:
    wishes: dict[str, JsonValue] = {
        name: _wish(name, typed[name])
        for name in (*NUMBERS, *ADVANCED)
        if typed.get(name, _AUTO) not in {"", _AUTO}
    }
    if typed.get("validation") == "split":
        wishes["validation_split"] = _number(typed.get("validation_split", ""))
    if typed.get("early_stopping"):
        wishes["early_stopping"] = {
            name: _number(typed[name]) for name in STOPPING if typed.get(name)
        }
    return wishes


def _wandb(typed: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return the run that a job shall report to; empty where none was asked for."""
    run: dict[str, JsonValue] = {
        field.removeprefix("wandb_"): typed[field] for field in WANDB if typed.get(field)
    }
    if typed.get("wandb_tags"):
        run["tags"] = [*_lines(typed["wandb_tags"])]
    return run


def _wish(name: str, text: str) -> JsonValue:
    takes = _bounds()[name]
    if takes.choices == ("true", "false"):
        return {"true": True, "false": False}.get(text, text)
    if takes.is_open and text not in takes.choices:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text if takes.choices else _number(text)


def _number(text: str) -> JsonValue:
    """Return a number, or the text for the schema to say what is wrong with it."""
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text.lower()) else text


def _metadata(text: str, problems: dict[str, ApiError]) -> dict[str, JsonValue]:
    pairs: dict[str, JsonValue] = {}
    for line in _lines(text):
        key, sign, value = line.partition("=")
        if not sign or not key.strip():
            problems["metadata"] = InvalidRequest(
                f"Write each line as name=value; this one is not: {line[:100]}",
                param="metadata",
                code="metadata_not_a_pair",
            )
            return {}
        pairs[key.strip()] = value.strip()
    return pairs


def _lines(text: str) -> list[str]:
    return list(filter(None, map(str.strip, text.splitlines())))


def _without(body: dict[str, JsonValue], field: str) -> dict[str, JsonValue]:
    """Return a body without what was wrong in it, so that the next thing that is wrong is found."""
    if field in {"model", "training_file"}:
        return {**body, field: _MISSING}
    if field in WANDB:
        return _without_of_wandb(body, field.removeprefix("wandb_"))
    if field in body:
        return {name: value for name, value in body.items() if name != field}
    asked = body.get("method")
    assert isinstance(asked, dict)
    assert isinstance(asked["supervised"], dict)
    wishes = asked["supervised"]["hyperparameters"]
    assert isinstance(wishes, dict)
    stopping = wishes.get("early_stopping")
    if field in STOPPING and isinstance(stopping, dict):
        kept: JsonValue = {name: value for name, value in stopping.items() if name != field}
        wishes = {**wishes, "early_stopping": kept}
    wishes = {name: value for name, value in wishes.items() if name != field}
    return {**body, "method": {**asked, "supervised": {"hyperparameters": wishes}}}


def _without_of_wandb(body: dict[str, JsonValue], name: str) -> dict[str, JsonValue]:
    integrations = body["integrations"]
    assert isinstance(integrations, list)
    assert isinstance(integrations[0], dict)
    run = integrations[0]["wandb"]
    assert isinstance(run, dict)
    kept = {"project": _MISSING, **{key: value for key, value in run.items() if key != name}}
    return {**body, "integrations": [{**integrations[0], "wandb": kept}]}


def _tell_of_files_left_behind(values: Mapping[str, str], problems: dict[str, ApiError]) -> None:
    """Say where somebody without scripts chose a file and did not press the button beside it."""
    for field, upload in UPLOADS.items():
        if field in problems and values.get(upload):
            problems[field] = InvalidRequest(
                "A file was chosen, but not uploaded.", param=field, code="file_not_uploaded"
            )


def _stopping_values(stopping: EarlyStopping) -> dict[str, str]:
    return {
        "early_stopping": "yes",
        "patience": str(stopping.patience),
        "min_gain": str(stopping.min_gain),
    }


def _wandb_values(run: WandbIntegration) -> dict[str, str]:
    return {
        "wandb_project": run.project,
        "wandb_name": run.name or "",
        "wandb_entity": run.entity or "",
        "wandb_tags": "\n".join(run.tags),
    }


def _text(wish: object) -> str:
    if isinstance(wish, bool):
        return str(wish).lower()
    if isinstance(wish, list):
        return ", ".join(map(str, wish))
    return str(wish)
