"""What the trainer knows of its adapter: log-probabilities and prompts that the engine's are held against."""

import random
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor

from jobs.training.corpus import Corpus, Document
from jobs.training.data import Data
from jobs.training.layouts import Layout, targets
from jobs.training.memory import TokenBudget
from jobs.training.model import TunedModel
from schemas.proof import ASKED, Proof, ProofExample
from schemas.rendering import RENDERING, RenderingSamples
from schemas.training import TrainingSpec

_MAX_EXAMPLES: Final = 8
_MAX_POSITIONS: Final = 64
"""Trained tokens of each example that are judged."""
_OTHER_POSITIONS: Final = 16
"""Tokens that are not trained, and judged all the same: of those that are, a model may become so sure that
twice the adapter would change nothing more."""
_LOOKED_AT: Final = 512
_TOKENS_AT_ONCE: Final = 2048


class Prover:
    """Takes the proof of an adapter on the same examples each time.

    Args:
        corpus: Where they are taken from.
        layout: Of the model that will be measured.
        blank: All of the proof but the examples.
        rendering: How conversations were rendered; the same for every adapter of a run.
        seed: Chooses the examples.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        layout: Layout,
        blank: Proof,
        rendering: RenderingSamples,
        seed: int,
    ) -> None:
        # Alike ones side by side, as they will be run: also by the engine.
        groups = layout.pack(choose_examples(corpus, seed=seed), _TOKENS_AT_ONCE)
        self._documents = [document for group in groups for document in group]
        self._base: list[list[float]] | None = None  # the same for every adapter of a run
        self._blank = blank
        self._rendering = rendering

    @classmethod
    def of(cls, spec: TrainingSpec, data: Data, layout: Layout) -> Self:
        """Return the prover of a run: on its validation file, else on its training file."""
        blank = Proof(
            base_digest=spec.base_digest,
            template_digest=data.rendering.template_digest,
            from_validation=data.validation is not None,
            examples=[],
        )
        corpus = data.validation or data.training
        return cls(corpus, layout=layout, blank=blank, rendering=data.rendering, seed=spec.seed)

    def announce(self, work_dir: Path) -> None:
        """Say before training what will be asked, so that the engine's base can answer meanwhile."""
        nothing: list[list[float]] = [[] for _ in self._documents]
        asked = self._proof(base=nothing, tuned=nothing).model_dump_json()
        work_dir.mkdir(parents=True, exist_ok=True)
        unfinished = work_dir / f"{ASKED}.part"
        unfinished.write_text(asked, encoding="utf-8")
        unfinished.replace(work_dir / ASKED)

    def write_rendering(self, directory: Path) -> None:
        """Put the conversations that the engine will be asked to render beside an adapter."""
        rendering = self._rendering.model_dump_json()
        (directory / RENDERING).write_text(rendering, encoding="utf-8")

    def prove(self, model: TunedModel, budget: TokenBudget) -> Proof:
        """Measure the base alone and the tuned model, each in the precision that serves.

        Args:
            model: As training left it.
            budget: For each pass: without our kernels one may hold more than one of training.

        Raises:
            JobFailure: `out_of_memory`.
        """
        with torch.no_grad(), model.as_served():
            tuned = self._logprobs(model, budget)
            if self._base is None:
                with model.base_alone():
                    self._base = self._logprobs(model, budget)
        return self._proof(base=self._base, tuned=tuned)

    def _logprobs(self, model: TunedModel, budget: TokenBudget) -> list[list[float]]:
        def measured(groups: list[list[Document]]) -> dict[int, list[float]]:
            return {
                id(document): told
                for group in groups
                for document, told in zip(group, _logprobs(model, group), strict=True)
            }

        told = budget.run(self._documents, measured, pack=model.layout.pack)
        return [told[id(document)] for document in self._documents]

    def _proof(self, *, base: list[list[float]], tuned: list[list[float]]) -> Proof:
        examples = [
            ProofExample(
                token_ids=document.token_ids.tolist(),
                positions=document.trained.nonzero().flatten().tolist(),
                base_logprobs=base_logprobs,
                tuned_logprobs=tuned_logprobs,
            )
            for document, base_logprobs, tuned_logprobs in zip(
                self._documents, base, tuned, strict=True
            )
        ]
        return self._blank.model_copy(update={"examples": examples})


def choose_examples(corpus: Corpus, *, seed: int) -> list[Document]:
    """Choose a few rows: each with an answer of its own where there are so many, rather short ones.

    Returns:
        Up to 8 rows with the tokens to judge marked: at most 64 trained ones, the first of each row, and
        16 others, evenly spread over what comes before the last of these.
    """
    rows = corpus.sample(_LOOKED_AT).documents
    shuffle = random.Random(seed).shuffle  # noqa: S311 - no secret
    shuffle(rows)
    first_with_answer = {tuple(row.token_ids[row.trained].tolist()): row for row in reversed(rows)}
    by_length = sorted(first_with_answer.values(), key=len)
    different = by_length[: max(_MAX_EXAMPLES, len(by_length) // 2)]
    shuffle(different)
    alike = [row for row in rows if all(row is not other for other in different)]
    return [_judged(row) for row in (different + alike)[:_MAX_EXAMPLES]]


def _judged(row: Document) -> Document:
    judged = row.trained & (row.trained.cumsum(0) <= _MAX_POSITIONS)
    last = int(judged.nonzero().max())
    others = (~row.trained[1:last]).nonzero().flatten() + 1  # the first token follows nothing
    spread = torch.linspace(0, len(others) - 1, min(_OTHER_POSITIONS, len(others))).long()
    judged[others[spread]] = True
    return Document(row.token_ids, judged, n_trained=int(judged.sum()))


def _logprobs(model: TunedModel, documents: list[Document]) -> list[list[float]]:
    """Return the log-probabilities of each document's trained tokens."""
    # Together, as the engine runs them: one by one took 2.6 times as long.
    logits: Tensor = model.logits(documents)
    n_judged = [document.n_trained for document in documents]
    wanted = targets(documents, logits.device).split(n_judged)
    # But these one by one: in float32 and twice, a large vocabulary's are larger than all else.
    return [
        rows.float().log_softmax(-1).gather(-1, token_ids[:, None])[:, 0].tolist()
        for rows, token_ids in zip(logits.split(n_judged), wanted, strict=True)
    ]
