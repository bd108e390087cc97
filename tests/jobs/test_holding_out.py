"""A share of the training file, to validate with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.holding_out import count_held_out, hold_out, places_held_out


@given(st.integers(2, 5_000), st.floats(0.0001, 0.5), st.integers(0, 2**31 - 1))
def test_both_sides_get_something(n_examples, share, seed):
    """Whatever the share, an example at least is held out and one is trained on."""
    places = places_held_out(n_examples, share=share, seed=seed)
    assert 1 <= len(places) == count_held_out(n_examples, share) < n_examples
    assert places <= set(range(n_examples))
    assert abs(len(places) - n_examples * share) <= 1


def test_nothing_is_held_out_unasked():
    """No share, no example."""
    assert count_held_out(100, None) == 0


def test_the_seed_decides():
    """The same seed holds out the same examples, another others."""
    places = places_held_out(1_000, share=0.1, seed=7)
    assert places == places_held_out(1_000, share=0.1, seed=7)
    assert places != places_held_out(1_000, share=0.1, seed=8)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\r\n"])
def test_a_file_is_cut_in_two(tmp_path, end):
    """Each line is in one of the two, in order, whatever ends the file."""
    lines = [b'{"number": %d}' % number for number in range(20)]
    source = tmp_path / "source.jsonl"
    source.write_bytes(b"\r\n".join(lines) + end)
    training, validation = hold_out(source, tmp_path / "split", n_examples=20, share=0.25, seed=1)
    trained, held_out = training.read_bytes().splitlines(), validation.read_bytes().splitlines()
    assert len(held_out) == 5
    assert sorted(trained + held_out, key=lines.index) == lines
    assert trained == sorted(trained, key=lines.index)
    assert [lines.index(line) for line in held_out] == sorted(
        places_held_out(20, share=0.25, seed=1)
    )


def test_what_is_there_is_whole(tmp_path):
    """A cut that was interrupted is made anew; one that was finished stays as it is."""
    source = tmp_path / "source.jsonl"
    source.write_bytes(b"{}\n" * 10)
    (tmp_path / "split.part").mkdir()
    (tmp_path / "split.part" / "training.jsonl").write_bytes(b"half")

    training, _ = hold_out(source, tmp_path / "split", n_examples=10, share=0.1, seed=1)
    written = training.stat().st_mtime_ns
    again, _ = hold_out(source, tmp_path / "split", n_examples=10, share=0.1, seed=1)

    assert training.read_bytes() == b"{}\n" * 9
    assert again.stat().st_mtime_ns == written
