"""What a contest's turns say: a table of medians, and whether each goal was reached."""

import statistics
from collections.abc import Iterator
from typing import NamedTuple

from tests.bench.training.contests import NAMES, Contest, Trainer, Turn

_HEADER = (
    "| trainer | real tokens/CPU-s | ours is so many times as fast | computed/real | of the bf16 rate, real (computed) "
    "| peak memory | held-out loss |"
)
_LOSS_MARGIN = 0.01
"""Nats by which we may be worse in any case: what bfloat16 and another order of sums do."""


class Verdict(NamedTuple):
    """A goal, and whether it was reached."""

    text: str
    is_met: bool

    def __str__(self) -> str:
        return f"{self.text}: {'met' if self.is_met else 'MISSED'}"


def table(contest: Contest, turns: list[Turn]) -> str:
    """Return the figures of each trainer in Markdown: medians over the turns, with the range of the speeds."""
    lines = [_HEADER, "|---" * _HEADER.count(" | ") + "|---|"]
    for trainer in contest.trainers:
        runs = [turn.runs[trainer] for turn in turns]
        speeds = [run.tokens_per_cpu_second for run in runs]
        computed = statistics.median(run.computed_tokens / run.real_tokens for run in runs)
        lines.append(
            f"| {NAMES[trainer]} | {statistics.median(speeds):.0f} ({min(speeds):.0f}-{max(speeds):.0f}) "
            f"| {ratio(turns, trainer):.2f} | {computed:.2f} "
            f"| {share(turns, trainer):.0%} ({share(turns, trainer, of_computed=True):.0%}) "
            f"| {max(run.peak_bytes for run in runs) / 1e9:.2f} GB "
            f"| {statistics.mean(turn.losses[trainer] for turn in turns):.3f} |"
        )
    bfloat16 = statistics.median(turn.bfloat16_rate for turn in turns) / 1e9
    float32 = statistics.median(turn.float32_rate for turn in turns) / 1e9
    flops = statistics.median(turn.flops_a_token for turn in turns) / 1e6
    return "\n".join(lines) + (
        f"\n\nUntrained, the base's loss is {turns[0].base_loss:.3f}. Products alone, best shape, one thread: "
        f"{bfloat16:.0f} GFLOP/CPU-s in bfloat16, {float32:.0f} in float32. A token needs {flops:.1f} MFLOP."
    )


def verdicts(contest: Contest, turns: list[Turn]) -> Iterator[Verdict]:
    """Yield each goal."""
    for peer in contest.trainers:
        if peer == "ours":
            continue
        goal = contest.goals.get(peer, 1.0)
        times = ratio(turns, peer)
        yield Verdict(f"{times:.2f} times {NAMES[peer]}, goal {goal:g}", times >= goal)
        yield _loss(turns, peer)
        memory = _peak(turns, "ours") / _peak(turns, peer)
        yield Verdict(f"memory {memory:.2f} of {NAMES[peer]}, goal 1", memory <= 1)
    if goal := contest.share_goal:
        for of_computed, tokens in ((False, "real"), (True, "computed")):
            reached = share(turns, "ours", of_computed=of_computed)
            text = f"{reached:.0%} of the bf16 rate, counting {tokens} tokens, goal {goal:.0%}"
            yield Verdict(text, reached >= goal)


def ratio(turns: list[Turn], peer: Trainer) -> float:
    """Return how many times as fast as a peer we are: the ratio of the medians."""
    ours, theirs = (
        statistics.median(turn.runs[trainer].tokens_per_cpu_second for turn in turns)
        for trainer in ("ours", peer)
    )
    return ours / theirs


def share(turns: list[Turn], trainer: Trainer, *, of_computed: bool = False) -> float:
    """Return the median share of the bfloat16 rate; see `Turn.share`."""
    return statistics.median(turn.share(trainer, of_computed=of_computed) for turn in turns)


def _loss(turns: list[Turn], peer: Trainer) -> Verdict:
    """Hold our loss against a peer's, turn by turn: what the seed does to both falls out."""
    worse = [turn.losses["ours"] - turn.losses[peer] for turn in turns]
    spread = statistics.stdev(worse) / len(worse) ** 0.5 if len(worse) > 1 else 0.0
    noise = max(_LOSS_MARGIN, 2 * spread)
    mean = statistics.mean(worse)
    text = f"held-out loss {mean:+.3f} beside {NAMES[peer]}, at most {noise:.3f} above"
    return Verdict(text, mean <= noise)


def _peak(turns: list[Turn], trainer: Trainer) -> int:
    return max(turn.runs[trainer].peak_bytes for turn in turns)
