"""A response as it is told: the events of a stream, made of a chat's chunks. Pure: nothing here waits or asks a clock."""

from dataclasses import dataclass, field
from itertools import count
from typing import Final

from jobs.responses.translation import ended, failed, is_cut
from schemas.completions import (
    ChatCompletion,
    Chunk,
    ChunkChoice,
    ChunkWithUsage,
    Delta,
    FinishReason,
    FunctionCallDelta,
    Logprobs,
    ToolCallDelta,
)
from schemas.completions import Usage as ChatUsage
from schemas.errors import ModelServerUnavailable
from schemas.ids import new_hex_id, new_id
from schemas.response_events import (
    ArgumentsDelta,
    ArgumentsDone,
    Event,
    ItemEvent,
    PartEvent,
    ResponseEvent,
    ResponseEventType,
    TextDelta,
    TextDone,
)
from schemas.response_items import (
    FunctionCall,
    ItemStatus,
    Logprob,
    OutputItem,
    OutputMessage,
    OutputText,
    TopLogprob,
)
from schemas.responses import Response, Status

BROKE_OFF: Final = "The model's answer broke off."
_LAST: Final[dict[Status, ResponseEventType]] = {
    "completed": "response.completed",
    "incomplete": "response.incomplete",
    "failed": "response.failed",
}


class Narration:
    """One response, told event by event.

    Call `begin`, `tell` for each chunk, then `end` or `fail`. At most one item is open at a time: where something
    else begins, the one before is over, as at OpenAI.
    """

    def __init__(self, response: Response) -> None:
        self.response = response
        """As it is by now."""
        self._numbers = count()
        self._over: list[OutputItem] = []
        self._open: _Open | None = None
        self._finish_reason: FinishReason | None = None
        self._usage: ChatUsage | None = None
        self._logprobs: list[Logprob] = []
        """Of tokens whose text is still to come: one character may take several."""

    def begin(self) -> list[Event]:
        """Tell that there is a response."""
        return self._numbered(
            [
                ResponseEvent(type="response.created", response=self.response),
                ResponseEvent(type="response.in_progress", response=self.response),
            ]
        )

    def tell(self, chunk: Chunk) -> list[Event]:
        """Tell what a chunk adds.

        Raises:
            ModelServerUnavailable: The chunk adds to a call that is over, or that never began.
        """
        if isinstance(chunk, ChunkWithUsage) and chunk.usage:
            self._usage = chunk.usage
        events: list[Event] = []
        for choice in chunk.choices:
            if choice.delta.content or not choice.delta.tool_calls:  # those of calls are not told
                self._logprobs += _logprobs(choice.logprobs)
            if choice.delta.content:
                events += self._text(choice.delta.content)
            for call in choice.delta.tool_calls or []:
                events += self._call(call)
            self._finish_reason = choice.finish_reason or self._finish_reason
        return self._numbered(events)

    def end(self, *, now: int) -> list[Event]:
        """Tell that the model has nothing more to say; where it did not say why, it broke off.

        Args:
            now: Unix seconds.
        """
        if self._finish_reason is None:
            return self.fail(BROKE_OFF)
        events: list[Event] = []
        if not self._over and self._open is None:
            events += self._begin_item(_message())
        events += self._close("incomplete" if is_cut(self._finish_reason) else "completed")
        self.response = ended(
            self.response,
            output=self._over,
            usage=self._usage,
            finish_reason=self._finish_reason,
            now=now,
        )
        return self._numbered([*events, _last(self.response)])

    def fail(self, message: str) -> list[Event]:
        """Tell that the response ends here, and why."""
        events = self._close("incomplete")
        self.response = failed(self.response, output=self._over, message=message)
        return self._numbered([*events, _last(self.response)])

    def _text(self, text: str) -> list[Event]:
        events: list[Event] = []
        if self._open is None or isinstance(self._open.item, FunctionCall):
            events += self._close("completed")
            events += self._begin_item(_message())
        assert self._open is not None
        logprobs, self._logprobs = self._logprobs, []
        self._open.pieces.append(text)
        self._open.logprobs += logprobs
        return [*events, _text_delta(self._open.item.id, len(self._over), text, logprobs)]

    def _call(self, call: ToolCallDelta) -> list[Event]:
        events: list[Event] = []
        function = call.function or FunctionCallDelta()
        if self._open is None or self._open.call_index != call.index:
            if function.name is None:
                raise ModelServerUnavailable(BROKE_OFF)
            events += self._close("completed")
            item = _function_call(call.id or new_id("call_"), function.name)
            events += self._begin_item(item, call_index=call.index)
        assert self._open is not None
        if function.arguments:
            self._open.pieces.append(function.arguments)
            events.append(
                ArgumentsDelta(
                    item_id=self._open.item.id,
                    output_index=len(self._over),
                    delta=function.arguments,
                )
            )
        return events

    def _begin_item(self, item: OutputItem, *, call_index: int | None = None) -> list[Event]:
        self._open = _Open(item, call_index)
        return _opening(item, len(self._over))

    def _close(self, status: ItemStatus) -> list[Event]:
        if self._open is None:
            return []
        if isinstance(self._open.item, OutputMessage):
            self._open.logprobs += self._logprobs
            self._logprobs = []
        item = self._open.finished(status)
        events = _closing(item, len(self._over))
        self._over = [*self._over, item]
        self._open = None
        return events

    def _numbered(self, events: list[Event]) -> list[Event]:
        return [
            event.model_copy(update={"sequence_number": next(self._numbers)}) for event in events
        ]


@dataclass
class _Open:
    """The item that is being told."""

    item: OutputItem
    """As it began: empty."""
    call_index: int | None
    """The chat's number of the call; None for a message."""
    pieces: list[str] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)

    def finished(self, status: ItemStatus) -> OutputItem:
        text = "".join(self.pieces)
        if isinstance(self.item, FunctionCall):
            return self.item.model_copy(update={"status": status, "arguments": text})
        part = OutputText(text=text, logprobs=self.logprobs)
        return self.item.model_copy(update={"status": status, "content": [part]})


def answered(response: Response, completion: ChatCompletion, *, now: int) -> Response:
    """Return a response that a chat answered as a whole: what a stream of it would have come to."""
    narration = Narration(response)
    narration.tell(_one_chunk(completion))
    narration.end(now=now)
    return narration.response


def replayed(response: Response) -> list[Event]:
    """Tell a response that is over once more: the same events, with each text or call in one piece."""
    beginning = response.model_copy(
        update={
            "status": "in_progress",
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }
    )
    events: list[Event] = [
        ResponseEvent(type="response.created", response=beginning),
        ResponseEvent(type="response.in_progress", response=beginning),
    ]
    for index, item in enumerate(response.output):
        events += _told_at_once(item, index)
    events.append(_last(response))
    return [
        event.model_copy(update={"sequence_number": number}) for number, event in enumerate(events)
    ]


def _told_at_once(item: OutputItem, index: int) -> list[Event]:
    if isinstance(item, FunctionCall):
        emptied: OutputItem = item.model_copy(update={"status": "in_progress", "arguments": ""})
        delta: Event = ArgumentsDelta(item_id=item.id, output_index=index, delta=item.arguments)
    else:
        emptied = item.model_copy(update={"status": "in_progress", "content": []})
        part = _part(item)
        delta = _text_delta(item.id, index, part.text, part.logprobs)
    return [*_opening(emptied, index), delta, *_closing(item, index)]


def _opening(item: OutputItem, index: int) -> list[Event]:
    added = ItemEvent(type="response.output_item.added", output_index=index, item=item)
    if isinstance(item, FunctionCall):
        return [added]
    part = PartEvent(
        type="response.content_part.added",
        item_id=item.id,
        output_index=index,
        content_index=0,
        part=OutputText(text=""),
    )
    return [added, part]


def _closing(item: OutputItem, index: int) -> list[Event]:
    done = ItemEvent(type="response.output_item.done", output_index=index, item=item)
    if isinstance(item, FunctionCall):
        arguments = ArgumentsDone(
            item_id=item.id, output_index=index, name=item.name, arguments=item.arguments
        )
        return [arguments, done]
    part = _part(item)
    text = TextDone(
        item_id=item.id,
        output_index=index,
        content_index=0,
        text=part.text,
        logprobs=part.logprobs,
    )
    piece = PartEvent(
        type="response.content_part.done",
        item_id=item.id,
        output_index=index,
        content_index=0,
        part=part,
    )
    return [text, piece, done]


def _last(response: Response) -> ResponseEvent:
    return ResponseEvent(type=_LAST[response.status], response=response)


def _part(message: OutputMessage) -> OutputText:
    """Return the one part of a message of ours."""
    part = message.content[0]
    assert isinstance(part, OutputText)
    return part


def _text_delta(item_id: str, index: int, text: str, logprobs: list[Logprob]) -> TextDelta:
    return TextDelta(
        item_id=item_id, output_index=index, content_index=0, delta=text, logprobs=logprobs
    )


def _message() -> OutputMessage:
    return OutputMessage(id=new_hex_id("msg_"), status="in_progress", content=[])


def _function_call(call_id: str, name: str) -> FunctionCall:
    return FunctionCall(
        id=new_hex_id("fc_"), status="in_progress", arguments="", call_id=call_id, name=name
    )


def _logprobs(given: Logprobs | None) -> list[Logprob]:
    return [
        Logprob(
            token=token.token,
            logprob=token.logprob,
            bytes=token.bytes or [],
            top_logprobs=[
                TopLogprob(token=top.token, logprob=top.logprob, bytes=top.bytes or [])
                for top in token.top_logprobs
            ],
        )
        for token in (given and given.content) or []
    ]


def _one_chunk(completion: ChatCompletion) -> Chunk:
    (choice,) = completion.choices
    calls = [
        ToolCallDelta(
            index=index,
            id=call.id,
            type="function",
            function=FunctionCallDelta(name=call.function.name, arguments=call.function.arguments),
        )
        for index, call in enumerate(choice.message.tool_calls or [])
    ]
    told = ChunkChoice(
        index=0,
        delta=Delta(content=choice.message.content, tool_calls=calls or None),
        logprobs=choice.logprobs,
        finish_reason=choice.finish_reason,
    )
    return ChunkWithUsage(
        id=completion.id,
        created=completion.created,
        model=completion.model,
        choices=[told],
        usage=completion.usage,
    )
