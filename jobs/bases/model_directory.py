"""What a directory must hold so that we can train on it, render with it and serve it; and what is in it."""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.bases import Task

CONFIG: Final = "config.json"
TOKENIZER: Final = "tokenizer.json"
TOKENIZER_CONFIG: Final = "tokenizer_config.json"
CHAT_TEMPLATE: Final = "chat_template.jinja"
WEIGHTS: Final = "model.safetensors"
WEIGHTS_INDEX: Final = "model.safetensors.index.json"

_MAX_HEADER_BYTES: Final = 100_000_000
"""The safetensors format's own bound."""


class UnusableBase(Exception):
    """The directory cannot be offered; `problems` say what is missing and what to do, a sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class ModelDirectory:
    """A directory that has passed: the facts that its files tell."""

    path: Path
    model_type: str
    hidden_size: int
    max_context: int | None
    """Tokens; None where the configuration does not say."""
    n_parameters: int
    files: tuple[Path, ...]
    """All that the model, its tokenizer and its template are read from."""


class _Config(BaseModel):
    """What we read of config.json; models that also see keep the language part in `text_config`."""

    model_config = ConfigDict(frozen=True)

    model_type: str
    hidden_size: int = Field(gt=0)
    max_position_embeddings: int | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _unnest(cls, config: object) -> object:
        if isinstance(config, dict) and isinstance(text := config.get("text_config"), dict):
            return text | {"model_type": config.get("model_type")}
        return config


class _WeightsIndex(BaseModel):
    weight_map: dict[str, str]


class _TokenizerConfig(BaseModel):
    """Older models keep the template here, some of them several by name."""

    chat_template: str | list[dict[str, str]] | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls.model_validate_json(path.read_bytes()) if path.is_file() else cls()


class _Tensor(BaseModel):
    shape: list[int]


def inspect_directory(path: Path, *, task: Task = "generate") -> ModelDirectory:
    """Check everything that a base needs, reading no weight; what only embeds needs no chat template.

    Raises:
        UnusableBase: Something is missing or unreadable; it tells all that was found, not only the first.
    """
    if not path.is_dir():
        raise UnusableBase([f"There is no directory {path}."])
    problems = _tokenizer_problems(path)
    if task == "generate":
        problems += _template_problems(path)
    try:
        config = _read_config(path)
    except UnusableBase as exc:
        config, problems = None, problems + exc.problems
    try:
        weights = weight_files(path)
        n_parameters = sum(map(count_parameters, weights))
    except UnusableBase as exc:
        problems += exc.problems
    if config is None or problems:
        raise UnusableBase(problems)
    others = (CONFIG, TOKENIZER, TOKENIZER_CONFIG, CHAT_TEMPLATE, WEIGHTS_INDEX)
    return ModelDirectory(
        path=path,
        model_type=config.model_type,
        hidden_size=config.hidden_size,
        max_context=config.max_position_embeddings,
        n_parameters=n_parameters,
        files=(*(path / name for name in others if (path / name).is_file()), *weights),
    )


def weight_files(path: Path) -> list[Path]:
    """Return the safetensors files of the model, in order of their names.

    Raises:
        UnusableBase: There are none, or the index names some that are not there.
    """
    index = path / WEIGHTS_INDEX
    if (path / WEIGHTS).is_file():
        return [path / WEIGHTS]
    if not index.is_file():
        raise UnusableBase([_no_weights(path)])
    try:
        names = set(_WeightsIndex.model_validate_json(index.read_bytes()).weight_map.values())
    except (OSError, ValidationError) as exc:
        raise UnusableBase([f"{index} cannot be read; download the model again."]) from exc
    if missing := sorted(name for name in names if not (path / name).is_file()):
        raise UnusableBase(
            [
                f"{path} lacks weights that its index names: {', '.join(missing)}. Finish the download."
            ]
        )
    return [path / name for name in sorted(names)]


def count_parameters(path: Path) -> int:
    """Return how many numbers a safetensors file holds, from its header alone.

    Raises:
        UnusableBase: It is not a safetensors file, or an incomplete one.
    """
    unreadable = UnusableBase(
        [f"{path} is not a whole safetensors file; download or save it again."]
    )
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _MAX_HEADER_BYTES:
                raise unreadable
            header = json.loads(file.read(length))
    except (OSError, struct.error, ValueError) as exc:
        raise unreadable from exc
    if not isinstance(header, Mapping):
        raise unreadable
    try:
        tensors = [
            _Tensor.model_validate(value)
            for name, value in header.items()
            if name != "__metadata__"
        ]
    except ValidationError as exc:
        raise unreadable from exc
    return sum(math.prod(tensor.shape) for tensor in tensors)


def _read_config(path: Path) -> _Config:
    file = path / CONFIG
    if not file.is_file():
        raise UnusableBase([f"{path} has no {CONFIG}: it must be a transformers model directory."])
    try:
        return _Config.model_validate_json(file.read_bytes())
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        place = ".".join(map(str, error["loc"]))
        raise UnusableBase(
            [f"{file} cannot be used: {place + ': ' if place else ''}{error['msg']}."]
        ) from exc


def _tokenizer_problems(path: Path) -> list[str]:
    if (path / TOKENIZER).is_file():
        return []
    return [
        (
            f"{path} has no {TOKENIZER}: save the model's fast tokenizer there "
            f"(AutoTokenizer.from_pretrained({str(path)!r}).save_pretrained({str(path)!r}))."
        )
    ]


def _template_problems(path: Path) -> list[str]:
    if (path / CHAT_TEMPLATE).is_file():
        return []
    try:
        if _TokenizerConfig.read(path / TOKENIZER_CONFIG).chat_template:
            return []
    except ValidationError:
        return [f"{path / TOKENIZER_CONFIG} cannot be read; save the tokenizer again."]
    return [
        (
            f"{path} has no chat template, so this base cannot chat: take the model's instruction-tuned version, "
            f"or put the template it was trained with into {path / CHAT_TEMPLATE}."
        )
    ]


def _no_weights(path: Path) -> str:
    if any(path.glob("*.bin")) or any(path.glob("*.pt")):
        return f"{path} has only pickled weights, which are not loaded: save the model as safetensors (save_pretrained)."
    if any(path.glob("*.gguf")):
        return f"{path} has only GGUF weights: take the model's safetensors version."
    return f"{path} has no {WEIGHTS}: copy or download the model's weights there."
