"""SHA-256 of a base, remembered by each file's path, size and time, so that only the first start reads the weights."""

import hashlib
import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

from pydantic import TypeAdapter, ValidationError

from schemas.base import Schema

_log = logging.getLogger(__name__)


class _Known(Schema):
    size: int
    """Bytes."""
    mtime_ns: int
    sha256: str


_KNOWN_FILES: Final = TypeAdapter(dict[str, _Known])


class DigestCache:
    """What is known of files that were hashed before; kept in one JSON file of ours, never beside the weights."""

    def __init__(self, path: Path, known: dict[str, _Known]) -> None:
        self._path = path
        self._known = known
        self._used: dict[str, _Known] = {}

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the cache; one that is missing or damaged counts as empty."""
        try:
            return cls(path, _KNOWN_FILES.validate_json(path.read_bytes()))
        except (OSError, ValidationError):
            return cls(path, {})

    def digest(self, files: Iterable[Path]) -> str:
        """Return SHA-256, in hexadecimal, over the names, sizes and contents of `files`, whatever their order.

        Raises:
            OSError: One cannot be read.
        """
        whole = hashlib.sha256()
        for path in sorted(files, key=lambda path: path.name):
            known = self._know(path)
            whole.update(f"{path.name}\0{known.size}\0{known.sha256}\n".encode())
        return whole.hexdigest()

    def save(self) -> None:
        """Keep what was asked since `open`, and forget the rest; a disk that refuses costs only time."""
        if self._used == self._known:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "wb", dir=self._path.parent, prefix=self._path.name, delete=False
            ) as file:
                file.write(_KNOWN_FILES.dump_json(self._used, indent=1))
            Path(file.name).replace(self._path)
        except OSError as exc:
            _log.warning(
                "digests_not_kept", extra={"path": str(self._path), "reason": exc.strerror}
            )

    def _know(self, path: Path) -> _Known:
        key, stat = str(path.absolute()), path.stat()
        known = self._used.get(key) or self._known.get(key)
        if known is None or (known.size, known.mtime_ns) != (stat.st_size, stat.st_mtime_ns):
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            known = _Known(size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=sha256)
        self._used[key] = known
        return known
