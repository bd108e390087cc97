"""Rows of documents that begin alike, over all kinds of documents."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.training.corpus import Document
from jobs.training.layouts import Flat
from jobs.training.rows import LEAST_SHARED, Row, filled_up, n_shared, sharers_together

# Few tokens, so that many documents begin alike; some are the beginning of another, some the same.
token_lists = st.lists(st.integers(0, 2), min_size=2, max_size=40)
least_shared = st.sampled_from([1, 2, 5, None])


@st.composite
def documents(draw: st.DrawFn) -> list[Document]:
    """Draw documents that go on where earlier ones stopped or turned."""
    lists = [draw(token_lists)]
    for _ in range(draw(st.integers(0, 8))):
        earlier = draw(st.sampled_from(lists))
        kept = draw(st.integers(0, len(earlier)))
        lists.append(earlier[:kept] + draw(token_lists))
    return [document(token_ids, draw(st.integers(1, 2**30))) for token_ids in lists]


def document(token_ids: list[int], bits: int = 1) -> Document:
    """Make a document in which some tokens train: the last, and those of the set bits."""
    trained = torch.tensor([bool(bits >> place & 1) for place in range(len(token_ids))])
    trained[0], trained[-1] = False, True
    return Document(torch.tensor(token_ids, dtype=torch.int32), trained, int(trained.sum()))


def seen_from(row: Row, place: int) -> list[int]:
    """Return the tokens that a place of a row sees, in order, itself included."""
    segment = next(s for s in row.segments if s.begin <= place < s.end)
    spans = [*segment.before, (segment.begin, place + 1)]
    return [token for span in spans for token in row.token_ids[slice(*span)].tolist()]


@settings(deadline=None, max_examples=50)
@given(documents(), least_shared)
def test_each_prediction_sees_its_document(drawn: list[Document], least: int | None) -> None:
    """Each trained token is predicted from all the tokens before it in its document, no others."""
    row = Row.of(drawn, least_shared=least)

    before = [
        each.token_ids[:place].tolist()
        for each in drawn
        for place in each.trained.nonzero().flatten().tolist()
    ]
    assert [seen_from(row, place) for place in row.predicting.tolist()] == before
    assert [int(row.positions[place]) for place in row.predicting] == [len(b) - 1 for b in before]


@settings(deadline=None, max_examples=50)
@given(documents())
def test_nothing_is_run_twice(drawn: list[Document]) -> None:
    """Where every token counts, a row holds each beginning of its documents exactly once.

    The last token of each trains, and nothing is asked after it.
    """
    row = Row.of(drawn, least_shared=1)

    tokens = [tuple(each.token_ids[:-1].tolist()) for each in drawn]
    assert len(row) == len({t[: n + 1] for t in tokens for n in range(len(t))})
    assert [s.begin for s in row.segments] == [0, *(s.end for s in row.segments[:-1])]


@settings(deadline=None, max_examples=50)
@given(documents(), st.integers(0, 120))
def test_packing_loses_nothing(drawn: list[Document], tokens: int) -> None:
    """Every document is in one group; one that holds several runs no more than its share.

    But for ends of beginnings that are too short to share once another document turns off early.
    """
    for layout, least in ((Flat(), LEAST_SHARED), (Flat(shares_beginnings=False), None)):
        groups = layout.pack(drawn, tokens)

        assert sorted(id(each) for group in groups for each in group) == sorted(map(id, drawn))
        run = [len(Row.of(group, least_shared=least)) for group in groups]
        room = [tokens + (least or 0) * len(group) for group in groups]
        fits = [n <= most for n, most in zip(run, room, strict=True)]
        assert all(fit or len(group) == 1 for fit, group in zip(fits, groups, strict=True))


def test_those_that_share_run_together() -> None:
    """Documents with the same beginning land in one group, though others are as long."""
    system, other = list(range(100, 140)), list(range(200, 250))
    drawn = [document([*system, n]) for n in range(4)] + [document([n, *other]) for n in range(4)]
    mixed = drawn[::2] + drawn[1::2]

    groups = Flat().pack(mixed, 51)

    assert [len(group) for group in groups] == [1, 1, 1, 1, 4]
    assert len(Row.of(groups[-1])) == 40


def test_little_is_not_shared() -> None:
    """A few common tokens are cheaper run again than attended to apart."""
    common = list(range(100, 100 + LEAST_SHARED - 1))

    row = Row.of([document([*common, 1, 2]), document([*common, 3, 4])])

    assert len(row.segments) == 2
    assert not any(segment.before for segment in row.segments)


def test_which_tokens_train_does_not_matter() -> None:
    """The same conversation with another answer trained is run once, and asked at each place."""
    first, second = document([7, 8, 9, 7, 5], 0b00010), document([7, 8, 9, 7, 5], 0b00100)

    row = Row.of([first, second], least_shared=1)

    assert len(row) == 4
    assert row.predicting.tolist() == [0, 3, 1, 3]


@pytest.mark.parametrize("least", [LEAST_SHARED, None])
def test_nothing_is_run_in_vain(least: int | None) -> None:
    """What stands behind the last token that trains is not run, nor is that token."""
    token_ids = torch.tensor([5, 6, 7, 8, 9], dtype=torch.int32)
    trained = token_ids == 7

    row = Row.of([Document(token_ids, trained, n_trained=1)], least_shared=least)

    assert row.token_ids.tolist() == [5, 6]
    assert row.predicting.tolist() == [1]


@settings(deadline=None, max_examples=50)
@given(documents(), st.integers(1, 400))
def test_rows_have_few_lengths(drawn: list[Document], n_tokens: int) -> None:
    """A row that is filled up holds what it held, then at most a sixty-fourth more at its last segment's end."""
    row = Row.of([*drawn, document([*range(n_tokens), 1])])

    filled = row.in_few_lengths()

    assert len(row) <= len(filled) == len(filled.positions) <= len(row) * 65 / 64
    assert torch.equal(filled.token_ids[: len(row)], row.token_ids)
    assert filled.segments[:-1] == row.segments[:-1]
    assert filled.segments[-1].end == len(filled)


def test_places_are_filled_up() -> None:
    """More places of the row join those that are asked, none of them twice, none where there are no more."""
    filled = filled_up(torch.tensor([3, 90]), of=100).tolist()

    assert len(filled) == 8
    assert {3, 90} < set(filled)
    assert filled == sorted(set(filled))
    assert filled_up(torch.arange(9), of=10).tolist() == list(range(9))
    assert filled_up(torch.arange(33), of=34).tolist() == list(range(34))


def test_a_thousand_turns_are_no_problem() -> None:
    """Documents that each begin with the one before are laid out, however many."""
    turns = [document(list(range(n))) for n in range(2, 1500)]

    row = Row.of(turns)

    assert len(row.predicting) == len(turns)
    assert len(row) < 1500 + LEAST_SHARED * len(turns)


def test_neighbours_begin_alike() -> None:
    """Documents are ordered by what they begin with, the longest first among those alike."""
    system, example = list(range(100, 140)), list(range(200, 250))
    drawn = [
        document([*system, 1]),
        document([5] * 60),
        document([*system, *example, 2]),
        document([*system, 1, 1, 1]),
        document([*system, *example, 1, 2]),
    ]

    ordered = sharers_together(drawn)

    assert [len(each) for each in ordered] == [60, 43, 41, 92, 91]
    token_ids = [each.token_ids for each in ordered]
    assert [n_shared(*pair) for pair in pairwise(token_ids)] == [0, 41, 40, 90]
