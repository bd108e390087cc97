"""What was answered is kept, whatever happens to the worker, and counts once."""

from jobs.batch_journal import Entry, Journal, read_entries


def entry(number, text="{}"):
    return Entry(number=number, is_completed=True, result=text)


def kept(directory):
    return [(found.number, found.result) for found in read_entries(directory)]


def test_entries_are_read_as_they_were_written(tmp_path):
    """Line breaks in an answer stay inside its line."""
    with Journal(tmp_path, attempt=1) as journal:
        journal.append(entry(3, '{"a": "x\\ny"}'))
        journal.append(entry(1, "\n"))
    assert kept(tmp_path) == [(3, '{"a": "x\\ny"}'), (1, "\n")]


def test_a_torn_line_does_not_count(tmp_path):
    """Neither at a file's end, as a kill leaves it, nor with an entry glued to it, as a full disk does."""
    with Journal(tmp_path, attempt=1) as journal:
        journal.append(entry(1))
        journal.append(entry(2))
    path = tmp_path / "results-1.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert kept(tmp_path) == [(1, "{}")]
    path.write_bytes(whole[:20] + whole)
    assert kept(tmp_path) == [(2, "{}")]


def test_the_older_claims_answer_counts(tmp_path):
    """A worker that was thought dead may still write; claims are ordered by number, not by name."""
    for attempt in (10, 9):
        with Journal(tmp_path, attempt=attempt) as journal:
            journal.append(entry(1, f"by {attempt}"))
            journal.append(entry(attempt))
    assert kept(tmp_path) == [(1, "by 9"), (9, "{}"), (10, "{}")]
