"""Order, steps and rates."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import pytest

from jobs.training.plan import Plan
from schemas.fine_tuning import EarlyStopping
from schemas.training import OptimizerSpec, TrainingSpec

PATIENT = EarlyStopping(patience=3, min_gain=0.0)


def make_plan(**changes: float | OptimizerSpec) -> Plan:
    plan = Plan(
        n_examples=11,
        batch_size=4,
        n_epochs=3,
        seed=7,
        peak_learning_rate=1e-3,
        optimizer=OptimizerSpec(),
    )
    return replace(plan, **changes)


PLAN = make_plan()
LONG = {"n_examples": 100, "batch_size": 1, "n_epochs": 1, "peak_learning_rate": 1.0}


def test_every_example_once_an_epoch() -> None:
    """Each epoch shows each example once, in an order of its own."""
    batches = [examples for _, examples in PLAN.batches(after=0)]
    epochs = [[*chain(*batches[first : first + 3])] for first in (0, 3, 6)]

    assert [len(batch) for batch in batches] == [4, 4, 3] * 3
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("after", range(10))
def test_resumed_order_is_the_same(after: int) -> None:
    """A run that goes on after any step takes the very batches that were left."""
    assert list(PLAN.batches(after=after)) == list(PLAN.batches(after=0))[after:]


def test_seed_decides_the_order() -> None:
    """Another seed, another order; the same seed, the same."""
    other = make_plan(seed=8)

    assert list(PLAN.batches(after=0)) == list(PLAN.batches(after=0))
    assert list(PLAN.batches(after=0)) != list(other.batches(after=0))


def test_epochs_end_at_their_last_step() -> None:
    """The end of an epoch is known from the step alone."""
    assert [PLAN.epoch_ending_at(step) for step in range(10)] == [
        None, None, None, 1, None, None, 2, None, None, 3,
    ]  # fmt: skip


def test_milestones_are_evenly_spaced() -> None:
    """The last of an epoch is its end, also where its steps do not divide evenly."""
    plan = make_plan(n_examples=40, batch_size=4, n_epochs=2, measurements_an_epoch=3)

    found = [step for step in range(21) if plan.is_milestone(step)]

    assert found == [4, 7, 10, 14, 17, 20]
    assert [step for step in range(10) if PLAN.is_milestone(step)] == [3, 6, 9]


@pytest.mark.parametrize(
    ("changes", "n_validation", "n_measured"),
    [
        ({}, 0, 1),  # nothing to measure on
        ({}, 10, 2),
        ({"n_epochs": 1}, 10, 4),
        ({"n_epochs": 4}, 10, 1),
        ({"n_epochs": 1, "batch_size": 50}, 10, 1),  # too few steps
        ({"n_epochs": 1}, 300, 1),  # too dear
        ({"early_stopping": PATIENT}, 10, 4),
        ({"early_stopping": PATIENT, "n_epochs": 1}, 10, 10),
        ({"early_stopping": PATIENT, "n_epochs": 1}, 100, 4),
    ],
)
def test_few_and_long_epochs_are_measured_in_between(
    make_spec: Callable[..., TrainingSpec],
    changes: dict[str, int | EarlyStopping],
    n_validation: int,
    n_measured: int,
) -> None:
    """Four times a run, ten with early stopping; never more often than each 20 steps, nor dearly."""
    spec = make_spec(**changes)
    plan = Plan.of(spec, n_examples=800, n_validation=n_validation)
    assert plan.measurements_an_epoch == n_measured


def test_rate_rises_then_falls_to_zero() -> None:
    """5 % of the steps rise to the peak, the others fall linearly; none has a rate of zero."""
    plan = make_plan(**LONG)
    rates = [plan.learning_rate(step) for step in range(1, 101)]

    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] == pytest.approx(1 / 96)
    assert plan.learning_rate(101) == 0


def test_a_single_step_has_the_full_rate() -> None:
    """Even the shortest run learns."""
    plan = make_plan(n_examples=1, batch_size=8, n_epochs=1, peak_learning_rate=0.5)

    assert plan.learning_rate(1) == 0.5


def test_a_cosine_falls_slowly_at_its_ends() -> None:
    """Half-way it is where the straight line is; it too would be zero after the last step."""
    cosine = OptimizerSpec(lr_scheduler_type="cosine", warmup_ratio=0.01)
    plan = make_plan(**LONG, optimizer=cosine)
    rates = [plan.learning_rate(step) for step in range(1, 101)]

    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1.0
    assert rates[50] == pytest.approx(0.5)
    assert rates[10] > 0.97
    assert plan.learning_rate(101) == pytest.approx(0, abs=1e-12)


def test_a_constant_rate_stays_after_its_warm_up() -> None:
    """The warm-up rises as ever, here over a fifth of the steps."""
    constant = OptimizerSpec(lr_scheduler_type="constant", warmup_ratio=0.2)
    plan = make_plan(**LONG, optimizer=constant)

    assert plan.learning_rate(10) == pytest.approx(0.5)
    assert {plan.learning_rate(step) for step in range(20, 101)} == {1.0}


@pytest.mark.parametrize("scheduler", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("n_examples", [1, 2, 7, 100])
def test_every_step_learns(scheduler: str, ratio: float, n_examples: int) -> None:
    """Whatever is asked for, no step has a rate of zero or over the peak, and one has the peak."""
    asked = OptimizerSpec(lr_scheduler_type=scheduler, warmup_ratio=ratio)
    plan = make_plan(**(LONG | {"n_examples": n_examples}), optimizer=asked)
    rates = [plan.learning_rate(step) for step in range(1, plan.total_steps + 1)]

    assert min(rates) > 0
    assert max(rates) == 1.0
