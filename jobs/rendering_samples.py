"""The conversations that travel with an adapter: which ones, and what they should render to today."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from jobs.rendering import Rendered, Renderer
from schemas.rendering import RENDERING, RenderingSample, RenderingSamples
from schemas.training_file import AssistantMessage, ChatExample, Message

_DAY: Final = timedelta(days=1)
_AT_MOST: Final = 8
_AT_LEAST: Final = 3
_MOST_TOKENS: Final = 2048
"""Of a prompt: an engine is asked for each at every load."""


class SampleChooser:
    """Looks at the examples of a file, one by one, and keeps those that show a template something new.

    Args:
        renderer: What renders them for training.
    """

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._samples: list[RenderingSample] = []
        self._seen: set[str] = set()

    def look_at(self, example: ChatExample, rendered: Rendered) -> None:
        """Keep the example if it is among the first, or has what none before it had."""
        if len(self._samples) == _AT_MOST or not rendered.rows:
            return
        features = set(_features(example))
        if len(self._samples) >= _AT_LEAST and features <= self._seen:
            return
        if sample := self._sample(example, rendered):
            self._samples.append(sample)
            self._seen |= features

    def chosen(self) -> RenderingSamples:
        """Return what was kept: up to 8 conversations."""
        return RenderingSamples(
            template_digest=self._renderer.template_digest,
            reads_clock=self._renderer.reads_clock,
            samples=self._samples,
        )

    def _sample(self, example: ChatExample, rendered: Rendered) -> RenderingSample | None:
        """Return the prompt of the last trained answer; None where it was cut off, or is long."""
        row = rendered.rows[-1]
        answers = [
            place
            for place, message in enumerate(example.messages)
            if isinstance(message, AssistantMessage) and message.is_trained
        ]
        past, tools = example.messages[: answers[-1]], example.offered_tools
        if not past:
            return None
        token_ids = self._renderer.render_prompt(past, tools)
        n = len(token_ids)
        # Only what a row really begins with, and goes on from with an answer, was trained on.
        is_trained = row.token_ids[:n] == token_ids and any(row.trained[n : n + 1])
        if not is_trained or n > _MOST_TOKENS:
            return None
        return RenderingSample(messages=past, tools=tools, token_ids=token_ids)


def read_samples(adapter_dir: Path, base_dir: Path, *, now: datetime) -> RenderingSamples | None:
    """Return what an adapter's conversations should be rendered to; None where it carries none.

    Those of a template that prints the date are rendered again, for today and for the days around it:
    the engine's clock may be in another time zone. They are left out where the template tells the hour.

    Raises:
        ValueError: The file is not what a trainer writes.
    """
    try:
        text = (adapter_dir / RENDERING).read_bytes()
    except FileNotFoundError:
        return None
    try:
        samples = RenderingSamples.model_validate_json(text)
    except ValidationError:
        # Its words would quote the training data.
        raise ValueError(f"{RENDERING} is not what a trainer writes") from None
    return _as_of(now, samples, base_dir) if samples.reads_clock else samples


@dataclass
class _StandingClock:
    time: datetime

    def __call__(self) -> datetime:
        return self.time


def _as_of(now: datetime, samples: RenderingSamples, base_dir: Path) -> RenderingSamples:
    clock = _StandingClock(now)
    renderer = Renderer.load(base_dir, clock=clock)
    if renderer.template_digest != samples.template_digest:
        return samples  # it is not the template alone that differs from training's

    def prompts_at(time: datetime) -> list[list[int]]:
        clock.time = time
        return [renderer.render_prompt(one.messages, one.tools) for one in samples.samples]

    another_hour = now.replace(hour=(now.hour + 1) % 24, minute=(now.minute + 1) % 60)
    times = (now, another_hour, now - _DAY, now + _DAY)
    kept = [
        sample.model_copy(update={"also_right": [today, yesterday, tomorrow]})
        for sample, today, later, yesterday, tomorrow in zip(
            samples.samples, *map(prompts_at, times), strict=True
        )
        if later == today
    ]
    return samples.model_copy(update={"samples": kept})


def _features(example: ChatExample) -> Iterator[str]:
    """Yield what of an example a template may treat in a way of its own."""
    if example.offered_tools:
        yield "tools"
    if len(example.messages) > 3:
        yield "several turns"
    for message in example.messages:
        yield message.role
        yield from _features_of(message)


def _features_of(message: Message) -> Iterator[str]:
    if isinstance(message, AssistantMessage) and (message.tool_calls or message.function_call):
        yield "calls"
    if message.name is not None:
        yield "name"
    match message.content:
        case None:
            yield "no content"
        case str(text):
            if text != text.strip():
                yield "blanks"
            if not text.isascii():
                yield "other letters"
            if "</" in text:
                yield "thoughts"  # or any other tag
        case _:
            yield "parts"
