"""Rendered rows as tensors."""

from jobs.rendering import Rendered, Row
from jobs.training.corpus import Corpus

TWO_ROWS = Rendered(
    rows=[
        Row(token_ids=[5, 6, 7], trained=[False, True, True]),
        Row(token_ids=[5, 6, 7, 8], trained=[False, False, False, True]),
    ],
    n_tokens=4,
    findings=[],
)
UNTRAINED = Rendered(rows=[], n_tokens=9, findings=[])
ONLY_THE_FIRST = Rendered(
    rows=[Row(token_ids=[3, 4], trained=[True, False])], n_tokens=2, findings=[]
)
ONE_ROW = Rendered(rows=[Row(token_ids=[9, 2], trained=[True, True])], n_tokens=2, findings=[])


def test_rows_stay_with_their_example() -> None:
    """A batch holds all rows of its examples, and counts a conversation once."""
    corpus = Corpus.of([TWO_ROWS, UNTRAINED, ONE_ROW])

    batch = corpus.batch([1, 0])

    assert [document.token_ids.tolist() for document in batch.documents] == [
        [9, 2], [5, 6, 7], [5, 6, 7, 8],
    ]  # fmt: skip
    assert [document.n_trained for document in batch.documents] == [1, 2, 1]
    assert batch.n_tokens == 2 + 4


def test_untrained_examples_are_counted_but_not_run() -> None:
    """An example without a trained token is in no batch; its tokens are billed, as at OpenAI."""
    corpus = Corpus.of([TWO_ROWS, UNTRAINED, ONE_ROW])

    assert len(corpus) == 2
    assert corpus.n_left_out == 1
    assert corpus.n_tokens == 4 + 9 + 2
    assert corpus.n_trained == 2 + 1 + 1


def test_the_first_token_never_trains() -> None:
    """Nothing comes before a row's first token, so nothing can predict it."""
    corpus = Corpus.of([ONLY_THE_FIRST, ONE_ROW])

    assert len(corpus) == 1
    assert corpus.whole().documents[0].trained.tolist() == [False, True]


def test_a_sample_is_spread_and_fixed() -> None:
    """A sample is the same each time, and never larger than the file."""
    corpus = Corpus.of([ONE_ROW] * 10)

    assert len(corpus.sample(4).documents) == 4
    assert len(corpus.sample(99).documents) == 10


def test_an_empty_file_is_an_empty_corpus() -> None:
    """Nothing in, nothing out, no error."""
    corpus = Corpus.of([])

    assert len(corpus) == 0
    assert corpus.largest_token_id == -1
