"""Whether an engine renders conversations to the tokens that training saw: what a client will be answered to.

The proof (`serving.proof`) asks with token ids and so cannot see this: an engine with another chat template
passes it, and then answers every client from prompts that the model has never seen.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from schemas.base import Schema
from schemas.chat import plain_message
from schemas.errors import InvalidRequest
from schemas.rendering import RenderingSample, RenderingSamples
from serving.vllm import Vllm

_ADVICE: Final = (
    "Give the engine the chat template and the tokenizer of the base's own directory (vLLM: --chat-template, "
    "--tokenizer)."
)


class Difference(Schema):
    """A conversation that the engine renders otherwise. Numbers only: what is said in it is nobody's business."""

    number: int
    """Of the sample, from 1."""
    n_messages: int
    has_tools: bool
    n_trained: int
    """Tokens of the prompt in training."""
    n_served: int | None
    """The engine's; None where its template refuses the conversation."""
    parts_at: int
    """How many tokens both begin with alike."""


class RenderingReport(Schema):
    """What an engine made of the samples."""

    n_samples: int
    differences: list[Difference]

    @property
    def is_all_different(self) -> bool:
        """Whether the engine renders no conversation as training did."""
        return bool(self.differences) and len(self.differences) == self.n_samples

    @property
    def sentence(self) -> str:
        """What differs and what to do about it, for the operator and the user."""
        which = "all" if self.is_all_different else str(len(self.differences))
        if self.differences and all(difference.has_tools for difference in self.differences):
            which += ", each with tools,"
        first = self.differences[0]
        asked = f"sample {first.number}, of {first.n_messages} messages"
        if first.n_served is None:
            shown = f"The engine's template refuses {asked}."
        else:
            shown = (
                f"In {asked}, training had {first.n_trained} tokens and the engine has {first.n_served}; "
                f"they part after {first.parts_at}."
            )
        return (
            f"the engine renders {which} of {self.n_samples} conversations to other tokens than training saw. "
            f"{shown} {_ADVICE}"
        )


async def compare_rendering(
    vllm: Vllm, samples: RenderingSamples, *, model: str
) -> RenderingReport:
    """Let the engine render each sample as it renders a client's request.

    Args:
        vllm: The engine.
        samples: Conversations, and what they are in training.
        model: The base's or an adapter's name inside the engine.

    Raises:
        NotOffered: The engine does not tell.
        ModelServerUnavailable: The engine is not there.
    """
    found = await asyncio.gather(
        *(
            _difference(vllm, sample, number=number, model=model)
            for number, sample in enumerate(samples.samples, start=1)
        )
    )
    return RenderingReport(
        n_samples=len(found), differences=[difference for difference in found if difference]
    )


async def _difference(
    vllm: Vllm, sample: RenderingSample, *, number: int, model: str
) -> Difference | None:
    served = await _served(vllm, sample, model=model)
    if served is not None and served in (sample.token_ids, *sample.also_right):
        return None
    return Difference(
        number=number,
        n_messages=len(sample.messages),
        has_tools=bool(sample.tools),
        n_trained=len(sample.token_ids),
        n_served=None if served is None else len(served),
        parts_at=_n_alike(sample.token_ids, served or []),
    )


async def _served(vllm: Vllm, sample: RenderingSample, *, model: str) -> list[int] | None:
    """Return the engine's token ids; None where its template takes no such conversation."""
    messages = [plain_message(m.model_dump(exclude_none=True)) for m in sample.messages]
    tools = [tool.model_dump(exclude_unset=True) for tool in sample.tools]
    try:
        return await vllm.tokenize(messages, tools or None, model=model)
    except InvalidRequest:
        return None


def _n_alike(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
