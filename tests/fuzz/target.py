"""How a property is fuzzed: coverage-guided, by atheris, from the seeds of its corpus."""

import gc
import sys
import tempfile
from collections.abc import Callable, Coroutine
from inspect import isfunction, signature
from pathlib import Path
from typing import TypeVar

import atheris

CORPORA = Path(__file__).parent / "corpus"

WATCHED = {"api", "jobs", "schemas", "serving", "multipart", "yarl", "ipaddress", "json", "urllib"}
"""Whose functions lead the fuzzer on: ours, and the readers that they ask."""

Property = Callable[[str], None] | Callable[[bytes], None]
"""Raises where it does not hold of a text, or of bytes: its annotation says which."""

_T = TypeVar("_T")


def check(keeps_its_word: Property, raw: bytes) -> None:
    """Check one input, as bytes or as the text that they are."""
    (parameter,) = signature(keeps_its_word).parameters.values()
    keeps_its_word(raw if parameter.annotation is bytes else raw.decode(errors="replace"))


def run_now(coroutine: Coroutine[object, object, _T]) -> _T:
    """Return what a coroutine returns that never waits: a loop for each input would cost more than the parser."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited")


def instrument() -> None:
    """Let the fuzzer see which ways are taken through what reads; not through all that is imported: minutes."""
    for function in gc.get_objects():
        if isfunction(function) and (function.__module__ or "").partition(".")[0] in WATCHED:
            atheris.instrument_func(function)


def fuzz(keeps_its_word: Property) -> None:
    """Fuzz until told to stop; takes libFuzzer's own arguments, and files to repeat instead."""
    seeds = CORPORA / Path(sys.argv[0]).stem.removeprefix("fuzz_")
    repeats = any(not argument.startswith("-") for argument in sys.argv[1:])
    instrument()
    with tempfile.TemporaryDirectory() as found:  # libFuzzer writes into the first directory
        directories = [] if repeats else [found, str(seeds)]
        atheris.Setup([*sys.argv, *directories], lambda raw: check(keeps_its_word, raw))
        atheris.Fuzz()
