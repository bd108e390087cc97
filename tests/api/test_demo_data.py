import re
from collections import Counter
from importlib.resources import files

import pytest

from schemas.training_file import ChatExample, InstructionMessage, UserMessage


def examples(name: str) -> list[ChatExample]:
    text = files("api.demo").joinpath(name).read_text("utf-8")
    return [ChatExample.model_validate_json(line) for line in text.splitlines()]


def asked(example: ChatExample) -> str:
    _, message, _ = example.messages
    assert isinstance(message, UserMessage)
    assert isinstance(message.content, str)
    return message.content


def code(example: ChatExample) -> str:
    answer = example.messages[-1].content
    assert isinstance(answer, str)
    return answer


@pytest.mark.parametrize(("name", "each"), [("train.jsonl", 20), ("heldout.jsonl", 4)])
def test_ten_codes_equally_often(name, each):
    """The demo trains on 200 messages and asks 40, each of ten codes as often as the others."""
    counts = Counter(map(code, examples(name)))

    assert len(counts) == 10
    assert set(counts.values()) == {each}


def test_one_system_prompt():
    """Every line opens with the same instruction, which names no code."""
    openings = [example.messages[0] for example in examples("train.jsonl")]
    openings += [example.messages[0] for example in examples("heldout.jsonl")]
    instructions = {opening.content for opening in openings}

    assert all(isinstance(opening, InstructionMessage) for opening in openings)
    assert instructions == {"Classify the customer's message. Answer with the code only."}


def test_held_out_codes_are_trained():
    """Each code that is asked for occurs in training."""
    assert set(map(code, examples("heldout.jsonl"))) == set(map(code, examples("train.jsonl")))


def test_no_message_twice():
    """All 240 messages differ, also without regard to case and punctuation."""
    messages = [asked(line) for name in ("train.jsonl", "heldout.jsonl") for line in examples(name)]

    assert len({" ".join(words(message)) for message in messages}) == 240


def test_held_out_wording_is_not_in_training():
    """No held-out message shares half of its words, or five words in a row, with a training one."""
    trained = [words(asked(example)) for example in examples("train.jsonl")]
    for message in (words(asked(example)) for example in examples("heldout.jsonl")):
        for other in trained:
            assert len(set(message) & set(other)) < len(set(message) | set(other)) / 2
            assert not runs(message) & runs(other), (message, other)


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def runs(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}
