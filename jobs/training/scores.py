"""Loss and accuracy over trained tokens."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Self

import torch
from torch import Tensor

from jobs.training.corpus import Document
from jobs.training.group import ALONE, Group
from jobs.training.memory import TokenBudget
from jobs.training.model import TunedModel


class Score(NamedTuple):
    """Sums over trained tokens, still on the device: nobody waits for them yet."""

    loss: Tensor
    """(), float32, nats."""
    hits: Tensor
    """(), int64: how often the likeliest token was the right one."""
    objective: Tensor
    """(), float32, nats: what training makes smaller; the loss, but for label smoothing."""

    def detached(self) -> Self:
        """Return the same without what a backward pass needs."""
        return self._replace(loss=self.loss.detach(), objective=self.objective.detach())


def score(model: TunedModel, documents: list[Document], *, label_smoothing: float = 0.0) -> Score:
    """Run the documents and compare with what they say.

    Args:
        model: As it is.
        documents: At least one.
        label_smoothing: Share of the objective that wants all tokens equally likely; the loss that
            is shown stays without it, to be compared with validation's.
    """
    sums = model.compare(documents, label_smoothing=label_smoothing)
    return Score(loss=sums.loss, hits=sums.hits, objective=sums.objective)


class Means(NamedTuple):
    """What a user is shown."""

    loss: float
    """Mean over trained tokens, in nats."""
    accuracy: float
    """Share of trained tokens that were the likeliest."""

    @classmethod
    def of(cls, scores: list[Score], *, n_trained: int, group: Group = ALONE) -> Self:
        """Wait for the device, add up and divide.

        Args:
            scores: Of this process; maybe none.
            n_trained: In all processes together.
            group: Of the processes, each of which gets the same means.
        """
        parts = [torch.stack([s.loss, s.hits.float()]) for s in scores]
        sums = torch.stack(parts).double().sum(0) if parts else group.zeros(2)
        group.add_up([sums])
        loss, hits = (sums / n_trained).tolist()
        return cls(loss=loss, accuracy=hits)


def evaluate(
    model: TunedModel,
    documents: list[Document],
    *,
    budget: TokenBudget,
    group: Group = ALONE,
    before_each: Callable[[], None] = lambda: None,
) -> Means | None:
    """Measure without learning.

    Args:
        model: As it is.
        documents: Maybe none; the same in each process.
        budget: For each pass.
        group: The processes that measure together.
        before_each: Called before each pass of this process; may raise to end it all.

    Returns:
        None where there are no documents, or the loss is no finite number.

    Raises:
        JobFailure: `out_of_memory`.
    """
    if not documents:
        return None
    scores: list[Score] = []
    # Anew each time: of a thousand documents on the tiny base it is 1 % of measuring them.
    packed = model.layout.pack(group.share(documents), budget.tokens)
    for rows, weight in group.passes(packed, filler=documents[:1]):
        before_each()
        with torch.no_grad():
            told = budget.run(rows, partial(_score_each, model), pack=model.layout.pack)
        scores += told if weight else []
    means = Means.of(scores, n_trained=count_trained(documents), group=group)
    return means if math.isfinite(means.loss) else None


def _score_each(model: TunedModel, batches: list[list[Document]]) -> list[Score]:
    return [score(model, batch) for batch in batches]


def count_trained(documents: list[Document]) -> int:
    """Return how many tokens carry loss."""
    return sum(document.n_trained for document in documents)
