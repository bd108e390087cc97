"""Asking base and tuned model the same questions, behind everybody else's.

What a report asks is nobody's usage: it is counted on no key, held against no limit and kept nowhere but in
the report. Its device time is bounded by `RETUNE_REPORT_EXAMPLES` and `RETUNE_REPORT_SECONDS`.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from jobs.batch_pace import Turns
from jobs.engines import ChatTarget
from jobs.reports.sample import NotAskable, Question
from jobs.services import Services
from schemas.chat import to_upstream
from schemas.completions import Choice
from schemas.errors import InvalidRequest, ModelServerUnavailable
from schemas.ids import new_id
from schemas.report import Call, Said
from serving.answers import Envelope, read_completion

AT_A_TIME: Final = 4
"""Questions that an engine is asked at a time, at most; fewer while others ask it."""
_PAUSES: Final = (0.5, 2.0)
"""Seconds between tries where an engine that is there fails at a question; then the question is to blame."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What both models said to one question."""

    base: Said
    tuned: Said


async def ask_all(
    services: Services,
    questions: Mapping[int, Question],
    *,
    base: ChatTarget,
    tuned: ChatTarget,
    turns: Turns,
    seconds: float,
    keep: Callable[[int, Answers | NotAskable], None],
) -> dict[int, Answers | NotAskable]:
    """Return what became of each question; those that have no answer in time are absent.

    Args:
        services: Open.
        questions: By any number; asked in this order.
        base: The one model.
        tuned: The other, on the same engine.
        turns: At that engine; they come one by one while clients ask it.
        seconds: After which nothing more is asked.
        keep: Told of each outcome as it comes.

    Raises:
        ModelServerUnavailable: The engine went away; what was not kept may be asked again.
    """
    found: dict[int, Answers | NotAskable] = {}
    pending = iter(questions.items())

    async def ask_on() -> None:
        # One question after the other, of both models: when the time is over, hardly one has half an answer.
        for number, question in pending:
            found[number] = await answer(question)
            keep(number, found[number])

    async def answer(question: Question) -> Answers | NotAskable:
        try:
            said = [await _ask(services, target, question, turns) for target in (base, tuned)]
        except InvalidRequest as exc:
            return NotAskable("refused", exc.message)
        except _EngineFails as exc:
            return NotAskable("no_answer", str(exc))
        return Answers(*said)

    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for _ in range(AT_A_TIME):
                group.create_task(ask_on())
    except TimeoutError:
        pass
    except BaseExceptionGroup as several:
        # They all miss the same engine.
        raise several.exceptions[0] from None
    return found


class _EngineFails(Exception):
    """An engine that is there fails at this question again and again."""


async def _ask(services: Services, target: ChatTarget, question: Question, turns: Turns) -> Said:
    for pause in (*_PAUSES, None):
        try:
            async with turns.turn():
                return await _ask_once(services, target, question)
        except ModelServerUnavailable as exc:
            if not await services.engines.is_there(target.base):
                raise
            if pause is None:
                raise _EngineFails(exc.message) from exc
            await asyncio.sleep(pause)
    raise AssertionError("the last try returns or raises")


async def _ask_once(services: Services, target: ChatTarget, question: Question) -> Said:
    body = to_upstream(question.request, cache_salt=target.cache_salt)
    envelope = Envelope(
        id=new_id("chatcmpl-"),
        model=target.public_name,
        system_fingerprint=target.fingerprint,
        calls_functions=False,  # calls in one shape, whichever the example offers
    )
    began = time.monotonic()
    async with services.engines.open_answer(target, body) as answer:
        content = await answer.read()
    seconds = time.monotonic() - began
    completion = read_completion(content, envelope)
    n_tokens = completion.usage.completion_tokens
    timed = {"seconds": round(seconds, 4), "n_tokens": n_tokens}
    return _said(completion.choices[0]).model_copy(update=timed)


def _said(choice: Choice) -> Said:
    called = [call.function for call in choice.message.tool_calls or []]
    return Said(
        text=choice.message.content or "",
        calls=[Call(name=function.name, arguments=function.arguments) for function in called],
        is_cut=choice.finish_reason == "length",
    )
