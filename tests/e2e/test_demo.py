"""The demo, as a user runs it: it tells what happens, and its numbers are what the README promises."""

import os
import re
import subprocess
import sys

import pytest

from tests.e2e.server import free_port
from tests.servers import private_directory

LONGEST_SECONDS = 1200
"""Of a demo on a machine that others use too; alone it takes a quarter of that."""


def run_demo(directory, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "api.cli.main", "demo", "--port", str(free_port()), *arguments],
        env=os.environ | {"RETUNE_DATA_DIR": str(directory / "data"), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.engine
def test_the_demo_on_the_tiny_base():
    """It ends well, shows both answers, and prints code that can be copied."""
    with private_directory("retune-demo-") as directory:
        said = run_demo(directory, "--base", "retune-nano")
    assert "The job has successfully completed" in said
    assert re.search(r"Exact matches: +base \d+/40 = \d+% +tuned \d+/40 = \d+%", said)
    assert "from openai import OpenAI" in said
    assert "retune serve --port" in said


@pytest.mark.engine
@pytest.mark.real_base
@pytest.mark.slow
@pytest.mark.timeout(LONGEST_SECONDS)
def test_the_demo_on_the_real_base(smollm2_dir):
    """The base knows nearly nothing, the tuned model more than 85 % of messages never seen."""
    with private_directory("retune-demo-") as directory:
        said = run_demo(directory)
    found = re.search(r"base (\d+)/40 = \d+% +tuned (\d+)/40 = \d+%", said)
    assert found, said[-2000:]
    assert int(found[1]) <= 2
    assert int(found[2]) > 34
