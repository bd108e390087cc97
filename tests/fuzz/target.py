"""How a property is fuzzed: coverage-guided, by atheris, from a corpus of its own."""

import sys
from collections.abc import Callable
from pathlib import Path

import atheris

CORPORA = Path(__file__).parent / "corpus"


def fuzz(keeps_its_word: Callable[[str], None]) -> None:
    """Fuzz until told to stop; what libFuzzer takes as arguments, this takes.

    The corpus is read from `corpus/<name of the target>`; what is found beyond it is kept nowhere.
    """
    corpus = CORPORA / Path(sys.argv[0]).stem.removeprefix("fuzz_")

    def one_input(raw: bytes) -> None:
        keeps_its_word(atheris.FuzzedDataProvider(raw).ConsumeUnicodeNoSurrogates(len(raw)))

    atheris.instrument_all()
    is_repeating = any(not argument.startswith("-") for argument in sys.argv[1:])
    atheris.Setup([*sys.argv, *([] if is_repeating else [str(corpus)])], one_input)
    atheris.Fuzz()
