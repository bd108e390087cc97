"""What the user is told when training cannot go on."""

import errno

import pytest
import torch

from jobs.training.failures import describe, diverged, out_of_memory


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (diverged(3), "diverged"),
        (out_of_memory(900), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device", "/data/x"), "no_space_left"),
        (ValueError("secret /home/someone"), "training_error"),
    ],
)
def test_every_error_has_a_code(exc: Exception, code: str) -> None:
    """Each error that is known has its own code; the others share one."""
    assert describe(exc).code == code


def test_an_unknown_error_keeps_its_secrets() -> None:
    """The text of an unknown error stays in the log: it may quote paths or data."""
    message = describe(ValueError("secret /home/someone")).message

    assert "ValueError" in message
    assert "secret" not in message
