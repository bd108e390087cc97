"""What training's rendering of a few conversations was, so that an engine's can be held against it."""

from typing import Annotated, Final

from pydantic import Discriminator, Field

from schemas.base import Schema
from schemas.training_file import Message, Tool

RENDERING: Final = "rendering.json"


class RenderingSample(Schema):
    """A conversation up to an answer that was trained, and the prompt that the answer was trained behind."""

    messages: list[Annotated[Message, Discriminator("role")]]
    """All before the answer."""
    tools: list[Tool] = Field(default_factory=list)
    token_ids: list[int]
    """With the generation prompt."""
    also_right: list[list[int]] = Field(default_factory=list, exclude=True)
    """What the same template makes of it on other days; never written, see `jobs.rendering_samples`."""


class RenderingSamples(Schema):
    """Written by the trainer as `rendering.json` beside the adapter: examples of the training file, as they are."""

    template_digest: str
    """SHA-256 of the chat template."""
    reads_clock: bool
    """Whether the template asks what time it is: it then renders otherwise tomorrow."""
    samples: list[RenderingSample]
