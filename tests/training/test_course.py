"""Which model is the best, when to stop, and when a loss looks as if it ran away."""

import math

import pytest

from jobs.training.course import LOOK_EVERY, Course
from schemas.fine_tuning import EarlyStopping


def course(*losses: float | None, **more: float | tuple[float, ...]) -> Course:
    """Return a course with a measurement each tenth step."""
    found = Course(**more)
    for place, loss in enumerate(losses, start=1):
        found = found.measured(10 * place, loss)
    return found


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        ((2.0,), 10),
        ((2.0, 1.0, 1.5), 20),
        ((2.0, 1.0, 1.0), 20),
        ((None, 3.0, None), 20),
        ((None, None), 10),
    ],
)
def test_the_lowest_loss_is_the_best(losses, step):
    """The earliest of equals; one that is no number never beats one that is."""
    assert course(*losses).best.step == step


def test_nothing_measured_is_no_best():
    """Without a validation file the last model wins."""
    assert course().best is None


@pytest.mark.parametrize(
    ("losses", "min_gain", "n_without"),
    [
        ((), 0.0, 0),
        ((2.0, 1.9, 1.8), 0.0, 0),
        ((2.0, 2.0, 2.0), 0.0, 2),
        ((2.0, 1.9, 2.5, 1.95), 0.0, 2),
        ((2.0, 1.9, 1.8), 0.15, 0),  # both together gain enough
        ((2.0, 1.9, 1.8), 0.25, 2),
        ((2.0, None, 1.0), 0.0, 0),
        ((None, None), 0.0, 2),
    ],
)
def test_gains_are_counted_from_the_last_gain(losses, min_gain, n_without):
    """Small steps that add up are a gain; what falls by less than asked is none."""
    assert course(*losses).n_without_gain(min_gain) == n_without


def test_patience():
    """It stops when that many measurements in a row brought nothing, and never unasked."""
    asked = EarlyStopping(patience=2, min_gain=0.0)
    assert not course(1.0, 1.1).is_exhausted(asked)
    assert course(1.0, 1.1, 1.2).is_exhausted(asked)
    assert not course(1.0, 1.1, 0.9).is_exhausted(asked)
    assert not course(1.0, 1.1, 1.2).is_exhausted(None)


@pytest.mark.parametrize(
    ("losses", "is_bad"),
    [
        ((2.0,) * LOOK_EVERY, False),
        ((2.4,) * LOOK_EVERY, False),
        ((2.6,) * LOOK_EVERY, True),
        ((0.1,) * 10 + (50.0,) * 10, False),
        ((0.1,) * 10 + (50.0,) * 11, True),
        ((0.1,) * 31 + (1e6,), False),
        ((), False),
    ],
)
def test_half_of_the_steps_must_look_bad(losses, is_bad):
    """A few hard examples do not, however hard."""
    assert course(start_loss=2.0, recent_losses=losses).looks_bad is is_bad


@pytest.mark.parametrize(("loss", "is_bad"), [(7.62, True), (7.7, False), (7.5, False)])
def test_a_model_that_only_guesses_looks_bad(loss, is_bad):
    """Also where the untrained one was worse; a loss that is merely high is none of a guess."""
    found = course(start_loss=8.9, guessing_loss=math.log(2048), recent_losses=(loss,) * 32)
    assert found.looks_bad is is_bad


def test_a_model_that_guessed_from_the_start_is_not_ruined():
    """A base of random numbers that has hardly learned yet is no worse than it was."""
    guess = math.log(2048)
    found = course(start_loss=guess + 0.01, guessing_loss=guess, recent_losses=(guess,) * 32)
    assert not found.looks_bad
    assert found.is_ruined(guess + 0.6)


def test_without_a_start_nothing_looks_bad():
    """There is nothing to hold it against."""
    assert not course(recent_losses=(1e9,) * LOOK_EVERY).looks_bad


def test_looks_are_counted_in_a_row():
    """A good one in between begins anew; each forgets the steps before it."""
    found = course(start_loss=2.0).after_step(9.0).looked(is_worse=True).looked(is_worse=True)
    assert found.n_bad_looks == 2
    assert found.looked(is_worse=False).n_bad_looks == 0
    assert found.recent_losses == ()


def test_what_the_last_look_found_stays_until_the_next_step():
    """A run that ends right after a bad look ends badly: no step has shown that it recovered."""
    looked = course(start_loss=2.0).after_step(9.0).looked(is_worse=True)
    assert looked.looks_bad
    assert not looked.after_step(2.0).looks_bad
    assert not looked.looked(is_worse=False).looks_bad


def test_it_survives_a_resume_point():
    """Written as JSON and read again it is the same, to the last bit of each number."""
    found = course(math.pi, None, 1 / 3, start_loss=0.1, recent_losses=(0.2, 1e-30))
    assert Course.model_validate_json(found.model_dump_json()) == found
