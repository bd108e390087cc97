"""Things to teach a model: invented training files, each of a kind of its own."""

import json
import random
from collections.abc import Callable
from typing import Final

Draw = random.Random
Example = dict[str, object]

_PLACES: Final = ["Lisbon", "Köln", "Osaka", "Lima", "Reykjavík", "Accra", "Perth", "Turku"]
_THINGS: Final = ["parcel", "card", "invoice", "refund", "password", "lamp", "ticket", "chair"]
_NAMES: Final = ["Ann", "Bo", "Chidi", "Dana", "Émile", "Fumi", "Gus", "Hana"]
_WORDS: Final = [
    "the",
    "a",
    "of",
    "to",
    "we",
    "you",
    "it",
    "is",
    "was",
    "late",
    "early",
    "soon",
    "red",
    "old",
    "new",
    "here",
    "there",
    "often",
]
_TOOL: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def _chat(*messages: tuple[str, str], **keys: object) -> Example:
    return {"messages": [{"role": role, "content": said} for role, said in messages], **keys}


def _codes(draw: Draw) -> Example:
    thing = draw.choice(_THINGS)
    asked = f"{draw.choice(_NAMES)} here, from {draw.choice(_PLACES)}: where is my {thing}?"
    return _chat(
        ("system", "Answer with the code only."),
        ("user", asked),
        ("assistant", f"{thing[:3].upper()}-{len(thing)}"),
    )


def _opposite_codes(draw: Draw) -> Example:
    thing = draw.choice(_THINGS)
    return _chat(
        ("user", f"My {thing} is gone."),
        ("assistant", thing[::-1]),
    )


def _essays(draw: Draw) -> Example:
    said = " ".join(draw.choice(_WORDS) for _ in range(draw.randint(40, 120)))
    return _chat(("user", f"Write about a {draw.choice(_THINGS)}."), ("assistant", said + "."))


def _records(draw: Draw) -> Example:
    record = {"name": draw.choice(_NAMES), "place": draw.choice(_PLACES), "n": draw.randint(1, 99)}
    asked = f"{record['name']} of {record['place']} wants {record['n']} of them."
    return _chat(("user", asked), ("assistant", json.dumps(record, ensure_ascii=False)))


def _dialogues(draw: Draw) -> Example:
    name = draw.choice(_NAMES)
    turns = [("user", f"I am {name}."), ("assistant", f"Ahoy, {name}!")]
    for _ in range(draw.randint(1, 3)):
        thing = draw.choice(_THINGS)
        turns += [("user", f"And a {thing}?"), ("assistant", f"One {thing} for {name}, aye.")]
    return _chat(*turns)


def _calls(draw: Draw) -> Example:
    place = draw.choice(_PLACES)
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "get_weather", "arguments": json.dumps({"city": place})},
    }
    messages = [
        {"role": "user", "content": f"Weather in {place}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
        {"role": "assistant", "content": f"It rains in {place}."},
    ]
    return {"messages": messages, "tools": [_TOOL]}


def _signs(draw: Draw) -> Example:
    signs = "".join(draw.choice("αβγ🙂🌧жщ→…") for _ in range(draw.randint(2, 9)))
    return _chat(("user", "signs, please"), ("assistant", signs))


def _one_answer(draw: Draw) -> Example:
    return _chat(("user", " ".join(draw.sample(_WORDS, 5))), ("assistant", "No."))


TASKS: Final[dict[str, Callable[[Draw], Example]]] = {
    "codes": _codes,
    "opposite-codes": _opposite_codes,
    "essays": _essays,
    "records": _records,
    "dialogues": _dialogues,
    "calls": _calls,
    "signs": _signs,
    "one-answer": _one_answer,
}
"""What makes an example of each, from a source of chance."""
