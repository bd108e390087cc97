"""The bench of methods: its data, its full fine-tuning, its page."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import torch
from transformers import AutoModelForCausalLM

from jobs.dataset import read_examples
from jobs.rendering import Renderer
from tests.bench import bank_messages
from tests.bench.methods.full import loss_of
from tests.bench.methods.page import markdown, rows, svg
from tests.bench.methods.results import Configuration, Result, Task, Trained


def test_seen_and_unseen_wordings_are_disjoint():
    """A wording that training has is not among those that it has not."""
    seen = {wording for intent in bank_messages.INTENTS for wording in intent.seen}
    unseen = {wording for intent in bank_messages.INTENTS for wording in intent.unseen}

    assert len(seen) == 100
    assert len(unseen) == 30
    assert not seen & unseen


def test_no_message_is_trained_and_asked():
    """Test messages differ from all training messages, and each intent is as frequent as the others."""
    trained = bank_messages.messages(100, "seen", seed=1)
    asked = bank_messages.messages(100, "seen", seed=2, without=trained)

    assert not {each.text for each in trained} & {each.text for each in asked}
    assert {code for _, code in asked} == {code for _, code in trained}
    assert all(
        [code for _, code in asked].count(intent.code) == 10 for intent in bank_messages.INTENTS
    )


@pytest.mark.training
def test_padding_does_not_change_what_full_fine_tuning_learns(nano_dir: Path, tmp_path: Path):
    """The loss of a step of unequal messages is the mean over their tokens, each message alone."""
    path = bank_messages.write(tmp_path / "a.jsonl", bank_messages.messages(10, "seen", seed=1))
    renderer = Renderer.load(nano_dir)
    found = [row for example in read_examples(path) for row in renderer.rows(example, 256)]
    network = AutoModelForCausalLM.from_pretrained(nano_dir, dtype=torch.float32).eval()

    with torch.no_grad():
        together = loss_of(network, found)
        alone = sum(loss_of(network, [row]) * sum(row.trained) for row in found)

    assert together.item() == pytest.approx(
        alone.item() / sum(sum(row.trained) for row in found), rel=1e-2
    )


def made(name: str, rank: int, parameters: int, *, seed: int, seen: float) -> Result:
    trained = Trained("", parameters, saved_bytes=4 * parameters, cpu_seconds=10, peak_bytes=10**9)
    return Result(Configuration(name, 1e-3, rank=rank), seed, trained, seen=seen, unseen=0.5)


def test_the_page_holds_each_configuration():
    """The table has a line for each configuration, means over seeds; the plot is well-formed."""
    found = [
        made("full", 0, 1000, seed=1, seen=0.9),
        made("small", 2, 1, seed=1, seen=0.7),
        made("small", 2, 1, seed=2, seen=0.8),
    ]
    table = rows(found, n_parameters=1000)

    assert [row.configuration.name for row in table] == ["small", "full"]
    assert "| small | 0.10% | 1.0e-03 | 2 | 0.75 | 0.50 | 83% / 100% |" in markdown(table)
    ET.fromstring(svg(table, title="a < b"))  # noqa: S314 - our own


def test_what_is_kept_is_read_again(tmp_path: Path):
    """A result and a task survive their files."""
    result = made("small", 2, 1, seed=1, seen=0.7)
    result.write(tmp_path / "a.json")
    shape = Configuration("q", 1e-3, rank=1, target_modules=("q_proj",))
    task = Task(shape, "base", "train", "work", n_epochs=2, batch_size=2, seed=1)

    assert Result.read(tmp_path / "a.json") == result
    assert Task.from_json(task.to_json()) == task


def test_a_result_is_read_as_it_was_kept(tmp_path):
    """What an interrupted run finds again stands in the same row of the table."""
    configuration = Configuration("LoRA q, v", 1e-3, rank=2, target_modules=("q_proj", "v_proj"))
    result = Result(configuration, 1, Trained("model", 10, 20, 3.0, 40), seen=0.5, unseen=0.25)
    result.write(tmp_path / "kept.json")

    found = Result.read(tmp_path / "kept.json")

    assert found == result
    assert hash(found.configuration) == hash(configuration)
