"""Whether the model that is served is the one that was trained: the last thing a job must show.

vLLM says 200 to adapters that it ignores, scales wrongly or mixes up, so the engine is asked how likely it
holds the tokens of a few examples, with and without the adapter, and its answers are held against the
trainer's (`docs/decisions/0003-the-proof-and-its-tolerance.md` and `0011-the-proof-measured-on-200-jobs.md` have
the numbers behind the limits here).

Likelihoods are compared as log-odds, log(p / (1 - p)), in nats. Rounding moves log-odds by the same amount
everywhere, while it hardly moves the log-probability of a token that the adapter is sure of: there an adapter
of twice the strength would go unseen.
"""

import asyncio
import math
from collections.abc import Iterable, Sequence
from typing import Final

from schemas.base import Schema
from schemas.errors import InvalidRequest, JobFailure
from schemas.proof import Proof
from serving.vllm import Vllm

MAX_BASE_DIFFERENCE: Final = 0.6
"""Between engine and trainer on the base alone; 0.17 was the most that was seen of honest ones."""
_ROUNDING: Final = 0.05
"""What bfloat16 does to log-odds at least, in nats; a few tokens can show less by luck."""
_ROUNDINGS_ALLOWED: Final = 4
_SHARE_ALLOWED: Final = 0.02
"""Of the adapter's effect: its own matrices are rounded too."""
_STRENGTH_ALLOWED: Final = 0.02
"""By how much the engine's effect may be stronger or weaker than the trainer's, rounding apart."""
_STRENGTH_ERRORS_ALLOWED: Final = 10
"""Standard errors; tokens of one conversation are rounded alike, so they count for less than they are."""
_SURE: Final = 1e-4
"""A loss below this, in nats, is float32's own rounding."""


class Baseline(Schema):
    """How likely the engine's base held the judged tokens before the adapter was loaded."""

    logprobs: list[list[float]]
    """For each example, one for each of its positions that fit the engine's context."""


class Answers(Schema):
    """What the engine said once the adapter was loaded, in the baseline's shape."""

    tuned: list[list[float]]
    base_after: list[list[float]]


class ProofReport(Schema):
    """What was measured. All but the counts are root mean squares of log-odds, in nats."""

    n_tokens: int
    base_difference: float
    """Engine against trainer, without the adapter: rounding, if all is well."""
    base_moved: float
    """The engine's base against itself, before and after the adapter was loaded."""
    trainer_effect: float
    """What the adapter changes, as the trainer saw it."""
    engine_effect: float
    """The same, as it is served."""
    difference: float
    """Between the two effects, token by token."""
    rounding: float
    """What `base_moved` may be at most: several times what rounding does to this base."""
    tolerance: float
    """What `difference` may be at most: `rounding` and a small share of the effect."""
    strength: float | None
    """The engine's effect for each nat of the trainer's: 1, if all is well. None where the trainer's is rounding."""
    strength_tolerance: float
    """By how much `strength` may differ from 1."""
    warnings: list[str]
    """For the user, where the proof is weaker than usual."""


async def measure_base(vllm: Vllm, proof: Proof, *, base: str) -> Baseline:
    """Ask the base, before the adapter is loaded.

    Args:
        vllm: The engine.
        proof: What the trainer knows.
        base: The base's name inside the engine.

    Raises:
        ModelServerUnavailable: The engine is not there.
    """
    return Baseline(logprobs=await measure(vllm, proof, model=base))


async def prove(
    vllm: Vllm, proof: Proof, *, base: str, adapter: str, baseline: Baseline
) -> ProofReport:
    """Show that a loaded adapter acts as the trainer left it, and that the base still is itself.

    Args:
        vllm: The engine that has it.
        proof: What the trainer knows.
        base: The base's name inside the engine.
        adapter: The adapter's.
        baseline: `measure_base` from before it was loaded.

    Raises:
        JobFailure: It does not; code `adapter_not_proven`, with the numbers.
        ModelServerUnavailable: The engine is not there.
    """
    answers = await ask(vllm, proof, base=base, adapter=adapter)
    return judge(proof, baseline=baseline, tuned=answers.tuned, base_after=answers.base_after)


async def ask(vllm: Vllm, proof: Proof, *, base: str, adapter: str) -> Answers:
    """Ask the base and a loaded adapter at once.

    Args:
        vllm: The engine that has it.
        proof: Its questions; answers are not looked at.
        base: The base's name inside the engine.
        adapter: The adapter's.

    Raises:
        JobFailure: There are no answers; code `adapter_not_proven`.
        ModelServerUnavailable: The engine is not there.
    """
    try:
        # At once, so that both meet in the same steps: that is where an engine mixes them up.
        tuned, base_after = await asyncio.gather(
            measure(vllm, proof, model=adapter),
            measure(vllm, proof, model=base),
        )
    except InvalidRequest as exc:
        raise _not_proven(f"the engine computes no likelihoods with it ({exc.message})") from exc
    return Answers(tuned=tuned, base_after=base_after)


def judge(
    proof: Proof,
    *,
    baseline: Baseline,
    tuned: Sequence[Sequence[float]],
    base_after: Sequence[Sequence[float]],
) -> ProofReport:
    """Decide from what was measured. Pure; takes what `compare` takes.

    Raises:
        JobFailure: Served and trained are not the same; code `adapter_not_proven`.
    """
    report = compare(proof, baseline=baseline, tuned=tuned, base_after=base_after)
    if fault := fault_of(report):
        raise _not_proven(fault)
    return report.model_copy(update={"warnings": _warnings(report)})


def compare(
    proof: Proof,
    *,
    baseline: Baseline,
    tuned: Sequence[Sequence[float]],
    base_after: Sequence[Sequence[float]],
) -> ProofReport:
    """Return how far served and trained are apart, and how far they may be. Pure.

    Args:
        proof: What the trainer knows.
        baseline: The engine's base before the adapter was loaded.
        tuned: The engine's log-probabilities with the adapter, in the baseline's shape.
        base_after: The engine's base once it is loaded, in the same shape.
    """
    engine_base = _log_odds(baseline.logprobs)
    engine_tuned = _log_odds(tuned)
    trainer_base, trainer_tuned = (
        # The engine's context may be shorter than the trainer's row.
        _log_odds(told[: len(asked)] for told, asked in zip(side, baseline.logprobs, strict=True))
        for side in (
            [example.base_logprobs for example in proof.examples],
            [example.tuned_logprobs for example in proof.examples],
        )
    )
    engine_effect = _minus(engine_tuned, engine_base)
    trainer_effect = _minus(trainer_tuned, trainer_base)
    effect = _rms(trainer_effect)
    base_difference = _rms(_minus(engine_base, trainer_base))
    one_rounding = max(_ROUNDING, base_difference)
    rounding = _ROUNDINGS_ALLOWED * one_rounding
    is_strong = effect > rounding
    error = one_rounding / (effect * math.sqrt(len(engine_base))) if is_strong else 0.0
    return ProofReport(
        n_tokens=len(engine_base),
        base_difference=base_difference,
        base_moved=_rms(_minus(_log_odds(base_after), engine_base)),
        trainer_effect=effect,
        engine_effect=_rms(engine_effect),
        difference=_rms(_minus(engine_effect, trainer_effect)),
        rounding=rounding,
        tolerance=rounding + _SHARE_ALLOWED * effect,
        strength=_slope(engine_effect, trainer_effect) if is_strong else None,
        strength_tolerance=_STRENGTH_ALLOWED + _STRENGTH_ERRORS_ALLOWED * error,
        warnings=[],
    )


def fault_of(report: ProofReport) -> str | None:
    """Return why served and trained are not the same, to be read after "because"; None where they are."""
    if report.n_tokens == 0:
        return "there is no example to prove it with"
    if report.base_difference > MAX_BASE_DIFFERENCE:
        return (
            "the engine's base is not the one that was trained on: they differ by "
            f"{report.base_difference:.2f} nats, and {MAX_BASE_DIFFERENCE} is rounding's most"
        )
    if report.base_moved > report.rounding:
        return (
            f"loading it changed the base's own answers by {report.base_moved:.2f} nats; nothing but "
            "requests for the tuned model may change"
        )
    is_as_strong = report.strength is None or (
        abs(report.strength - 1) <= report.strength_tolerance
    )
    if report.difference <= report.tolerance and is_as_strong:
        return None
    if report.engine_effect <= report.tolerance < report.trainer_effect:
        return (
            "the engine answers as if it were not there: in training it changed the likelihood of its own "
            f"examples by {report.trainer_effect:.2f} nats, served by {report.engine_effect:.2f}"
        )
    strength = "" if report.strength is None else f" at {report.strength:.2f} times the strength"
    return (
        f"served, it does not act as it did in training: they differ by {report.difference:.2f} nats{strength}, "
        f"and rounding's most is {report.tolerance:.2f} at {1 - report.strength_tolerance:.2f} to "
        f"{1 + report.strength_tolerance:.2f} times"
    )


def _warnings(report: ProofReport) -> list[str]:
    if report.trainer_effect > report.tolerance:
        return []
    too_weak = (
        "The tuned model could not be told from its base: training changed the likelihood of its own "
        f"examples by {report.trainer_effect:.3f} nats, which is within rounding. More epochs or a higher "
        "learning_rate_multiplier may help."
    )
    return [too_weak]


async def measure(vllm: Vllm, proof: Proof, *, model: str) -> list[list[float]]:
    """Return the engine's log-probabilities at each example's positions, as far as its context goes.

    Raises:
        InvalidRequest: The engine computes numbers that are not finite.
        ModelServerUnavailable: The engine is not there, or does not know `model`.
    """
    # vLLM needs room for the token that it insists on adding.
    room = await vllm.context_length() - 1
    asked = [
        example.token_ids[: min(room, example.positions[-1] + 1)] for example in proof.examples
    ]
    scored = await vllm.prompt_logprobs(model, asked)
    return [
        [
            logprob
            for position in example.positions
            if position < len(row) and (logprob := row[position]) is not None
        ]
        for example, row in zip(proof.examples, scored, strict=True)
    ]


def _log_odds(rows: Iterable[Sequence[float]]) -> list[float]:
    losses = (max(-logprob, _SURE) for row in rows for logprob in row)
    return [-loss - math.log(-math.expm1(-loss)) for loss in losses]


def _minus(left: Sequence[float], right: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(left, right, strict=True)]


def _slope(ys: Sequence[float], xs: Sequence[float]) -> float:
    """Return how much `ys` change with `xs`, of which both are rounded alike.

    Deming's regression through the origin with equal errors (W. E. Deming, Statistical Adjustment of Data,
    1943): the usual one takes `xs` as exact, and says less than the truth where they are not.
    """
    yy, xx = (sum(value * value for value in values) for values in (ys, xs))
    xy = sum(x * y for x, y in zip(xs, ys, strict=True))
    if not xy:
        return 0.0  # as an adapter that does nothing
    return (yy - xx + math.hypot(yy - xx, 2 * xy)) / (2 * xy)


def _rms(values: Sequence[float]) -> float:
    return math.sqrt(sum(value * value for value in values) / len(values)) if values else 0.0


def _not_proven(reason: str) -> JobFailure:
    return JobFailure(
        f"The tuned model is not published, because {reason}.", code="adapter_not_proven"
    )
