"""The verdict on what an engine and a trainer measured; `test_real_engine.py` has real numbers."""

import math
import random

import pytest

from schemas.errors import JobFailure
from schemas.proof import Proof, ProofExample
from serving.proof import Baseline, ProofReport, judge

N_TOKENS = 60
ROUNDING = 0.03
"""What was measured on the tiny base in bfloat16."""


class Measured:
    """An engine and a trainer that agree up to rounding, until a test plants a fault.

    Args:
        effect: How far the adapter moves log-odds.
    """

    def __init__(self, effect: float, *, seed: int = 7) -> None:
        self.random = random.Random(seed)
        self.base = [self.random.uniform(-6, 2) for _ in range(N_TOKENS)]
        self.effects = [effect * self.random.gauss(1, 0.5) for _ in range(N_TOKENS)]
        tuned = [base + effect for base, effect in zip(self.base, self.effects, strict=True)]
        self.proof = Proof(
            base_digest="b",
            template_digest="t",
            from_validation=True,
            examples=[
                ProofExample(
                    token_ids=[0] * (N_TOKENS + 1),
                    positions=list(range(1, N_TOKENS + 1)),
                    base_logprobs=logprobs(self.base),
                    tuned_logprobs=logprobs(tuned),
                )
            ],
        )

    def judged(
        self, *, served: float = 1.0, base_shift: float = 0.0, base_moved: float = 0.0
    ) -> ProofReport:
        """Judge an engine that serves the effect times `served`, on a base that is off by `base_shift`."""
        engine_base = [self.rounded(base + base_shift) for base in self.base]
        engine_tuned = [
            self.rounded(base + base_shift + served * effect)
            for base, effect in zip(self.base, self.effects, strict=True)
        ]
        return judge(
            self.proof,
            baseline=Baseline(logprobs=[logprobs(engine_base)]),
            tuned=[logprobs(engine_tuned)],
            base_after=[logprobs([odds + base_moved for odds in engine_base])],
        )

    def rounded(self, odds: float) -> float:
        return odds + self.random.gauss(0, ROUNDING)


def logprobs(log_odds: list[float]) -> list[float]:
    return [-math.log1p(math.exp(-odds)) for odds in log_odds]


@pytest.mark.parametrize("effect", [0.5, 2, 8])
def test_an_adapter_that_acts_as_trained_is_proven(effect):
    """An engine that agrees with the trainer up to rounding passes without a warning."""
    report = Measured(effect).judged()
    assert report.difference < report.tolerance / 2
    assert report.n_tokens == N_TOKENS
    assert report.warnings == []


@pytest.mark.parametrize("effect", [0.5, 2, 8])
def test_an_adapter_that_is_ignored_is_refused(effect):
    """An engine that answers as the base is refused, in words that say so."""
    with pytest.raises(JobFailure, match="as if it were not there") as refused:
        Measured(effect).judged(served=0)
    assert refused.value.code == "adapter_not_proven"


@pytest.mark.parametrize("served", [0.5, 2, -1])
@pytest.mark.parametrize("effect", [0.5, 2])
def test_an_adapter_of_another_strength_is_refused(effect, served):
    """Half, double or inverted strength is refused."""
    with pytest.raises(JobFailure, match="does not act as it did in training"):
        Measured(effect).judged(served=served)


@pytest.mark.parametrize("served", [0.8, 1.25])
@pytest.mark.parametrize("effect", [0.5, 2, 8])
def test_a_somewhat_other_strength_is_refused(effect, served):
    """A strength that is off by a quarter is refused, and the words say how strong it is."""
    with pytest.raises(JobFailure, match=r"at [01]\.\d\d times the strength"):
        Measured(effect).judged(served=served)


@pytest.mark.parametrize("seed", range(100))
def test_rounding_alone_is_no_other_strength(seed):
    """Of a hundred honest adapters of small and large effect none is taken for stronger than it is."""
    effect = 10 ** random.Random(seed).uniform(-2, 1)
    report = Measured(effect, seed=seed).judged()
    assert report.strength is None or abs(report.strength - 1) < report.strength_tolerance / 2
    assert (report.strength is None) == (report.trainer_effect <= report.rounding)


def test_another_base_is_refused():
    """An engine whose base is not the trainer's is refused before anything else."""
    with pytest.raises(JobFailure, match="base is not the one"):
        Measured(2).judged(base_shift=1)


def test_a_base_that_the_load_changed_is_refused():
    """An engine whose base answers otherwise once the adapter is loaded is refused."""
    with pytest.raises(JobFailure, match="changed the base's own answers"):
        Measured(2).judged(base_moved=0.5)


def test_an_adapter_within_rounding_passes_with_a_warning():
    """Where training changed next to nothing, nothing can be told: the job succeeds and is warned."""
    report = Measured(0.01).judged()
    assert len(report.warnings) == 1
    assert "could not be told from its base" in report.warnings[0]


def test_a_proof_without_tokens_proves_nothing():
    """Without a judged token there is no proof."""
    empty = Proof(base_digest="b", template_digest="t", from_validation=True, examples=[])
    with pytest.raises(JobFailure, match="no example"):
        judge(empty, baseline=Baseline(logprobs=[]), tuned=[], base_after=[])


def test_certainty_breaks_nothing():
    """Tokens that either side is certain of, or holds impossible, are compared like any other."""
    example = ProofExample(
        token_ids=[1, 2, 3], positions=[1, 2], base_logprobs=[-80.0, 0.0], tuned_logprobs=[0.0, 0.0]
    )
    proof = Proof(base_digest="b", template_digest="t", from_validation=False, examples=[example])
    asked = [[-80.0, 0.0]]
    report = judge(proof, baseline=Baseline(logprobs=asked), tuned=[[0.0, 0.0]], base_after=asked)
    assert report.difference == 0
    assert report.trainer_effect > 50


def test_a_shorter_context_of_the_engines_is_judged_as_far_as_it_goes():
    """Tokens beyond the engine's context are left out on both sides."""
    measured = Measured(2)
    cut = [example.base_logprobs[:10] for example in measured.proof.examples]
    tuned = [example.tuned_logprobs[:10] for example in measured.proof.examples]
    report = judge(measured.proof, baseline=Baseline(logprobs=cut), tuned=tuned, base_after=cut)
    assert report.n_tokens == 10
