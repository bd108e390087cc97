"""How many tokens a trainer runs at once, on disk: what one that was killed for it can still tell.

The trainer writes it down before its first step and each time that memory ran out; a worker whose
trainer the kernel has ended halves it, so that the next attempt needs half.
"""

import os
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from schemas.base import Schema
from schemas.errors import JobFailure

_NAME: Final = "tokens_at_once.json"


class TokensAtOnce(Schema):
    """Of one run."""

    tokens: int
    """At most; a single row that is longer runs alone."""
    longest: int
    """Tokens of the run's longest row, which cannot be divided."""
    recomputes: bool = False
    """Whether layers compute intermediate results twice instead of keeping them."""


def read_tokens_at_once(work_dir: Path) -> TokensAtOnce | None:
    """Return what a run's trainers have written down; None where none has come so far."""
    try:
        return TokensAtOnce.model_validate_json((work_dir / _NAME).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def keep_tokens_at_once(work_dir: Path, kept: TokensAtOnce) -> None:
    """Write it down, whole or not at all."""
    work_dir.mkdir(parents=True, exist_ok=True)
    # Of several processes that train together, any may find out.
    unfinished = work_dir / f"{_NAME}.{os.getpid()}.part"
    unfinished.write_text(kept.model_dump_json(), encoding="utf-8")
    unfinished.replace(work_dir / _NAME)


def halve_after_kill(work_dir: Path) -> TokensAtOnce | None:
    """Let the next attempt run half as many tokens at once, or keep less of a single row.

    Returns:
        What it begins with; None where the trainer was killed before it had rows: there is nothing to halve.

    Raises:
        JobFailure: `out_of_memory`: a single row ran alone, and nothing of it was kept.
    """
    kept = read_tokens_at_once(work_dir)
    if kept is None:
        return None
    if kept.tokens < kept.longest:
        if kept.recomputes:
            raise JobFailure(
                f"A single example of {kept.longest:,} tokens does not fit into this worker's memory: the "
                "system ended the trainer. Shorten the longest examples, or choose a smaller base.",
                code="out_of_memory",
            )
        less = kept.model_copy(update={"recomputes": True})
    else:
        less = kept.model_copy(update={"tokens": kept.tokens // 2})
    keep_tokens_at_once(work_dir, less)
    return less
