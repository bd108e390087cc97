"""A grader's program: what it can do, and all that it cannot."""

import os
import socket
import sysconfig
import time
from pathlib import Path

import pytest

from jobs.graders import python_grader
from jobs.graders.children import Children
from jobs.graders.outcome import Outcome

PRIVATE = Path("/var/lib/retune")
SCOPE = {"item": {"answer": "42"}, "sample": {"output_text": "42"}}


async def run(source: str, *, seconds: float = 20) -> Outcome:
    return await python_grader.grade(Children(), source, SCOPE, private=PRIVATE, seconds=seconds)


async def failure(body: str, *, seconds: float = 20) -> str:
    """Run the body of a `grade` and return how it failed."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    outcome = await run(f"def grade(sample, item):\n{lines}    return 1.0\n", seconds=seconds)
    assert outcome.errors.python_grader_runtime_error, "it was let do that"
    assert outcome.reward == 0.0
    return outcome.errors.python_grader_runtime_error_details


def is_there(path: str) -> bool:
    return Path(path).exists()


async def test_grades() -> None:
    """A program sees the sample and the item, and its number is the reward."""
    source = (
        "def grade(sample, item):\n    return 0.5 * (sample['output_text'] == item['answer'])\n"
    )
    assert await run(source) == Outcome(reward=0.5)


async def test_libraries() -> None:
    """What is installed beside the server can be imported, compiled libraries and threads included."""
    source = """
import threading
import numpy as np
from rapidfuzz import fuzz
def grade(sample, item):
    thread = threading.Thread(target=print, args=("hello",))
    thread.start()
    thread.join()
    return np.float32(fuzz.ratio(sample["output_text"], item["answer"]) / 100)
"""
    assert await run(source) == Outcome(reward=1.0)


async def test_own_directory() -> None:
    """A program begins in an empty directory, in which it can keep files for itself; it is gone afterwards."""
    source = """
import os, tempfile
def grade(sample, item):
    assert os.listdir() == []
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("kept")
        file.flush()
        assert open(file.name).read() == "kept"
    raise ValueError(os.getcwd())
"""
    details = (await run(source)).errors.python_grader_runtime_error_details
    directory = details.removeprefix("ValueError: ").partition(" ")[0]
    assert directory.startswith("/")
    assert not is_there(directory)


@pytest.mark.parametrize(
    ("returned", "details"),
    [
        ("'1'", "must return a float, but returned str"),
        ("None", "must return a float, but returned NoneType"),
        ("float('nan')", "must return a finite number, but returned nan"),
        ("[1.0]", "must return a float, but returned list"),
        ("1 / 0", "ZeroDivisionError: division by zero (line 2)"),
        ("__import__('sys').exit(0)", "SystemExit: 0 (line 2)"),
        ("__import__('os')._exit(0)", "It ended without a result."),
        ("__import__('ctypes').string_at(0)", "It was ended by signal 11."),
    ],
)
async def test_no_number(returned: str, details: str) -> None:
    """What is no finite number is a runtime error that says what it is, and the reward is 0."""
    outcome = await run(f"def grade(sample, item):\n    return {returned}\n")
    assert outcome.reward == 0.0
    assert outcome.errors.python_grader_runtime_error
    assert details in outcome.errors.python_grader_runtime_error_details


@pytest.mark.parametrize(
    ("source", "details"),
    [
        ("def grade(sample, item) return 1", "SyntaxError: expected ':' (line 1)"),
        ("score = 1", "defines no function 'grade(sample, item)'"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("(" * 5000, "SyntaxError"),
    ],
)
async def test_no_program(source: str, details: str) -> None:
    """A text that is no grader says why."""
    assert details in (await run(source)).errors.python_grader_runtime_error_details


async def test_no_network() -> None:
    """No socket can be made: not of the network, not of this machine."""
    for family in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"):
        body = f"import socket\nsocket.socket(socket.{family}, socket.SOCK_DGRAM)"
        assert "Operation not permitted" in await failure(body)


async def test_no_server_is_reached() -> None:
    """A server that listens hears nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        body = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), timeout=5)"
        assert "not permitted" in await failure(body)
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


async def test_no_files_of_others(tmp_path: Path) -> None:
    """Neither a file of the data directory nor one of the system can be read, listed, changed or removed."""
    secret = tmp_path / "secret"
    secret.write_text("key")
    secret.chmod(0o666)
    for body in (
        f"open({str(secret)!r}).read()",
        f"open({str(secret)!r}, 'a')",
        f"import os\nos.open({str(secret)!r}, os.O_RDONLY | os.O_TRUNC)",
        f"import os\nos.truncate({str(secret)!r}, 0)",
        f"import os\nos.chmod({str(secret)!r}, 0)",
        f"import os\nos.unlink({str(secret)!r})",
        f"import os\nos.rename({str(secret)!r}, 'mine')",
        f"import os\nos.link({str(secret)!r}, 'mine')",
        f"import os\nos.symlink({str(secret)!r}, 'mine')",
        f"import os\nos.listdir({str(tmp_path)!r})",
        f"open({str(tmp_path / 'new')!r}, 'w')",
        "open('/etc/passwd')",
        f"open({__file__!r})",
        "import os\nos.chroot('.')",
    ):
        details = await failure(body)
        assert "Permission denied" in details or "not permitted" in details, body
    assert secret.read_text() == "key"


async def test_nothing_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's environment is neither inherited nor to be read from it."""
    monkeypatch.setenv("RETUNE_API_KEY", "sk-secret")
    told = await failure("import os\nraise ValueError(sorted(os.environ))")
    assert "RETUNE" not in told
    for name in ("environ", "mem", "maps", "cmdline"):
        details = await failure(f"open('/proc/{os.getpid()}/{name}', 'rb').read()")
        assert "Permission denied" in details


@pytest.mark.parametrize(
    "body",
    [
        "import os\nos.fork()",
        "import os\nwhile True: os.fork()",
        "import os\nos.execv('/bin/true', ['true'])",
        "import os\nos.posix_spawn('/bin/true', ['true'], {})",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.killpg(0, 9)",
        "import os, fcntl\nread, write = os.pipe()\nfcntl.fcntl(read, 8, os.getppid())",
        "import os\nos.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        "import os\nos.sched_setaffinity(os.getppid(), {0})",
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (1, 1))",
        "import os\nos.setuid(0)",
        "import os\nos.memfd_create('x')",
    ],
)
async def test_no_other_process(body: str) -> None:
    """No process is started, signalled, slowed or limited."""
    assert "ermi" in await failure(body)


async def test_confinement_cannot_be_taken_back() -> None:
    """Limits cannot be raised, and what was given up does not come back."""
    assert "not allowed" in await failure(
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))"
    )
    body = "import ctypes\nassert ctypes.CDLL(None).prctl(22, 0, 0, 0, 0) == 0"
    assert "AssertionError" in await failure(body)


async def test_calls_of_another_machine() -> None:
    """A system call by a number of another ABI ends the process."""
    details = await failure("import ctypes\nctypes.CDLL(None).syscall(0x40000000 + 39)")
    assert details == "It was ended by signal 31."


async def test_memory() -> None:
    """More memory than allowed is an error of the program, not of the machine."""
    assert "MemoryError" in await failure("bytearray(3 * 2**30)")
    assert "MemoryError" in await failure("x = []\nwhile True: x.append(bytearray(2**26))")


async def test_time() -> None:
    """A program that never ends is ended, busy or idle."""
    began = time.monotonic()
    assert await failure("while True: pass", seconds=1) == "It took longer than 1 seconds."
    assert "longer than 1 seconds" in await failure("import time\ntime.sleep(600)", seconds=1)
    assert time.monotonic() - began < 30


async def test_output() -> None:
    """What a program prints goes nowhere, and flooding the pipe that its answer takes ends it."""
    source = "def grade(sample, item):\n    print('x' * 10**8)\n    return 1.0\n"
    assert await run(source) == Outcome(reward=1.0)
    flood = "import os\nwhile True:\n    for n in range(3, 9):\n        try: os.write(n, b'x' * 65536)\n        except OSError: pass"
    assert await failure(flood) == "It said more than it may."


async def test_disk() -> None:
    """A file ends at its limit, and so do all of them together, in size and in number."""
    assert "File too large" in await failure("open('x', 'wb').write(bytes(2**27))")
    many = "n = 0\nwhile True:\n    n += 1\n    open(str(n), 'wb').write(bytes(2**{size}))"
    assert "wrote more than" in await failure(many.format(size=24), seconds=60)
    assert "wrote more than" in await failure(many.format(size=0), seconds=60)
    assert "Operation not permitted" in await failure("import os\nos.mkdir('deep')")


async def test_records_among_the_libraries(caplog: pytest.LogCaptureFixture) -> None:
    """Where the data directory would be readable, nothing is run, and the operator reads why."""
    records = Path(sysconfig.get_path("purelib")) / "records"
    source = "def grade(sample, item):\n    return 1.0\n"
    outcome = await python_grader.grade(Children(), source, SCOPE, private=records, seconds=20)
    assert outcome.reward == 0.0
    assert outcome.errors.python_grader_server_error_type == "sandbox_unavailable"
    assert "which programs can read" in caplog.text


async def test_machine_that_cannot_confine() -> None:
    """Where the machine cannot confine, nothing is run."""

    class Elsewhere(Children):
        async def ask(self, *_: object, **__: object) -> bytes:
            return b'{"unconfined": "cannot confine: Function not implemented"}'

    outcome = await python_grader.grade(Elsewhere(), "", SCOPE, private=PRIVATE, seconds=1)
    assert outcome.reward == 0.0
    assert outcome.errors.python_grader_server_error
    assert outcome.errors.python_grader_server_error_type == "sandbox_unavailable"
