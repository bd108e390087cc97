"""The same script with OpenAI's SDK of this major version and of the one before, both unmodified."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.journey import demo_lines, jsonl
from tests.e2e.server import KEY

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
PYTHONS = {"3": sys.executable, "2": str(ROOT / ".venv-openai2" / "bin" / "python")}


@pytest.mark.parametrize("major", ["3", "2"])
def test_the_main_job_with_each_sdk(server, tmp_path, major):
    """Upload, create, wait, list, ask, stream, delete: nothing differs."""
    train = tmp_path / "train.jsonl"
    train.write_bytes(jsonl(demo_lines("train.jsonl")[:24]))
    done = subprocess.run(
        [
            PYTHONS[major],
            str(Path(__file__).with_name("sdk_journey.py")),
            server.url,
            KEY,
            str(train),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith(f"{major}.")
