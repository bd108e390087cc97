"""Examples as the model sees them: every token, marked where it is learned."""

import json

import pytest

from jobs.bases.catalog import NANO_DIRECTORY
from jobs.seeing import answer, shortened
from schemas.seen_examples import SeenQuestion, Stretch


def chat(question: str, reply: str, **more: object) -> str:
    return json.dumps(
        {
            "messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": reply, **more},
            ]
        }
    )


@pytest.fixture
def ask(tmp_path):
    def asked(*lines: str):
        path = tmp_path / "a.jsonl"
        path.write_text("\n".join(lines) + "\n")
        question = SeenQuestion(base_dir=NANO_DIRECTORY, context_length=512, path=path)
        return answer(question).data

    return asked


def test_only_the_answer_is_learned(ask):
    """The question and the template's own words are read; the answer and its end are learned."""
    (example,) = ask(chat("Where is <b>?", "In Paris."))
    read, learned = example.stretches
    assert not read.is_trained
    assert "Where is <b>?" in read.text
    assert learned.is_trained
    assert learned.text.startswith("In Paris.")
    assert 0 < example.n_trained < example.n_tokens


def test_the_first_three_that_train_are_shown(ask):
    """One without anything to learn is passed over; numbers count all lines."""
    lines = [chat("a", "b", weight=0), *(chat(str(number), "c") for number in range(5))]
    assert [example.example for example in ask(*lines)] == [2, 3, 4]


def test_nothing_to_learn_is_no_example(ask):
    """A file whose answers weigh nothing shows none."""
    assert ask(chat("a", "b", weight=0)) == []


def test_what_is_long_loses_its_middle():
    """Three examples always fit into one answer of a child, however many stretches they have."""
    whole = [Stretch(text="字" * 5000, is_trained=place % 2 == 0) for place in range(100)]
    for n in (1, 2, 30, 100):
        kept = shortened(whole[:n])
        size = sum(len(stretch.model_dump_json().encode()) for stretch in kept)
        assert 3 * size < 64 * 1024
        assert "characters…" in kept[0].text
    assert shortened([Stretch(text="short", is_trained=True)])[0].text == "short"
