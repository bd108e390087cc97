"""What the repository's files say, and how long they take to say it."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "serving", "jobs", "api")
MAX_FUNCTION_LINES = 60
"""A screen. Most fit in half of it; what needs more is two things."""
CI = Path(".ci/run")
DOT, SLASH = ".", "/"  # so that this file does not find itself
PACKAGE_HOSTS = [
    f"{name}{DOT}org" for name in ("pypi", "pythonhosted", "download.pytorch", "registry.npmjs")
]
FOREIGN_PATH = re.compile(
    rf"(?<![\w>/])({SLASH}work{SLASH}|{SLASH}opt{SLASH}(wheels|pypi)|\.\.{SLASH}shared)"
)


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [Path(name) for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked_files():
        try:
            yield path, (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue


def product_modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_no_package_index_is_named():
    """Which index packages come from is the environment's business alone."""
    named = [path for path, text in texts() if any(host in text for host in PACKAGE_HOSTS)]
    assert named == []


def test_no_path_of_a_machine_is_named():
    """Nothing points outside the repository; but CI takes OpenAI's description of its API where it lies."""
    named = [path for path, text in texts() if path != CI and FOREIGN_PATH.search(text)]
    assert named == []


def test_functions_fit_a_screen():
    """No function is longer than a screen; but a migration may list its tables."""
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": length
        for path in product_modules()
        if "migrations" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := node.end_lineno - node.body[0].lineno + 1) > MAX_FUNCTION_LINES
    }
    assert long == {}
