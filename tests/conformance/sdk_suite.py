"""Run the tests of OpenAI's own SDK against the application: `make sdk-suite`."""

import argparse
import os
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from api.cli.main import use_fixed_sqlite

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SDK = "openai-3.51.0"
FAMILIES = (
    "fine_tuning",
    "test_files.py",
    "test_uploads.py",
    "uploads",
    "test_models.py",
    "chat",
    "test_completions.py",
    "test_responses.py",
    "responses",
    "test_embeddings.py",
    "test_batches.py",
    "test_webhooks.py",
    "webhooks",
)


def main() -> int:
    """Run it, and say how each family did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("families", nargs="*", default=FAMILIES)
    parser.add_argument("--sdk", type=Path, default=ROOT / ".setup" / "sdk-suite" / SDK)
    parser.add_argument("--python", type=Path, default=ROOT / ".venv-sdk" / "bin" / "python")
    asked = parser.parse_args()
    report = asked.sdk.parent / "report.xml"
    report.unlink(missing_ok=True)
    with fixture_server() as url:
        done = run(asked.python.absolute(), asked.sdk, url, asked.families, report=report)
    if not report.exists():
        print(f"The suite did not run: pytest ended with {done}.")
        return 1
    return judge(report)


@contextmanager
def fixture_server() -> Iterator[str]:
    """Serve the application, with the suite's ids put back before each request."""
    use_fixed_sqlite()
    # Not before the SQLite is chosen.
    from tests.conformance.seeds import serving_seeded  # noqa: PLC0415
    from tests.servers import running_redis  # noqa: PLC0415

    with running_redis() as redis_url, serving_seeded(redis_url) as url:
        yield url


def run(python: Path, sdk: Path, url: str, families: list[str], *, report: Path) -> int:
    """Run the SDK's tests in the SDK's own environment, one after the other."""
    command = [
        python, "-m", "pytest", "-q", "-n", "0", "--durations=0", "-p", "no:cacheprovider",
        "--tb=short", f"--junitxml={report}", "-o", "junit_family=xunit1",
        *(f"tests/api_resources/{family}" for family in families),
    ]  # fmt: skip
    environment = {**os.environ, "TEST_API_BASE_URL": f"{url}/v1"}
    output = report.with_suffix(".txt")
    with output.open("w") as file:
        done = subprocess.run(
            command, cwd=sdk, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False
        )
    print(f"The whole output: {output}")
    return done.returncode


def judge(report: Path) -> int:
    """Print the counts; 0 where every case passed or is a listed deviation that did not."""
    deviations = tomllib.loads((HERE / "deviations.toml").read_text()).get("deviation", [])
    used: dict[str, list[str]] = {deviation["case"]: [] for deviation in deviations}
    counts: dict[str, dict[str, int]] = {}
    wrong: list[str] = []
    for name, outcome in outcomes(report):
        family = name.split("::")[0]
        listed = [case for case in used if fnmatchcase(name, case)]
        kind = "deviation" if listed and outcome == "failed" else outcome
        for case in listed:
            used[case].append(outcome)
        family_counts = counts.setdefault(family, {})
        family_counts[kind] = family_counts.get(kind, 0) + 1
        if kind == "failed":
            wrong.append(name)
    width = max(map(len, counts))
    for family, kinds in counts.items():
        told = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        print(f"{family:{width}}  {told}")
    for name, variants in grouped(wrong).items():
        print(f"FAILED {name} [{', '.join(sorted(variants))}]")
    unused = [case for case, seen in used.items() if seen and "failed" not in seen]
    print(*(f"NO LONGER DEVIATES: {case}" for case in unused), sep="\n", end="\n" if unused else "")
    total = {
        kind: sum(found.get(kind, 0) for found in counts.values())
        for kind in ("passed", "deviation", "skipped", "failed")
    }
    print("In all: " + ", ".join(f"{number} {kind}" for kind, number in total.items()))
    return int(bool(wrong or unused or not total["passed"]))


def grouped(names: list[str]) -> dict[str, set[str]]:
    """Return, for each test, in which variants it failed: sync and async, loose, strict and aiohttp."""
    found: dict[str, set[str]] = {}
    for name in names:
        test, _, variant = name.removesuffix("]").partition("[")
        is_async = "::TestAsync" in test
        variant = f"async {variant}" if is_async else variant
        found.setdefault(test.replace("::TestAsync", "::Test"), set()).add(variant)
    return found


def outcomes(report: Path) -> Iterator[tuple[str, str]]:
    """Yield each case's name, such as `test_files.py::TestFiles::test_method_list[loose]`, and its outcome."""
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest wrote it
        path = case.get("file", "").removeprefix("tests/api_resources/")
        owner = case.get("classname", "").rpartition(".")[2]
        name = f"{path}::{owner}::{case.get('name')}"
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            yield name, "failed"
        else:
            yield name, "skipped" if "skipped" in kinds else "passed"


if __name__ == "__main__":
    sys.exit(main())
