"""When an engine should run."""

import pytest

from jobs.engine_keeper import is_wanted
from jobs.store.records import EngineRecord


@pytest.mark.parametrize(
    ("wanted_at", "idle_seconds", "expected"),
    [
        (0, 0, False),  # never asked for
        (1, 0, True),  # asked for once, and engines never stop
        (900, 200, True),  # asked for lately
        (700, 200, False),  # not any more
        (950, 1, True),  # a second is too short: an answer takes longer
        (930, 1, False),
    ],
)
def test_an_engine_runs_while_somebody_asks_for_it(wanted_at, idle_seconds, expected):
    """At 1,000 s, with what was asked when and how long an engine may rest."""
    record = EngineRecord(base="b", wanted_at=wanted_at, state="ready")
    assert is_wanted(record, idle_seconds=idle_seconds, now=1000) is expected
