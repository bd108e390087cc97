"""Which examples of a file are asked, and how each becomes a question with a known answer.

Reads files that the job's validation has passed. Synchronous and CPU-bound: run it in a thread.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from jobs.dataset import read_examples
from jobs.rendering import Renderer
from schemas.chat import ChatRequest
from schemas.errors import InvalidRequest
from schemas.report import Call, Reason, Said
from schemas.training_file import AssistantMessage, ChatExample, Message
from schemas.validation import validated

MAX_REFERENCE_TOKENS: Final = 1024
"""A longer answer is not asked for: it would take the engine as long as all others together."""
_SPARE_TOKENS: Final = 16
_UNCUT: Final = 2**31
"""Tokens: beyond any example."""


@dataclass(frozen=True, slots=True)
class Question:
    """A conversation up to an answer that is known."""

    request: ChatRequest
    """Greedy, not streamed, with room for twice the reference."""
    prompt: str
    """The last message, as text."""
    reference: Said


@dataclass(frozen=True, slots=True)
class NotAskable:
    """Why an example makes no question."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """Examples of a file, by their number in it, from 1."""

    n_available: int
    examples: dict[int, ChatExample]
    questions: dict[int, Question]
    left_out: dict[int, NotAskable]


def choose(
    path: Path,
    renderer: Renderer,
    *,
    model: str,
    context_length: int,
    n: int,
    seed: int,
    among: frozenset[int] | None = None,
) -> Chosen:
    """Return `n` examples evenly spread over a file, or all where it has no more.

    Args:
        path: JSON Lines.
        renderer: Of the base that is asked.
        model: Whom the questions name.
        context_length: Tokens that prompt and answer may have together.
        n: At least 1.
        seed: Where in the first stretch of the file the first one lies, and so the others in theirs.
        among: Numbers of the only examples that may be chosen; None: all.

    Raises:
        OSError: The file cannot be read.
    """
    in_order: Sequence[int]
    if among is None:
        with path.open("rb") as file:
            in_order = range(1, 1 + sum(1 for line in file if line.strip()))
    else:
        in_order = sorted(among)
    numbers = {in_order[place] for place in spread(len(in_order), n=n, seed=seed)}
    chosen = Chosen(len(in_order), {}, {}, {})
    with path.open("rb") as file:
        for number, line in enumerate((line for line in file if line.strip()), start=1):
            if len(chosen.examples) == len(numbers):
                break
            if number not in numbers:
                continue
            example = ChatExample.model_validate_json(line)
            chosen.examples[number] = example
            match question_of(example, renderer, model=model, context_length=context_length):
                case Question() as question:
                    chosen.questions[number] = question
                case NotAskable() as not_askable:
                    chosen.left_out[number] = not_askable
    return chosen


def spread(n_available: int, *, n: int, seed: int) -> frozenset[int]:
    """Return `n` places from 0 to `n_available` - 1, one in each of `n` equal stretches."""
    if n_available <= n:
        return frozenset(range(n_available))
    offset = Random(seed).random()  # noqa: S311 - to be repeated, not to be secret
    return frozenset(int((stretch + offset) * n_available / n) for stretch in range(n))


def numbers_found_in(
    path: Path, chosen: Chosen, *, but_at: frozenset[int] = frozenset()
) -> frozenset[int]:
    """Return the numbers of the chosen examples that a training file has too, word for word.

    Args:
        path: The training file.
        chosen: Examples of another, or those that were held out of this one.
        but_at: Numbers of examples of the training file that were not trained on.

    Raises:
        OSError: The file cannot be read.
    """
    written = {number: _written(example) for number, example in chosen.examples.items()}
    wanted = frozenset(written.values())
    trained = (
        _written(example)
        for number, example in enumerate(read_examples(path), start=1)
        if number not in but_at
    )
    found = wanted.intersection(trained)
    return frozenset(number for number, text in written.items() if text in found)


def question_of(
    example: ChatExample, renderer: Renderer, *, model: str, context_length: int
) -> Question | NotAskable:
    """Return what to ask: the conversation up to its last trained answer, tools included.

    Args:
        example: Of a file that was found good.
        renderer: Of the base; counts the tokens.
        model: Whom the request names.
        context_length: Tokens that prompt and answer may have together.
    """
    place = last_trained(example)
    if place is None:
        return NotAskable("not_askable", "All its answers have a weight of 0.")
    answer = example.messages[place]
    assert isinstance(answer, AssistantMessage), "only assistants are trained"
    rows = renderer.rows(_only_last(example, place), _UNCUT)
    if not rows:
        return NotAskable("not_askable", "The chat template does not take it, or asks for nothing.")
    n_prompt, n_all = rows[0].prompt_length, len(rows[0].token_ids)
    n_reference = n_all - n_prompt
    if n_all > context_length or n_reference > MAX_REFERENCE_TOKENS:
        limits = f"{context_length:,} tokens with its prompt, or {MAX_REFERENCE_TOKENS:,} alone"
        return NotAskable("too_long", f"Its answer takes more than {limits}.")
    room = min(2 * n_reference + _SPARE_TOKENS, context_length - n_prompt)
    greedy = {"temperature": 0, "max_completion_tokens": room}
    try:
        request = validated(ChatRequest, {"model": model, **asked_before(example, place), **greedy})
    except InvalidRequest as exc:
        return NotAskable("not_askable", exc.message)
    return Question(request, _text(example.messages[place - 1]), said_by(answer))


def last_trained(example: ChatExample) -> int | None:
    """Return the place among its messages of the last answer that is learned from; None where none is."""
    places = [place for place, message in enumerate(example.messages) if _is_trained(message)]
    return places[-1] if places else None


def asked_before(example: ChatExample, place: int) -> dict[str, Any]:
    """Return the messages before `place` and the tools as a client would send them: without what only training knows."""
    given = example.model_dump(exclude_unset=True)
    messages = given["messages"][:place]
    for message in messages:
        message.pop("weight", None)
        if message["role"] == "tool":
            message.pop("name", None)
    offered = {name: given[name] for name in ("tools", "functions") if given.get(name)}
    if "tools" in offered and given.get("parallel_tool_calls") is not None:
        offered["parallel_tool_calls"] = given["parallel_tool_calls"]
    return {"messages": messages, **offered}


def said_by(answer: AssistantMessage) -> Said:
    """Return what an example's answer says and calls."""
    called = [call.function for call in answer.tool_calls or []]
    if answer.function_call is not None:
        called.append(answer.function_call)
    calls = [Call(name=function.name, arguments=function.arguments) for function in called]
    return Said(text=_text(answer), calls=calls)


def _is_trained(message: Message) -> bool:
    return isinstance(message, AssistantMessage) and message.is_trained


def _only_last(example: ChatExample, place: int) -> ChatExample:
    """Return the conversation up to `place`, of which nothing but the last answer is learned."""
    return example.model_copy(
        update={"messages": [*_untrained(example.messages[:place]), example.messages[place]]}
    )


def _untrained(messages: Sequence[Message]) -> Iterator[Message]:
    for message in messages:
        is_answer = isinstance(message, AssistantMessage)
        yield message.model_copy(update={"weight": 0}) if is_answer else message


def _text(message: Message) -> str:
    content = message.content
    if content is None and isinstance(message, AssistantMessage):
        content = message.refusal
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text if part.type == "text" else part.refusal for part in content)


def _written(example: ChatExample) -> str:
    return example.model_dump_json(exclude_none=True)
