"""Children that do not outlive their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PARENT = """
import os, signal, subprocess, sys
from serving.child import die_with_us
child = subprocess.Popen(["sleep", "60"], preexec_fn=die_with_us(signal.Signals(int(sys.argv[1]))))
print(child.pid, flush=True)
child.wait()
"""


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_dies_with_its_killed_parent(number):
    """When the parent is killed without a chance to clean up, the child ends."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(int(number))], stdout=subprocess.PIPE, text=True
    )
    with parent:
        child = int(parent.stdout.readline())
        assert is_alive(child)
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_child_lives_while_its_parent_does():
    """A child that asked ends by itself, with its own exit code."""
    program = PARENT.replace('["sleep", "60"]', '["sh", "-c", "exit 7"]').replace(
        "child.wait()", "sys.exit(child.wait())"
    )
    ended = subprocess.run([sys.executable, "-c", program, "9"], capture_output=True, check=False)
    assert ended.returncode == 7
