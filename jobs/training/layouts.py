"""How documents are laid out for the model, so that none sees another.

Flat, end to end, without padding and with what several begin with only once, where the model lets
us say how it attends; padded, which every causal model understands, elsewhere.
"""

import logging
from typing import Final, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from jobs.training import attention, rows
from jobs.training.corpus import Document
from jobs.training.memory import longest_first, pack

logger = logging.getLogger(__name__)

_FLAT_LAYER_TYPES: Final = {"full_attention", "sliding_attention"}
_AGREES_WITHIN: Final = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.01}
"""Relative distance of logits. Rounding gave 0.01 in bfloat16, a document that sees another 0.2."""


class Layout(Protocol):
    """A way to run documents."""

    def logits(self, network: PreTrainedModel, documents: list[Document]) -> Tensor:
        """Return what the model expects at the trained places.

        Returns:
            (trained tokens, vocabulary): document by document, in order; row i is the prediction
            of the i-th of `targets(documents)`.
        """
        ...

    def pack(self, documents: list[Document], tokens: int) -> list[list[Document]]:
        """Put documents into few groups that run at most so many tokens each.

        A document beyond `tokens` is alone.
        """
        ...


def targets(documents: list[Document], device: torch.device) -> Tensor:
    """Return the trained tokens, document by document: (trained tokens,), int64."""
    trained = torch.cat([document.token_ids[document.trained] for document in documents])
    return trained.to(device, torch.int64, non_blocking=True)


class Flat:
    """One row: the documents end to end, each with positions from 0.

    Args:
        shares_beginnings: Run only once what several documents begin with. Loss and gradient are
            the same; only an adapter's dropout then falls on what is shared once, for all of them.
    """

    def __init__(self, *, shares_beginnings: bool = True) -> None:
        self._least_shared = rows.LEAST_SHARED if shares_beginnings else None

    def __repr__(self) -> str:
        return f"Flat(shares_beginnings={self._least_shared is not None})"

    def logits(self, network: PreTrainedModel, documents: list[Document]) -> Tensor:
        """Run the documents; the head only where something is trained."""
        device = network.device
        row = rows.Row.of(documents, least_shared=self._least_shared).in_few_lengths()
        # One place may predict the first answer's token of many documents.
        places, asked = row.predicting.unique(return_inverse=True)
        on_to_the_end = rows.filled_up(places, of=len(row)).to(device, non_blocking=True)
        logits: Tensor = network(
            input_ids=row.token_ids.to(device, torch.int64, non_blocking=True)[None],
            position_ids=row.positions.to(device, non_blocking=True)[None],
            logits_to_keep=places.to(device, non_blocking=True),
            segments=attention.Segments(row.segments, device, asked=on_to_the_end),
            use_cache=False,
        ).logits
        return logits[0].index_select(0, asked.to(device, non_blocking=True))

    def pack(self, documents: list[Document], tokens: int) -> list[list[Document]]:
        """Put documents that begin alike together; what they share counts once."""
        if self._least_shared is None:
            return pack(longest_first(documents), tokens)
        return pack(rows.sharers_together(documents), tokens, n_shared=rows.n_saved)


class Padded:
    """One row a document, filled up at its end, where causal attention never looks."""

    def logits(self, network: PreTrainedModel, documents: list[Document]) -> Tensor:
        """Run the documents; the head everywhere."""
        shape = len(documents), max(len(document) for document in documents)
        token_ids = torch.zeros(shape, dtype=torch.int64)
        is_token = torch.zeros(shape, dtype=torch.int64)
        before_trained = torch.zeros(shape, dtype=torch.bool)
        for row, document in enumerate(documents):
            length = len(document)
            token_ids[row, :length] = document.token_ids
            is_token[row, :length] = 1
            before_trained[row, : length - 1] = document.trained[1:]
        logits: Tensor = network(
            input_ids=token_ids.to(network.device),
            attention_mask=is_token.to(network.device),
            use_cache=False,
        ).logits
        return logits[before_trained.to(network.device)]

    def pack(self, documents: list[Document], tokens: int) -> list[list[Document]]:
        """Put documents of like length together: little is filled up."""
        return pack(longest_first(documents), tokens)


def choose_layout(network: PreTrainedModel) -> Layout:
    """Return the leanest layout with which this very model computes what it computes alone.

    Tried, not looked up: a model may ignore our attention, or carry a state from token to token.
    Leaves the model with the attention that the layout needs.
    """
    documents = _short_documents(network)
    with torch.no_grad():
        alone = torch.cat([Padded().logits(network, [document]) for document in documents])
    own_attention = network.config._attn_implementation  # noqa: SLF001 - has no public reader
    attention.register()
    network.set_attn_implementation(attention.NAME)
    for layout in (Flat(), Flat(shares_beginnings=False)):
        if _agrees(layout, network, documents, alone):
            return layout
    network.set_attn_implementation(own_attention)
    return Padded()


def _agrees(
    layout: Flat, network: PreTrainedModel, documents: list[Document], alone: Tensor
) -> bool:
    # Chunks and the like are longer than our documents: a trial would not show them.
    if not _FLAT_LAYER_TYPES.issuperset(getattr(network.config, "layer_types", None) or ()):
        return False
    name = type(network).__name__
    try:
        with torch.no_grad():
            together = layout.logits(network, documents)
    except (attention.UnknownAttention, TypeError, ValueError) as exc:
        logger.info("no flat batches: model=%s why=%r", name, exc)
        return False
    distance = (together.float() - alone.float()).norm() / alone.float().norm()
    logger.info("flat batches tried: model=%s %r distance=%.2g", name, layout, distance)
    return bool(distance < _AGREES_WITHIN[network.dtype])


def _short_documents(network: PreTrainedModel) -> list[Document]:
    """Return three that begin alike, two of them for longer, and one that shares nothing."""
    vocabulary = network.get_input_embeddings().num_embeddings
    token_ids = (torch.arange(1, 80) * 7919 % vocabulary).int()
    beginning, middle, *ends = token_ids.split([16, 14, 5, 9, 3, 12, 20])
    return [
        _all_trained(torch.cat(parts))
        for parts in (
            (beginning, middle, ends[0]),
            (beginning, ends[1]),
            (ends[3],),
            (beginning, middle, ends[2]),
        )
    ]


def _all_trained(token_ids: Tensor) -> Document:
    trained = torch.ones(len(token_ids), dtype=torch.bool)
    trained[0] = False
    return Document(token_ids, trained, n_trained=len(token_ids) - 1)
