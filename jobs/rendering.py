"""Conversations as token ids: what is asked, and which tokens are learned from.

The one place that knows which tokens of an example train. Each answer is trained in the very
context in which it will be asked: its prompt is the rendering of all messages before it, with the
generation prompt; its target is what the model must then write, up to and including the token
that ends its turn. Where the next prompt begins with all that came before, the answers share a
row; where the template rewrites the past (thinking templates drop old thoughts), each answer gets
a row of its own. Both are decided on token ids, never by looking for text in text.

Needs no torch: the check of a file, `retune check`, training and proof render with this.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, Self

from jinja2 import TemplateSyntaxError
from tokenizers import Tokenizer

from jobs.chat_template import (
    ChatTemplate,
    Clock,
    TemplateRefused,
    local_time,
    read_json_object,
    read_special_tokens,
)
from schemas.errors import JobFailure
from schemas.training_file import (
    AssistantMessage,
    CalledFunction,
    ChatExample,
    Message,
    TextPart,
    Tool,
)

FindingKind = Literal[
    "refused",  # the template raises on these messages or tools
    "no_end_of_turn",  # the template ends the answer with no token at which a model server stops
    "early_end_of_turn",  # the answer's own text has one, and ends there
    "other_opening",  # the generation prompt opens the answer as the answer itself does not
    "rewritten_past",  # with the answer, the template renders otherwise what was asked
    "truncated",  # the end is beyond the context length
    "never_asked",  # nothing comes before the answer
    "nothing_trained",  # no token of the example trains
]

_EXCERPT: Final = 80
"""Characters of a template's text that a finding quotes."""
_LONGEST_OPENING: Final = 200
"""Characters that a template may write between a prompt and the text of an answer, at most."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a rendered example that its author should hear."""

    kind: FindingKind
    message: int | None = None
    """The message it is about, from 1."""
    detail: str = ""
    """The template's own words, or the text at fault."""


@dataclass(frozen=True, slots=True)
class Row:
    """A sequence to train on. Both lists have the same length."""

    token_ids: list[int]
    trained: list[bool]
    """Whether the token at this place is to be predicted; not shifted."""

    @property
    def prompt_length(self) -> int:
        """How many tokens come before the first trained one."""
        return self.trained.index(True)


@dataclass(frozen=True, slots=True)
class Rendered:
    """An example as rows, each with at least one trained token."""

    rows: list[Row]
    n_tokens: int
    """Of the whole conversation, at most the context length: what OpenAI counts as trained."""
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class _Turn:
    """An answer, in the context in which it will be asked."""

    prompt_ids: list[int]
    target_ids: list[int]
    n_messages: int
    n_tokens: int
    """Both of the conversation up to and including the answer."""


class Renderer:
    """The tokenizer and chat template of a base.

    Args:
        tokenizer: Its truncation and padding are switched off.
        template: How messages become text.
        end_of_turn_ids: The tokens at which the model server stops; the first is the one that is
            given to an answer whose template ends it with none of them.
    """

    def __init__(
        self, tokenizer: Tokenizer, template: ChatTemplate, end_of_turn_ids: Sequence[int]
    ) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._template = template
        self.end_of_turn_ids = tuple(end_of_turn_ids)

    @classmethod
    def load(cls, base_dir: Path, *, clock: Clock = local_time) -> Self:
        """Read the tokenizer and chat template of a model directory.

        Args:
            base_dir: Of a base.
            clock: What a template is told that asks for the time.

        Raises:
            JobFailure: The base cannot chat, or a file of it cannot be read.
        """
        try:
            template = ChatTemplate.load(base_dir, clock=clock)
            tokenizer = _read_tokenizer(base_dir / "tokenizer.json")
            ends = _read_end_of_turn_ids(base_dir, tokenizer)
        except TemplateSyntaxError as exc:
            raise _unusable(f"its chat template is broken at line {exc.lineno}: {exc}") from exc
        except (OSError, ValueError) as exc:
            raise _unusable(f"it cannot be read: {exc}") from exc
        if template is None:
            raise _unusable("it has no chat template: put one into it as chat_template.jinja")
        return cls(tokenizer, template, ends)

    @cached_property
    def template_digest(self) -> str:
        """SHA-256 of the chat template, in hexadecimal."""
        return self._template.digest

    @property
    def reads_clock(self) -> bool:
        """Whether the template asks for the time: it may render otherwise tomorrow."""
        return self._template.reads_clock

    def render_prompt(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> list[int]:
        """Return the ids that the model is asked with: the messages and the generation prompt.

        Raises:
            TemplateRefused: The template does not take these messages or tools.
        """
        return self._encode(self._template.render(messages, tools, add_generation_prompt=True))

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens included."""
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=False)
        return text

    def rows(self, example: ChatExample, context_length: int) -> list[Row]:
        """Return the rows that an example trains, none longer than `context_length` tokens."""
        return self.render(example, context_length).rows

    def render(self, example: ChatExample, context_length: int) -> Rendered:
        """Return an example's rows, and what its author should hear about them. Never raises.

        What does not fit into `context_length` tokens is cut at the end, as at OpenAI. A row that
        is left without a trained token, by `weight` or by the cut, is dropped.
        """
        try:
            turns, findings = self._turns(example)
            n_tokens = self._count_tokens(example, turns)
        except TemplateRefused as exc:
            return Rendered(rows=[], n_tokens=0, findings=[Finding("refused", detail=str(exc))])
        rows = _shared_rows(turns)
        if any(len(row.token_ids) > context_length for row in rows):
            findings.append(Finding("truncated"))
        rows = [_cut(row, context_length) for row in rows]
        rows = [row for row in rows if any(row.trained)]
        if not rows:
            findings.append(Finding("nothing_trained"))
        return Rendered(rows=rows, n_tokens=min(n_tokens, context_length), findings=findings)

    def _turns(self, example: ChatExample) -> tuple[list[_Turn], list[Finding]]:
        turns: list[_Turn] = []
        findings: list[Finding] = []
        for index, message in enumerate(example.messages):
            if isinstance(message, AssistantMessage) and message.is_trained:
                turn, kinds = self._turn(example.messages[: index + 1], example.offered_tools)
                turns.extend([turn] if turn else [])
                findings.extend(Finding(kind, index + 1, detail) for kind, detail in kinds.items())
        return turns, findings

    def _turn(
        self, messages: Sequence[Message], tools: Sequence[Tool]
    ) -> tuple[_Turn | None, dict[FindingKind, str]]:
        """Return how the last message is learned, or None where it cannot be; and why."""
        *past, answer = messages
        if not past:
            return None, {"never_asked": ""}
        prompt = self._template.render(past, tools, add_generation_prompt=True)
        whole = self._template.render(messages, tools, add_generation_prompt=False)
        prompt_ids, whole_ids = self._encode(prompt), self._encode(whole)
        findings: dict[FindingKind, str] = {}
        if whole_ids[: len(prompt_ids)] == prompt_ids:
            target_ids = whole_ids[len(prompt_ids) :]
        else:
            shared = _n_shared(prompt, whole)
            if shared < len(prompt):
                before = self._template.render(past, tools, add_generation_prompt=False)
                if shared >= _n_shared(prompt, before):
                    findings["other_opening"] = prompt[shared:]
                elif start := self._answer_start(messages, tools, prompt=prompt, whole=whole):
                    shared = start
                else:
                    return None, {"rewritten_past": whole[shared : shared + _EXCERPT]}
            target_ids = self._encode_from(shared, whole)
        target_ids, kind = self._ended(target_ids, answer)
        findings |= {kind: ""} if kind else {}
        return _Turn(prompt_ids, target_ids, len(messages), len(whole_ids)), findings

    def _answer_start(
        self, messages: Sequence[Message], tools: Sequence[Tool], *, prompt: str, whole: str
    ) -> int | None:
        """Return where an answer begins in a rendering of a past that is not the prompt's.

        Mistral's templates, for one, show the system's words only while nothing follows the last
        question. The answer's own text begins where the rendering of another answer parts from
        this one's. What stands before it there, back to where the text ends as the prompt does,
        opens the answer. None where they never end alike, in a special token at least.
        """
        *past, answer = messages
        assert isinstance(answer, AssistantMessage)
        other = self._template.render(
            [*past, _another_answer(answer)], tools, add_generation_prompt=False
        )
        text_at = _n_shared(whole, other)
        starts = range(text_at, max(0, text_at - _LONGEST_OPENING) - 1, -1)
        alike = {start: _n_shared(prompt[::-1], whole[:start][::-1]) for start in starts}
        start = max(starts, key=alike.__getitem__)
        shared = whole[start - alike[start] : start]
        return start if any(token in shared for token in self._special_texts) else None

    def _ended(
        self, target_ids: list[int], answer: Message
    ) -> tuple[list[int], FindingKind | None]:
        """Cut a target behind the first token that ends a turn; give it one where it has none."""
        ends = [place for place, id in enumerate(target_ids) if id in self.end_of_turn_ids]
        if not ends:
            return [*target_ids, *self.end_of_turn_ids[:1]], "no_end_of_turn"
        early = len(ends) > 1 and self._writes_end_of_turn(answer)
        return target_ids[: ends[0] + 1], "early_end_of_turn" if early else None

    def _count_tokens(self, example: ChatExample, turns: Sequence[_Turn]) -> int:
        if turns and turns[-1].n_messages == len(example.messages):
            return turns[-1].n_tokens
        text = self._template.render(
            example.messages, example.offered_tools, add_generation_prompt=False
        )
        return len(self._encode(text))

    def _writes_end_of_turn(self, answer: Message) -> bool:
        """Tell whether the answer's own text holds a token that ends a turn."""
        text = answer.model_dump_json(include={"content", "tool_calls", "function_call"})
        return any(id in self.end_of_turn_ids for id in self._encode(text))

    def _encode(self, text: str) -> list[int]:
        # The template has written all special tokens there should be.
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _encode_from(self, start: int, text: str) -> list[int]:
        """Return the ids of what follows a prompt that ends at the character `start` of `text`.

        Encoded on its own: the last token of the prompt would have swallowed the first of the
        answer (two line breaks are one token to many tokenizers), but a model server has closed
        the prompt before. Behind a special token, or a SentencePiece tokenizer would take it for a
        beginning and put a space before it. A special token is never cut in two.
        """
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        place = encoding.char_to_token(start)
        if place is not None and encoding.ids[place] in self._special_ids:
            start = encoding.offsets[place][0]
        if self._anchor is None:
            return self._encode(text[start:])
        return self._encode(self._anchor + text[start:])[1:]

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(id for id, token in added.items() if token.special)

    @cached_property
    def _special_texts(self) -> frozenset[str]:
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(str(token.content) for token in added.values() if token.special)

    @cached_property
    def _anchor(self) -> str | None:
        """A special token that leaves the text after it as it is; None where there is none."""
        added = self._tokenizer.get_added_tokens_decoder().values()
        plain = (token for token in added if token.special and not token.rstrip)
        return next((str(token.content) for token in plain), None)


def _shared_rows(turns: Iterable[_Turn]) -> list[Row]:
    """Let each turn go on in the row before it where its prompt begins with all of that row."""
    rows: list[Row] = []
    for turn in turns:
        known = rows[-1] if rows else Row([], [])
        n_known = len(known.token_ids)
        if rows and turn.prompt_ids[:n_known] == known.token_ids:
            rows.pop()
            before = known.trained + [False] * (len(turn.prompt_ids) - n_known)
        else:
            before = [False] * len(turn.prompt_ids)
        trained = before + [True] * len(turn.target_ids)
        rows.append(Row(turn.prompt_ids + turn.target_ids, trained))
    return rows


def _another_answer(answer: AssistantMessage) -> AssistantMessage:
    """Return an answer that says and calls something else from its first character on."""
    changed: dict[str, object] = {}
    for field in ("content", "refusal"):
        match getattr(answer, field):
            case str(text):
                changed[field] = _with_another_beginning(text)
            case [first, *rest]:
                name = "text" if isinstance(first, TextPart) else "refusal"
                text = _with_another_beginning(getattr(first, name))
                changed[field] = [first.model_copy(update={name: text}), *rest]
    if answer.tool_calls:
        changed["tool_calls"] = [
            call.model_copy(update={"function": _another_call(call.function)})
            for call in answer.tool_calls
        ]
    if answer.function_call:
        changed["function_call"] = _another_call(answer.function_call)
    return answer.model_copy(update=changed)


def _another_call(called: CalledFunction) -> CalledFunction:
    name = _with_another_beginning(called.name)
    return called.model_copy(update={"name": name, "arguments": json.dumps({name: name})})


def _with_another_beginning(text: str) -> str:
    # A template may trim: what it leaves must begin otherwise, too.
    return ("1" if text.lstrip().startswith("0") else "0") + text


def _n_shared(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _cut(row: Row, length: int) -> Row:
    return Row(row.token_ids[:length], row.trained[:length])


def _read_tokenizer(path: Path) -> Tokenizer:
    text = path.read_text(encoding="utf-8")
    try:
        return Tokenizer.from_str(text)
    except Exception as exc:  # the library raises nothing narrower
        raise ValueError(f"{path.name}: {exc}") from exc


def _read_end_of_turn_ids(base_dir: Path, tokenizer: Tokenizer) -> list[int]:
    """Return where vLLM stops: at the tokenizer's eos, and at those of the generation config."""
    generation = read_json_object(base_dir / "generation_config.json")
    configured = (generation or read_json_object(base_dir / "config.json")).get("eos_token_id")
    ids = configured if isinstance(configured, list) else [configured]
    eos = read_special_tokens(base_dir).get("eos_token")
    own = None if eos is None else tokenizer.token_to_id(eos)
    return list(dict.fromkeys(id for id in [own, *ids] if isinstance(id, int)))


def _unusable(reason: str) -> JobFailure:
    return JobFailure(
        f"The base model cannot be used for chat: {reason}.", code="base_model_unusable"
    )
