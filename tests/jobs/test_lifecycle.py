"""The rules of a job's statuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.lifecycle import NEXT, advance, is_terminal
from schemas.errors import InvalidRequest
from tests.samples import job

STATUSES = st.sampled_from(sorted(NEXT))


@given(st.lists(STATUSES, max_size=8))
def test_a_job_that_is_over_stays_over(path):
    """Whatever is tried in whatever order, nothing follows an end, and an end has its time."""
    state = job(status="validating_files")
    for wanted in path:
        before = state
        try:
            state = advance(state, wanted, now=7)
        except InvalidRequest:
            assert state is before
            continue
        assert not is_terminal(before.status)
        assert (state.finished_at == 7) == is_terminal(state.status)


@pytest.mark.parametrize("status", sorted(NEXT))
def test_every_status_that_is_no_end_can_be_cancelled(status):
    """A user can cancel whatever is not over."""
    assert is_terminal(status) or "cancelled" in NEXT[status]


def test_an_end_takes_back_the_estimate():
    """A job that is over has no estimated finish."""
    running = job(status="running", estimated_finish=99)
    assert advance(running, "succeeded", now=5).estimated_finish is None


def test_a_forbidden_step_is_told_in_words():
    """The refusal names both statuses."""
    with pytest.raises(InvalidRequest, match=r"'succeeded' cannot become 'running'"):
        advance(job(status="succeeded"), "running", now=5)
