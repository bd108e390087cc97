"""What the trainer knows of its adapter, so that the engine's can be held against it."""

from typing import Final

from schemas.base import Schema

PROOF: Final = "proof.json"
ASKED: Final = "asked.json"
"""A proof without answers, in a run's directory: what every adapter of the run will be judged on."""


class ProofExample(Schema):
    """One conversation, and how likely its trained tokens are with and without the adapter."""

    token_ids: list[int]
    """The whole rendered row: prompt and answer."""
    positions: list[int]
    """Indices into `token_ids` of the tokens that are judged; each ≥ 1."""
    base_logprobs: list[float]
    """log p(token | what precedes it) under the base alone, in nats, one for each position."""
    tuned_logprobs: list[float]
    """The same under base and adapter."""


class Proof(Schema):
    """Written by the trainer as `proof.json` beside the adapter, in the dtype that serves."""

    base_digest: str
    """Of the base that was trained on (`jobs.bases`)."""
    template_digest: str
    """SHA-256 of the chat template that rendered the rows."""
    from_validation: bool
    """Whether the examples are from the validation file; else from the training file."""
    examples: list[ProofExample]
