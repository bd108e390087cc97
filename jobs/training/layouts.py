"""How documents are laid out for the model, so that none sees another.

Flat, end to end and without padding, where the model lets us say how it attends; padded, which
every causal model understands, elsewhere.
"""

import logging
from typing import Final, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from jobs.training import attention
from jobs.training.corpus import Document

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


def targets(documents: list[Document], device: torch.device) -> Tensor:
    """Return the trained tokens, document by document: (trained tokens,), int64."""
    trained = torch.cat([document.token_ids[document.trained] for document in documents])
    return trained.to(device, torch.int64, non_blocking=True)


class Flat:
    """One row: the documents end to end, each with positions from 0."""

    def logits(self, network: PreTrainedModel, documents: list[Document]) -> Tensor:
        """Run the documents; the head only where something is trained."""
        device = network.device
        lengths = [len(document) for document in documents]
        token_ids = torch.cat([document.token_ids for document in documents])
        positions = torch.cat([torch.arange(length) for length in lengths])
        # A token is predicted where the one before it stands.
        before_trained = torch.cat([d.trained for d in documents]).nonzero().flatten() - 1
        logits: Tensor = network(
            input_ids=token_ids.to(device, torch.int64, non_blocking=True)[None],
            position_ids=positions.to(device, non_blocking=True)[None],
            logits_to_keep=before_trained.to(device, non_blocking=True),
            bounds=attention.DocumentBounds(lengths, device),
            use_cache=False,
        ).logits
        return logits[0]


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


def choose_layout(network: PreTrainedModel) -> Layout:
    """Return the flat layout where this very model computes the same with it, else the padded one.

    Tried, not looked up: a model may ignore our attention, or carry a state from token to token.
    Leaves the model with the attention that the layout needs.
    """
    documents = _two_short_documents(network)
    with torch.no_grad():
        alone = torch.cat([Padded().logits(network, [document]) for document in documents])
    own_attention = network.config._attn_implementation  # noqa: SLF001 - has no public reader
    attention.register()
    network.set_attn_implementation(attention.NAME)
    if _flat_agrees(network, documents, alone):
        return Flat()
    network.set_attn_implementation(own_attention)
    return Padded()


def _flat_agrees(network: PreTrainedModel, documents: list[Document], alone: Tensor) -> bool:
    # Chunks and the like are longer than our two documents: a trial would not show them.
    if not _FLAT_LAYER_TYPES.issuperset(getattr(network.config, "layer_types", None) or ()):
        return False
    try:
        with torch.no_grad():
            together = Flat().logits(network, documents)
    except (attention.UnknownAttention, TypeError, ValueError) as exc:
        logger.info("no flat batches: model=%s why=%r", type(network).__name__, exc)
        return False
    distance = (together.float() - alone.float()).norm() / alone.float().norm()
    logger.info("flat batches tried: model=%s distance=%.2g", type(network).__name__, distance)
    return bool(distance < _AGREES_WITHIN[network.dtype])


def _two_short_documents(network: PreTrainedModel) -> list[Document]:
    token_ids = (torch.arange(1, 22) * 7919 % network.get_input_embeddings().num_embeddings).int()
    trained = torch.ones(21, dtype=torch.bool)
    trained[[0, 9]] = False
    return [
        Document(token_ids[:9], trained[:9], n_trained=8),
        Document(token_ids[9:], trained[9:], n_trained=11),
    ]
