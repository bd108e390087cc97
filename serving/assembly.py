"""A stream's chunks put together to the whole answer that they make."""

from dataclasses import dataclass, field

from schemas.completions import (
    ChatCompletion,
    Choice,
    Chunk,
    ChunkChoice,
    ChunkWithUsage,
    FinishReason,
    FunctionCall,
    FunctionCallDelta,
    Logprobs,
    Message,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)


class Assembly:
    """The answer so far. Give it every chunk in order, the one with the usage included."""

    def __init__(self) -> None:
        self._first: Chunk | None = None
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None

    def add(self, chunk: Chunk) -> None:
        """Take in what a chunk tells."""
        if self._first is None:
            self._first = chunk
        if isinstance(chunk, ChunkWithUsage) and chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices:
            self._choices.setdefault(choice.index, _Choice()).add(choice)

    def finish(self) -> ChatCompletion | None:
        """Return the whole answer; None where the stream ended before its end."""
        choices = [
            choice.whole(index, finish_reason=choice.finish_reason)
            for index, choice in sorted(self._choices.items())
            if choice.finish_reason is not None
        ]
        if self._first is None or self._usage is None or len(choices) < len(self._choices):
            return None
        return ChatCompletion(
            id=self._first.id,
            created=self._first.created,
            model=self._first.model,
            choices=choices,
            usage=self._usage,
            system_fingerprint=self._first.system_fingerprint,
        )


@dataclass
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def add(self, delta: FunctionCallDelta | None) -> None:
        if delta is not None:
            self.name = self.name or delta.name or ""
            self.arguments.append(delta.arguments or "")

    def whole(self) -> FunctionCall:
        return FunctionCall(name=self.name, arguments="".join(self.arguments))


@dataclass
class _Choice:
    texts: list[str] = field(default_factory=list)
    tool_calls: dict[int, _Call] = field(default_factory=dict)
    function_call: _Call | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)
    has_logprobs: bool = False
    finish_reason: FinishReason | None = None

    def add(self, choice: ChunkChoice) -> None:
        delta = choice.delta
        self.texts.append(delta.content or "")
        for piece in delta.tool_calls or []:
            self._add_tool_call(piece)
        if delta.function_call is not None:
            self.function_call = self.function_call or _Call()
            self.function_call.add(delta.function_call)
        if choice.logprobs is not None:
            self.logprobs += choice.logprobs.content or []
            self.has_logprobs = True
        self.finish_reason = choice.finish_reason or self.finish_reason

    def whole(self, index: int, *, finish_reason: FinishReason) -> Choice:
        calls = [
            ToolCall(id=call.id, function=call.whole())
            for _, call in sorted(self.tool_calls.items())
        ]
        called = self.function_call and self.function_call.whole()
        text = "".join(self.texts)
        return Choice(
            index=index,
            message=Message(
                content=(text or None) if calls or called else text,
                tool_calls=calls or None,
                function_call=called,
            ),
            logprobs=Logprobs(content=self.logprobs) if self.has_logprobs else None,
            finish_reason=finish_reason,
        )

    def _add_tool_call(self, piece: ToolCallDelta) -> None:
        call = self.tool_calls.setdefault(piece.index, _Call())
        call.id = call.id or piece.id or ""
        call.add(piece.function)
