"""Input of batches: a file in which nothing is found holds as many requests as were counted, each its own."""

import tempfile
from pathlib import Path

from jobs.batch_input import check_input, read_requests
from schemas.batches import MAX_ERRORS
from tests.fuzz.target import fuzz


def any_file_is_run_or_told_of(content: bytes) -> None:
    """Check one file."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        path = Path(file.name)
        found = check_input(path, "/v1/chat/completions", stop=lambda: False)
        n_lines = content.count(b"\n") + 1
        assert len(found.errors) <= MAX_ERRORS
        assert all(error.message for error in found.errors)
        assert all(error.line is None or 1 <= error.line <= n_lines for error in found.errors)
        if found.errors:
            return
        requests = list(read_requests(path))
    assert 0 < found.total == len(requests)
    assert len({request.custom_id for request in requests}) == found.total
    assert {request.body["model"] for request in requests} == {found.model}
    numbers = [request.number for request in requests]
    assert numbers == sorted(set(numbers))


if __name__ == "__main__":
    fuzz(any_file_is_run_or_told_of)
