"""`retune doctor` on this very machine, and its report."""

import fcntl
import io
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from api.cli.doctor import (
    LOCK_NAME,
    doctor,
    examine,
    examine_database,
    examine_redis,
    find_port_problem,
    is_served,
    print_report,
)
from jobs.doctor.probes import examine_data_dir
from schemas.settings import Settings
from schemas.system import Check

NOBODY_LISTENS = "127.0.0.1:1"


def rendered(checks: list[Check], *, width: int = 80) -> str:
    output = io.StringIO()
    print_report(checks, Console(file=output, width=width))
    return output.getvalue()


def with_changes(settings: Settings, **changes) -> Settings:
    return settings.model_copy(update=changes)


async def test_looks_at_everything_once(settings):
    """Each check has a name of its own, and what fails or warns says what to do."""
    checks = await examine(settings, host="127.0.0.1", port=0)
    names = [check.name for check in checks]
    assert len(set(names)) == len(names) == 13
    assert all(check.advice for check in checks if check.status != "ok")


async def test_changes_nothing(settings):
    """Looking makes no file or directory."""
    await examine(settings, host="127.0.0.1", port=0)
    assert not settings.data_dir.exists()


def test_never_imports_torch(settings):
    """The doctor reads metadata: it loads neither torch nor vLLM nor transformers."""
    program = (
        "import sys, api.cli.doctor; print({'torch', 'vllm', 'transformers'} & set(sys.modules))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "set()"


def test_exit_code_tells_failure(settings):
    """Where something fails the exit code is 1."""
    unusable = with_changes(settings, redis_url=f"redis://{NOBODY_LISTENS}")
    output = io.StringIO()
    code = doctor(unusable, host="127.0.0.1", port=0, console=Console(file=output, width=80))
    assert code == 1
    assert "to repair" in output.getvalue()


async def test_asks_a_configured_redis(settings, redis_url):
    """A Redis that is configured is asked; one that does not answer fails with the setting's name."""
    assert (
        await examine_redis(with_changes(settings, redis_url=redis_url), running=False)
    ).status == "ok"
    silent = with_changes(settings, redis_url=f"redis://{NOBODY_LISTENS}")
    check = await examine_redis(silent, running=False)
    assert check.status == "fail"
    assert "RETUNE_REDIS_URL" in check.advice


async def test_finds_the_redis_to_start(settings):
    """Without a configured Redis the program that would be started is named."""
    check = await examine_redis(settings, running=False)
    assert check.status == "ok"
    assert "server" in check.seen


async def test_asks_a_configured_database(settings, database_url):
    """A database that is configured is asked, tables or none."""
    check = await examine_database(with_changes(settings, database_url=database_url))
    assert check.status == "ok", check.seen


async def test_says_that_a_database_is_silent(settings):
    """A database that does not answer fails with the setting's name."""
    silent = with_changes(settings, database_url=f"postgresql://someone@{NOBODY_LISTENS}/retune")
    check = await examine_database(silent)
    assert check.status == "fail"
    assert "RETUNE_DATABASE_URL" in check.advice


def test_tries_to_write_where_the_data_will_lie(tmp_path):
    """A data directory that is not there yet is judged by the nearest one that is."""
    assert examine_data_dir(tmp_path / "not" / "yet").status in {"ok", "warn"}
    assert not (tmp_path / "not").exists()
    check = examine_data_dir(Path("/proc/retune"))
    assert check.status == "fail"


def test_sees_a_running_server(tmp_path):
    """A held lock means a server runs; a lock file that nobody holds does not."""
    assert not is_served(tmp_path)
    with (tmp_path / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert is_served(tmp_path)
    assert not is_served(tmp_path)


def test_sees_a_port_in_use():
    """A port on which something listens is a problem, a free one is not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert "in use" in find_port_problem("127.0.0.1", port)
    assert find_port_problem("127.0.0.1", port) is None


def test_a_host_that_is_not_here_is_a_problem():
    """An address of another machine cannot be listened on."""
    assert find_port_problem("192.0.2.1", 8000) is not None


def test_report_fits_a_terminal():
    """At 80 columns no line is cut, and each line of advice keeps its edge."""
    advice = "Make it writable for this user, or set RETUNE_DATA_DIR to another place. " * 2
    checks = [
        Check(name="Python", status="ok", seen="3.11.7"),
        Check(name="Data directory", status="fail", seen="/" + "long/" * 30, advice=advice),
    ]
    lines = rendered(checks).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    first = next(line for line in lines if "Make it" in line)
    edge = first.index("Make it")
    assert first[edge - 3 : edge] == "→  "
    told = " ".join(
        line[edge:].strip() for line in lines[lines.index(first) :] if line[:edge].strip(" →") == ""
    )
    assert told.startswith(advice.strip())


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        (["ok", "ok"], "2 fine. retune can run here."),
        (["ok", "warn"], "1 fine, 1 to know. retune can run here."),
        (["ok", "warn", "fail"], "1 fine, 1 to know, 1 to repair."),
    ],
)
def test_report_ends_with_the_sum(statuses, verdict):
    """The last line says how many are fine, and whether the machine will do."""
    checks = [Check(name=str(n), status=status, seen="") for n, status in enumerate(statuses)]
    assert rendered(checks).splitlines()[-1] == verdict
