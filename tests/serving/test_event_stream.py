"""Streams of events, cut and spoilt in every way."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.fuzz_event_stream import events_survive_any_cut
from tests.fuzz.fuzz_rewriting import only_clean_events_come_out

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"


@given(st.text(st.sampled_from("\n\n|:da\r ö")))
@example("a\n|\nb")
def test_events_survive_any_cut(text):
    """However the network cuts a stream, the same events come out, and nothing is lost."""
    events_survive_any_cut(text)


@given(st.text())
@example('{"created":1,"choices":[]}')
@example('{"created":1,"choices":[],"usage":null}')
def test_only_clean_events_come_out(text):
    """Whatever an engine sends becomes events that clients can read, or is refused."""
    only_clean_events_come_out(text)


@pytest.mark.parametrize("name", ["chat", "usage", "text", "done", "error"])
def test_seeds_of_rewriting_hold(name):
    """What the fuzzer begins with holds."""
    only_clean_events_come_out((CORPUS / "rewriting" / name).read_text())
