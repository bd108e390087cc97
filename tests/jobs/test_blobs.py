"""Bytes on disk: whole or not there."""

import hashlib
import subprocess
import sys

import pytest

from jobs.blobs import Blobs
from schemas.errors import StorageFull


@pytest.fixture
def blobs(tmp_path):
    made = Blobs(tmp_path)
    made.prepare()
    return made


async def test_what_is_written_is_what_is_kept(blobs):
    """Bytes, digest and lines are those of the input, however it was cut."""
    content = b"".join(b'{"n": %d}\n' % n for n in range(300_000)) + "é".encode()
    async with blobs.incoming() as incoming:
        for start in range(0, len(content), 70_001):
            await incoming.write(content[start : start + 70_001])
        stored = await incoming.finish()
        await blobs.keep_file(stored, "file-a")
    assert blobs.file_path("file-a").read_bytes() == content
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert (stored.bytes, stored.n_lines, stored.is_utf8) == (len(content), 300_001, True)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"ok\n\xc3", "é".encode("latin-1")])
async def test_what_is_not_utf8_is_known(blobs, content):
    """A bad byte is seen, and so is a character cut off at the end."""
    async with blobs.incoming() as incoming:
        await incoming.write(content)
        assert not (await incoming.finish()).is_utf8


async def test_what_is_given_up_leaves_nothing(blobs, tmp_path):
    """An upload that breaks off leaves no byte behind."""
    with pytest.raises(ConnectionError):
        async with blobs.incoming() as incoming:
            await incoming.write(b"x" * 2**21)
            raise ConnectionError
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_parts_become_a_file(blobs):
    """Parts are joined in the order that is asked for, with the digests of the whole; only one joins at a time."""
    for name, content in (("part_a", b"caf\xc3"), ("part_b", b"\xa9\n"), ("part_c", b"unused")):
        async with blobs.incoming() as incoming:
            await incoming.write(content)
            await blobs.keep_part(await incoming.finish(), "upload_a", name)
    async with blobs.joined("upload_a", ["part_a", "part_b"], with_md5=True) as stored:
        with pytest.raises(BlockingIOError):
            async with blobs.joined("upload_a", ["part_a"], with_md5=False):
                pass
        await blobs.keep_file(stored, "file-a")
    whole = "café\n".encode()
    assert blobs.file_path("file-a").read_bytes() == whole
    assert stored.sha256 == hashlib.sha256(whole).hexdigest()
    assert stored.md5 == hashlib.md5(whole, usedforsecurity=False).hexdigest()
    assert (stored.is_utf8, stored.n_lines) == (True, 1)
    await blobs.delete_parts("upload_a")
    with pytest.raises(FileNotFoundError):
        async with blobs.joined("upload_a", ["part_a"], with_md5=False):
            pass


async def test_a_proof_is_added_to_an_adapter(blobs, tmp_path):
    """A file that comes later lies whole beside the others; a second one takes its place."""
    source = tmp_path / "trained"
    source.mkdir()
    await blobs.keep_adapter(source, "adapter-1")
    for text in ("{}", "[]"):
        (tmp_path / "proof.json").write_text(text)
        await blobs.add_to_adapter(tmp_path / "proof.json", "adapter-1")
    (kept,) = blobs.adapter_dir("adapter-1").iterdir()
    assert (kept.name, kept.read_text()) == ("proof.json", "[]")


async def test_an_adapter_is_copied_whole(blobs, tmp_path):
    """Its files are there under its id, and the source stays."""
    source = tmp_path / "trained"
    source.mkdir()
    (source / "adapter_config.json").write_text("{}")
    await blobs.keep_adapter(source, "adapter-1")
    assert (blobs.adapter_dir("adapter-1") / "adapter_config.json").read_text() == "{}"
    assert blobs.adapter_ids() == ["adapter-1"]
    assert (source / "adapter_config.json").exists()


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "a.b", "a\0b", "ä", "/etc/passwd"])
def test_what_is_no_id_is_no_path(blobs, name):
    """Nothing but letters, digits, - and _ ever reaches the file system."""
    with pytest.raises(ValueError, match="is no id"):
        blobs.file_path(name)


FILL = """
import asyncio, resource, sys
from pathlib import Path
from jobs.blobs import Blobs
import errno

class Full:
    def __init__(self, file): self.file = file
    def write(self, data): raise OSError(errno.ENOSPC, "No space left on device")
    def __getattr__(self, name): return getattr(self.file, name)

async def main():
    blobs = Blobs(Path(sys.argv[1]))
    blobs.prepare()
    async with blobs.incoming() as incoming:
        incoming._file = Full(incoming._file)
        await incoming.write(b"x" * 2**21)

asyncio.run(main())
"""


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    """The error says what to do; no partial file stays."""
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert StorageFull.__name__ in done.stderr
    assert "no space left" in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_sizes_are_measured_now_and_then(blobs):
    """What blobs take is told by kind; asked again at once, no file is looked at."""
    blobs.file_path("file-a").write_bytes(b"12345")
    assert blobs.sizes(now=0.0)["files"] == 5
    blobs.file_path("file-b").write_bytes(b"678")
    assert blobs.sizes(now=29.0)["files"] == 5
    assert blobs.sizes(now=31.0)["files"] == 8
    assert set(blobs.sizes(now=31.0).values()) == {0, 8}
