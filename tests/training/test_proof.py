"""Which examples prove an adapter, and what is said of them."""

from pathlib import Path

import pytest
import torch

from jobs.rendering import Rendered, Row
from jobs.training.corpus import Corpus
from jobs.training.layouts import Padded
from jobs.training.memory import TokenBudget
from jobs.training.proof import Prover, choose_examples
from schemas.proof import ASKED, Proof
from schemas.rendering import RenderingSamples
from tests.training import networks
from tests.training.test_memory import SmallMemory

BLANK = Proof(base_digest="b", template_digest="t", from_validation=True, examples=[])
NO_RENDERING = RenderingSamples(template_digest="t", reads_clock=False, samples=[])


def corpus(*, answers: list[list[int]], prompt: int = 5) -> Corpus:
    """Return a file of one prompt and these answers."""
    return Corpus.of(
        Rendered(
            rows=[
                Row(
                    token_ids=[7] * prompt + answer,
                    trained=[False] * prompt + [True] * len(answer),
                )
            ],
            n_tokens=prompt + len(answer),
            findings=[],
        )
        for answer in answers
    )


def test_different_answers_come_first() -> None:
    """Where a file repeats few answers, each is among the examples."""
    answers = [[11, 2]] * 30 + [[12, 2], [13, 2]]

    chosen = choose_examples(corpus(answers=answers), seed=1)

    assert len(chosen) == 8
    assert {int(document.token_ids[5]) for document in chosen} == {11, 12, 13}


def test_the_seed_chooses() -> None:
    """The same seed gives the same examples, so that each epoch's proof can be compared."""
    file = corpus(answers=[[number, 2] for number in range(10, 90)])
    first, second, other = (choose_examples(file, seed=seed) for seed in (1, 1, 2))

    assert [d.token_ids.tolist() for d in first] == [d.token_ids.tolist() for d in second]
    assert [d.token_ids.tolist() for d in first] != [d.token_ids.tolist() for d in other]


def test_a_long_answer_is_judged_at_its_beginning() -> None:
    """Of a long answer the first 64 tokens are judged, beside those asked before; the row stays whole."""
    (document,) = choose_examples(corpus(answers=[[9] * 100]), seed=0)

    assert len(document) == 105
    assert document.trained.nonzero().flatten().tolist() == list(range(1, 69))


def test_a_long_question_is_judged_here_and_there() -> None:
    """Of the tokens that are not trained 16 are judged, from the second to the last before the answer."""
    (document,) = choose_examples(corpus(answers=[[9, 2]], prompt=200), seed=0)

    judged = document.trained.nonzero().flatten().tolist()
    assert (len(judged), judged[0], judged[-3:]) == (18, 1, [199, 200, 201])
    assert document.n_trained == 18


def prover_of(file: Corpus) -> Prover:
    return Prover(file, layout=Padded(), blank=BLANK, rendering=NO_RENDERING, seed=0)


def test_what_will_be_asked_is_said_before(tmp_path: Path) -> None:
    """The announced questions are those of every proof, in order, and have no answers yet."""
    model = networks.tuned(networks.llama(), Padded())
    prover = prover_of(corpus(answers=[[number, 30, 2] for number in range(20, 40)]))

    prover.announce(tmp_path / "work")

    asked = Proof.model_validate_json((tmp_path / "work" / ASKED).read_bytes()).examples
    first, second = (prover.prove(model, TokenBudget(2048)).examples for _ in range(2))
    assert first == second
    assert len(asked) == 8
    blank = {"base_logprobs": [], "tuned_logprobs": []}
    assert asked == [example.model_copy(update=blank) for example in first]


def test_logprobs_are_those_of_the_networks() -> None:
    """Base and tuned log-probabilities are what the networks give for each judged token."""
    model = networks.tuned(networks.llama(), Padded())
    file = corpus(answers=[[20, 30, 2]])

    (example,) = prover_of(file).prove(model, TokenBudget(2048)).examples

    token_ids = torch.tensor([example.token_ids])
    with torch.no_grad(), model.as_served():
        tuned = model.network(token_ids).logits.float().log_softmax(-1)[0]
        with model.base_alone():
            base = model.network(token_ids).logits.float().log_softmax(-1)[0]
    assert example.positions == list(range(1, 8))
    for place, position in enumerate(example.positions):
        token = example.token_ids[position]
        assert example.tuned_logprobs[place] == pytest.approx(float(tuned[position - 1, token]))
        assert example.base_logprobs[place] == pytest.approx(float(base[position - 1, token]))


def test_a_proof_takes_the_memory_that_there_is() -> None:
    """Where it does not fit at once it is taken in halves, and says the same of each example."""
    file = corpus(answers=[[number, 30, 2] for number in range(20, 40)])
    plain = networks.tuned(networks.llama(), Padded())
    tight = networks.tuned(networks.llama(), SmallMemory(20))
    halved: list[int] = []

    expected = prover_of(file).prove(plain, TokenBudget(2048))
    told = prover_of(file).prove(tight, TokenBudget(2048, on_halved=halved.append))

    assert halved == [32, 16]
    for ours, theirs in zip(told.examples, expected.examples, strict=True):
        assert ours.token_ids == theirs.token_ids
        for place in ("base_logprobs", "tuned_logprobs"):
            assert getattr(ours, place) == pytest.approx(getattr(theirs, place), abs=1e-2)
