"""Bytes on disk. The only module that knows where they lie.

    <data_dir>/blobs/files/<id>          uploads and result files
    <data_dir>/blobs/parts/<upload>/<id> parts of uploads that are not yet files
    <data_dir>/blobs/adapters/<id>/      an adapter: immutable, read by engines for as long as they run
    <data_dir>/work/<job id>/            a trainer's own: resume points, adapters not yet published
    <data_dir>/work/<batch id>/          a batch's own: its input, and what was answered so far
    <data_dir>/blobs/incoming/           what is still being written; emptied at start

Whatever has its final name is whole: it was written elsewhere, flushed, and renamed.
"""

import codecs
import fcntl
import hashlib
import os
import shutil
from asyncio import to_thread
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import BinaryIO, Final

from schemas.base import Schema
from schemas.errors import StorageFull
from schemas.ids import new_id

_SIZES_KNOWN_FOR: Final = 30.0
"""Seconds: whoever reloads a page shall not walk through all files each time."""
_CHUNK: Final = 2**20


class StoredBlob(Schema):
    """Bytes that are safe on disk, not yet anybody's."""

    path: Path
    bytes: int
    sha256: str
    md5: str | None
    """Hex; None where nobody asked for it."""
    n_lines: int
    """Newlines, and one more where the last line has none."""
    is_utf8: bool


class IncomingBlob:
    """A file that is being written: hashed, counted and checked for UTF-8 on its way to disk."""

    def __init__(self, path: Path, *, with_md5: bool = False) -> None:
        self._path = path
        self._file: BinaryIO = path.open("xb", buffering=0)
        self._pending = bytearray()
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if with_md5 else None
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._is_utf8 = True
        self._size = 0
        self._newlines = 0
        self._last = b""

    @property
    def size(self) -> int:
        """How many bytes it took so far."""
        return self._size + len(self._pending)

    async def write(self, data: bytes) -> None:
        """Take some bytes; they reach the disk a megabyte at a time, in a thread.

        Raises:
            StorageFull: There is no room; give the blob up.
        """
        self._pending += data
        if len(self._pending) >= _CHUNK:
            await to_thread(self._flush)

    async def write_file(self, path: Path) -> None:
        """Take all bytes of a file, in a thread, a megabyte at a time.

        Raises:
            FileNotFoundError: It is gone.
            StorageFull: There is no room; give the blob up.
        """
        await to_thread(self._write_file, path)

    async def finish(self) -> StoredBlob:
        """Flush to disk and tell what was written.

        Raises:
            StorageFull: There is no room.
        """
        return await to_thread(self._finish)

    def abort(self) -> None:
        """Leave nothing behind. Safe after `finish`, and where somebody has taken the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _write_file(self, path: Path) -> None:
        with path.open("rb", buffering=0) as source:
            while data := source.read(_CHUNK):
                self._pending += data
                self._flush()

    def _flush(self) -> None:
        data = bytes(self._pending)
        self._pending.clear()
        if not data:
            return
        self._sha256.update(data)
        if self._md5 is not None:
            self._md5.update(data)
        self._size += len(data)
        self._newlines += data.count(b"\n")
        self._last = data[-1:]
        self._check_utf8(data, final=False)
        with _disk():
            written = memoryview(data)
            while written:
                written = written[self._file.write(written) :]

    def _check_utf8(self, data: bytes, *, final: bool) -> None:
        if self._is_utf8:
            try:
                self._utf8.decode(data, final)
            except UnicodeDecodeError:
                self._is_utf8 = False

    def _finish(self) -> StoredBlob:
        self._flush()
        self._check_utf8(b"", final=True)
        with _disk():
            os.fsync(self._file.fileno())
        self._file.close()
        return StoredBlob(
            path=self._path,
            bytes=self._size,
            sha256=self._sha256.hexdigest(),
            md5=None if self._md5 is None else self._md5.hexdigest(),
            n_lines=self._newlines + (self._last not in {b"", b"\n"}),
            is_utf8=self._is_utf8,
        )


class Blobs:
    """The blob store of a data directory."""

    def __init__(self, data_dir: Path) -> None:
        root = data_dir.absolute()
        self._files = root / "blobs" / "files"
        self._parts = root / "blobs" / "parts"
        self._adapters = root / "blobs" / "adapters"
        self._incoming = root / "blobs" / "incoming"
        self._work = root / "work"
        self._measured: tuple[float, dict[str, int]] | None = None

    def prepare(self) -> None:
        """Make the directories."""
        for directory in (self._files, self._parts, self._adapters, self._incoming, self._work):
            directory.mkdir(parents=True, exist_ok=True)

    def sizes(self, *, now: float) -> dict[str, int]:
        """Return the bytes that each kind of blob takes, as of half a minute ago at most.

        Looks at every file, so call it in a thread.

        Args:
            now: Seconds, monotonic.
        """
        if self._measured is not None and now - self._measured[0] < _SIZES_KNOWN_FOR:
            return self._measured[1]
        kinds = {
            "files": self._files,
            "uploads": self._parts,
            "adapters": self._adapters,
            "work": self._work,
        }
        sizes = {kind: size_of(directory) for kind, directory in kinds.items()}
        self._measured = now, sizes
        return sizes

    def sweep_incoming(self) -> None:
        """Delete what a killed process left half written; only where nobody is writing."""
        for left in self._incoming.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()

    def sweep_abandoned(self, *, before: float) -> None:
        """Delete half-written files that nobody wrote to since `before` (Unix seconds): their writer was killed."""
        for left in self._incoming.iterdir():
            with suppress(FileNotFoundError):
                # Not directories: a copy of an adapter has its source's dates.
                if left.is_file() and left.stat().st_mtime < before:
                    left.unlink()

    @asynccontextmanager
    async def incoming(self, *, with_md5: bool = False) -> AsyncGenerator[IncomingBlob]:
        """Open a file for writing; what nobody keeps is gone at the end."""
        blob = IncomingBlob(self._incoming / new_id("file-"), with_md5=with_md5)
        try:
            yield blob
        finally:
            await to_thread(blob.abort)

    async def keep_file(self, blob: StoredBlob, file_id: str) -> None:
        """Give a finished blob its final name."""
        await to_thread(_rename, blob.path, self.file_path(file_id))

    def file_path(self, file_id: str) -> Path:
        """Where a file's bytes are."""
        return self._files / _safe(file_id)

    async def lend_file(self, file_id: str, target: Path) -> None:
        """Make a file's bytes readable at `target` too, whatever becomes of the file. Safe to repeat.

        Raises:
            FileNotFoundError: It is gone.
        """
        await to_thread(_link, self.file_path(file_id), target)

    async def delete_file(self, file_id: str) -> None:
        """Delete a file's bytes; absent ones are fine."""
        await to_thread(self.file_path(file_id).unlink, missing_ok=True)

    async def keep_part(self, blob: StoredBlob, upload_id: str, part_id: str) -> None:
        """Give a finished blob its name among an upload's parts."""
        await to_thread(self._keep_part, blob.path, upload_id, part_id)

    async def delete_part(self, upload_id: str, part_id: str) -> None:
        """Delete a part's bytes; absent ones are fine."""
        await to_thread(self._part(upload_id, part_id).unlink, missing_ok=True)

    @asynccontextmanager
    async def joined(
        self, upload_id: str, part_ids: Sequence[str], *, with_md5: bool
    ) -> AsyncGenerator[StoredBlob]:
        """Copy an upload's parts, in this order, into one blob; what nobody keeps is gone at the end.

        Only one at a time joins an upload, on whichever process: 8 GB take their minute. The lock is
        the operating system's, and goes with the process that holds it.

        Raises:
            FileNotFoundError: A part is gone: the upload is over.
            BlockingIOError: Somebody joins it already.
            StorageFull: There is no room; nothing was kept.
        """
        descriptor = os.open(self._parts / _safe(upload_id), os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            async with self.incoming(with_md5=with_md5) as incoming:
                for part_id in part_ids:
                    await incoming.write_file(self._part(upload_id, part_id))
                yield await incoming.finish()
        finally:
            os.close(descriptor)

    async def delete_parts(self, upload_id: str) -> None:
        """Delete all that came of an upload; none is fine."""
        await to_thread(shutil.rmtree, self._parts / _safe(upload_id), ignore_errors=True)

    def upload_ids(self) -> list[str]:
        """Return the uploads that have parts on disk."""
        return [path.name for path in self._parts.iterdir()]

    def adapter_dir(self, adapter_id: str) -> Path:
        """Where an adapter is; its bytes never change."""
        return self._adapters / _safe(adapter_id)

    def adapter_ids(self) -> list[str]:
        """Return the adapters that are on disk."""
        return [path.name for path in self._adapters.iterdir()]

    async def keep_adapter(self, source: Path, adapter_id: str) -> None:
        """Copy a trainer's adapter to its final place.

        Raises:
            StorageFull: There is no room; nothing was kept.
        """
        await to_thread(self._keep_adapter, source, self.adapter_dir(adapter_id))

    async def add_to_adapter(self, source: Path, adapter_id: str) -> None:
        """Copy one more file, such as its proof, into a kept adapter's directory; replace it if it is there.

        Raises:
            StorageFull: There is no room; nothing was added.
        """
        await to_thread(self._add_to_adapter, source, self.adapter_dir(adapter_id))

    async def delete_adapter(self, adapter_id: str) -> None:
        """Delete an adapter's files: only when no engine can read them any more."""
        await to_thread(shutil.rmtree, self.adapter_dir(adapter_id), ignore_errors=True)

    def work_dir(self, job_id: str) -> Path:
        """A trainer's directory, made when it is first asked for."""
        directory = self._work / _safe(job_id)
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def work_ids(self) -> list[str]:
        """Return the jobs that have a trainer's directory."""
        return [path.name for path in self._work.iterdir()]

    async def delete_work_dir(self, job_id: str) -> None:
        """Delete what a finished job's trainer no longer needs."""
        await to_thread(shutil.rmtree, self._work / _safe(job_id), ignore_errors=True)

    def _part(self, upload_id: str, part_id: str) -> Path:
        return self._parts / _safe(upload_id) / _safe(part_id)

    def _keep_part(self, source: Path, upload_id: str, part_id: str) -> None:
        target = self._part(upload_id, part_id)
        with _disk():
            if not target.parent.exists():
                target.parent.mkdir(exist_ok=True)
                _fsync(self._parts)
            _rename(source, target)

    def _keep_adapter(self, source: Path, target: Path) -> None:
        copy = self._incoming / target.name
        try:
            with _disk():
                shutil.copytree(source, copy)
                for path in copy.iterdir():
                    _fsync(path)
                _fsync(copy)
                _rename(copy, target)
        finally:
            shutil.rmtree(copy, ignore_errors=True)

    def _add_to_adapter(self, source: Path, adapter: Path) -> None:
        copy = self._incoming / f"{adapter.name}.{source.name}"
        try:
            with _disk():
                shutil.copy(source, copy)
                _fsync(copy)
                _rename(copy, adapter / source.name)
        finally:
            copy.unlink(missing_ok=True)


class _disk:  # noqa: N801 - reads as a statement
    """Says of a full disk that it is full."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, OSError) and error.errno in {ENOSPC, EDQUOT}:
            raise StorageFull(
                "The server has no space left for this; nothing was kept. Free some space and try again."
            ) from error


def _safe(name: str) -> str:
    # Ids are ours, but a path is the wrong place to trust that.
    if not name or not all(c.isascii() and (c.isalnum() or c in "-_") for c in name):
        raise ValueError(f"{name!r} is no id")
    return name


def _rename(source: Path, target: Path) -> None:
    source.rename(target)
    _fsync(target.parent)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    target.hardlink_to(source)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def size_of(directory: Path) -> int:
    """Return the bytes of all files below `directory`; what goes while one looks, or is not there, has none."""
    size = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                size += (Path(parent) / name).stat().st_size
    return size
