"""Files as large as OpenAI takes, against a whole server."""

import os

import pytest

from tests.bench.big_files import LIMIT_MEGABYTES, measure, megabytes_that_fit

UPLOAD_MEGABYTES = int(os.environ.get("RETUNE_TEST_UPLOAD_MEGABYTES", "8192"))
"""Less where the disk has no room for three times as much."""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_memory_stays_flat_whatever_the_size() -> None:
    """8 GB in parts, joined, checked and read again, and 512 MB in one piece: the API grows by less than 64 MB."""
    size = megabytes_that_fit(UPLOAD_MEGABYTES)
    for measured in measure(upload_megabytes=size, file_megabytes=512):
        print(measured)
        assert measured.growth < LIMIT_MEGABYTES
