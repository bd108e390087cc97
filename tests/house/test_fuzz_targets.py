"""The fuzzer's targets, as far as a minute allows: what they begin with, what is like it, and what is made to be slow."""

from importlib import import_module
from inspect import getmembers, isfunction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.target import CORPORA, Property, check

TARGETS = sorted(path.stem for path in CORPORA.parent.glob("fuzz_*.py"))
SEEDS = [path for path in sorted(CORPORA.glob("*/*")) if path.is_file()]
PIECES = [
    *b' \\"{[(.%&=:;|\r\n-0a',
    b"{{",
    b"\r\n--b",
    b"%00",
    b"1.",
    b"metadata[",
    b"'loc': '', 'msg': '",
]
"""Of each many, one after the other: what a regular expression or a splitter may take quadratic time for."""


def property_of(target: str) -> Property:
    """The function that a target hands to the fuzzer: named in its last line."""
    module = import_module(f"tests.fuzz.{target}")
    name = Path(str(module.__file__)).read_text().rpartition("fuzz(")[2].strip(" )\n")
    return dict(getmembers(module, isfunction))[name]


PROPERTIES = {target.removeprefix("fuzz_"): property_of(target) for target in TARGETS}


def test_each_target_has_seeds() -> None:
    """And each corpus its target."""
    assert {seed.parent.name for seed in SEEDS} == set(PROPERTIES)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"{seed.parent.name}/{seed.name}")
def test_seeds_hold(seed: Path) -> None:
    """What the fuzzer begins with holds."""
    check(PROPERTIES[seed.parent.name], seed.read_bytes())


@pytest.mark.parametrize("target", PROPERTIES)
@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_like_a_seed_holds(target: str, data: st.DataObject) -> None:
    """So does a seed of which a stretch was replaced."""
    seeds = [seed.read_bytes() for seed in SEEDS if seed.parent.name == target]
    seed = data.draw(st.sampled_from(seeds))
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(seed))] * 2)))
    instead = data.draw(st.binary(max_size=8) | st.text(max_size=8).map(str.encode))
    check(PROPERTIES[target], seed[:begin] + instead + seed[end:])


@pytest.mark.parametrize("target", PROPERTIES)
@pytest.mark.timeout(60)
def test_long_input_takes_linear_time(target: str) -> None:
    """A hundred thousand of anything is read or refused at once."""
    for piece in PIECES:
        long = (piece if isinstance(piece, bytes) else bytes([piece])) * 100_000
        check(PROPERTIES[target], long)
