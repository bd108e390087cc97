"""Where the Hugging Face client keeps what it downloaded. Looks, never downloads.

The layout (huggingface_hub, "Understand caching"): `models--ORG--NAME/refs/main` holds a commit, and
`models--ORG--NAME/snapshots/COMMIT/` that commit's files.
"""

from collections.abc import Mapping
from pathlib import Path


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Return the cache that the client would use, whether or not it exists."""
    if cache := environ.get("HF_HUB_CACHE"):
        return _expanded(cache, environ)
    if home := environ.get("HF_HOME"):
        return _expanded(home, environ) / "hub"
    return _expanded(environ.get("XDG_CACHE_HOME") or "~/.cache", environ) / "huggingface" / "hub"


def find_snapshot(hub_id: str, environ: Mapping[str, str]) -> Path | None:
    """Return the directory of the model's downloaded files: `main`'s commit, else the newest one."""
    repository = cache_directory(environ) / f"models--{hub_id.replace('/', '--')}"
    snapshots = repository / "snapshots"
    try:
        main = snapshots / (repository / "refs" / "main").read_text("utf-8").strip()
    except OSError:
        main = None
    if main is not None and main.is_dir():
        return main
    if not snapshots.is_dir():
        return None
    return max((path for path in snapshots.iterdir() if path.is_dir()), key=_age, default=None)


def _expanded(path: str, environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "/")
    return Path(home, path.removeprefix("~/")) if path.startswith("~/") else Path(path)


def _age(path: Path) -> int:
    return path.stat().st_mtime_ns
