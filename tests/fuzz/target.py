"""How a property is fuzzed: coverage-guided, by atheris, from the seeds of its corpus."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

CORPORA = Path(__file__).parent / "corpus"


def fuzz(keeps_its_word: Callable[[str], None]) -> None:
    """Fuzz until told to stop; takes libFuzzer's own arguments, and files to repeat instead."""
    seeds = CORPORA / Path(sys.argv[0]).stem.removeprefix("fuzz_")
    repeats = any(not argument.startswith("-") for argument in sys.argv[1:])
    atheris.instrument_all()
    with tempfile.TemporaryDirectory() as found:  # libFuzzer writes into the first directory
        directories = [] if repeats else [found, str(seeds)]
        atheris.Setup(
            [*sys.argv, *directories], lambda raw: keeps_its_word(raw.decode(errors="replace"))
        )
        atheris.Fuzz()
