"""What must stay true of the house, whatever is built in it."""

import subprocess
import sys
from pathlib import Path

import pytest

import api

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "peft", "vllm"}
PROCESSES = {
    "the API": "api.app",
    "the worker": "jobs.worker",
    "the server": "api.cli.serve",
    "the data check": "jobs.dataset",
    "the renderer": "jobs.rendering",
}


def test_the_packages_are_ours():
    """`api` is a common name; what is imported is the one in this tree."""
    assert Path(api.__file__).parent == ROOT / "api"


@pytest.mark.parametrize("module", PROCESSES.values(), ids=PROCESSES.keys())
def test_nothing_but_the_trainer_loads_torch(module):
    """Not even indirectly: a process that only serves starts in a second and holds no CUDA context."""
    program = (
        "import api.cli.main, sys; api.cli.main.use_fixed_sqlite(); "
        f"import {module}; print(*sorted(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert HEAVY.isdisjoint(done.stdout.split())


ELSEWHERE = {
    "cpu_plugin.py": "runs inside vLLM",
    "wandb_run.py": "a program; wandb need not be installed",
    "measures.py": "a program, for the same reason as the next",
    "similarity_metrics.py": "a program; one of its libraries looks for a writable directory",
}
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("schemas", "serving", "jobs", "api")
    for path in (ROOT / package).rglob("*.py")
    if path.name not in {"__init__.py", "__main__.py", "env.py"}
    and "versions" not in path.parts
    and "training" not in path.parts
    and path.name not in ELSEWHERE
)


def test_importing_has_no_effect():
    """No thread, no child, no connection, no file written, no environment changed by importing all modules."""
    program = f"""
import api.cli.main, os, sys, threading
api.cli.main.use_fixed_sqlite()
before = dict(os.environ)
opened = []
def watch(event, args):
    if event in {{"subprocess.Popen", "os.fork", "socket.connect", "socket.bind", "os.mkdir", "os.remove"}}:
        opened.append((event, str(args)))
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+") and "pyc" not in str(args[0]):
        opened.append((event, str(args)))
sys.addaudithook(watch)
import importlib
for name in {MODULES!r}:
    importlib.import_module(name)
assert threading.active_count() == 1, threading.enumerate()
assert dict(os.environ) == before
assert opened == [], opened
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
