"""What a process gives up before it runs a stranger's program: files, network, processes, memory, time.

Alone knows seccomp and Landlock. Both need no privilege and work within containers, where namespaces mostly do
not; both hold for all threads to come and cannot be taken back. Together:

- System calls: those of a calculation (`_CALLS`); no socket, no new process, no signal to another, no attribute of
  a file outside changed. All else fails with EPERM.
- Files: the interpreter's own libraries can be read, and one flat directory read and written. What lies elsewhere
  can be neither opened nor listed; whether a known path exists, and its size, can still be seen.
- Resources: address space, processor time and a file's size (`Limits`).

Standard library only, and imported by nothing but the process that confines itself.
"""

import ctypes
import errno
import os
import platform
import resource
import struct
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""Landlock's system calls, on every machine."""
_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_OLDEST_LANDLOCK: Final = 3
"""Of its ABI, in Linux 6.2: before, a file that could only be read could still be emptied."""

# Landlock's rights, from `linux/landlock.h`.
_WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE = 1 << 1, 1 << 2, 1 << 3, 1 << 5
_MAKE_REG, _TRUNCATE = 1 << 8, 1 << 14
_ALL_RIGHTS: Final = (1 << 15) - 1
_READ: Final = 1 << 0 | _READ_FILE | _READ_DIR
"""Also to execute: the right by which a shared library is mapped. Starting a process is no system call here."""
_WRITE: Final = _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | _REMOVE_FILE | _MAKE_REG
"""No directories: a tree can be too deep for those who must delete it."""
_RIGHTS_ON_FILES: Final = 1 << 0 | _READ_FILE | _WRITE_FILE | _TRUNCATE

_LIBRARIES: Final = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache",
    "/usr/share/zoneinfo", "/dev/null", "/dev/urandom",
)  # fmt: skip

_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CALLS: Final[dict[str, tuple[int | None, int | None]]] = {
    "access": (21, None), "brk": (12, 214), "chdir": (80, 49), "clock_getres": (229, 114),
    "clock_gettime": (228, 113), "clock_nanosleep": (230, 115), "close": (3, 57),
    "close_range": (436, 436), "copy_file_range": (326, 285), "dup": (32, 23),
    "dup2": (33, None), "dup3": (292, 24), "exit": (60, 93), "exit_group": (231, 94),
    "faccessat": (269, 48), "faccessat2": (439, 439), "fadvise64": (221, 223),
    "fchdir": (81, 50), "fdatasync": (75, 83), "flock": (73, 32), "fstat": (5, 80),
    "fstatfs": (138, 44), "fsync": (74, 82), "ftruncate": (77, 46), "futex": (202, 98),
    "futex_waitv": (449, 449), "get_mempolicy": (239, 236), "get_robust_list": (274, 100),
    "getcwd": (79, 17), "getdents64": (217, 61), "getegid": (108, 177), "geteuid": (107, 175),
    "getgid": (104, 176), "getgroups": (115, 158), "getpgrp": (111, None), "getpid": (39, 172),
    "getppid": (110, 173), "getrandom": (318, 278), "getresgid": (120, 150),
    "getresuid": (118, 148), "getrlimit": (97, 163), "getrusage": (98, 165),
    "gettid": (186, 178), "gettimeofday": (96, 169), "getuid": (102, 174), "lseek": (8, 62),
    "lstat": (6, None), "madvise": (28, 233), "membarrier": (324, 283), "mincore": (27, 232),
    "mmap": (9, 222), "mprotect": (10, 226), "mremap": (25, 216), "msync": (26, 227),
    "munmap": (11, 215), "nanosleep": (35, 101), "newfstatat": (262, 79), "open": (2, None),
    "openat": (257, 56), "pipe": (22, None), "pipe2": (293, 59), "poll": (7, None),
    "ppoll": (271, 73), "pread64": (17, 67), "preadv": (295, 69), "pselect6": (270, 72),
    "pwrite64": (18, 68), "pwritev": (296, 70), "read": (0, 63), "readlink": (89, None),
    "readlinkat": (267, 78), "readv": (19, 65), "rename": (82, None), "renameat": (264, 38),
    "renameat2": (316, 276), "restart_syscall": (219, 128), "rseq": (334, 293),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sched_get_priority_max": (146, 125), "sched_get_priority_min": (147, 126),
    "sched_getaffinity": (204, 123), "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120), "sched_yield": (24, 124), "select": (23, None),
    "set_robust_list": (273, 99), "set_tid_address": (218, 96), "sigaltstack": (131, 132),
    "stat": (4, None), "statfs": (137, 43), "statx": (332, 291), "sysinfo": (99, 179),
    "time": (201, None), "times": (100, 153), "umask": (95, 166), "uname": (63, 160),
    "unlink": (87, None), "unlinkat": (263, 35), "write": (1, 64), "writev": (20, 66),
}  # fmt: skip
"""What a calculation asks of the kernel, by its number on x86_64 and on aarch64 (`asm/unistd.h`)."""
_CLONE: Final = (56, 220)
_CLONE3: Final = (435, 435)
_FCNTL: Final = (72, 25)
_IOCTL: Final = (16, 29)
_PRLIMIT: Final = (302, 261)

_CLONE_THREAD: Final = 0x10000
_FCNTL_SETS_OWNER: Final = (8, 10, 15)
"""F_SETOWN, F_SETSIG and F_SETOWN_EX, by which a file sends signals to any process."""
_IOCTLS: Final = (0x5401, 0x5450, 0x5451)
"""TCGETS (is it a terminal?), FIONCLEX and FIOCLEX."""
_X32: Final = 0x40000000
"""Calls of x86_64's other ABI have numbers from here on."""

# Classic BPF, from `linux/bpf_common.h`; offsets into `struct seccomp_data`.
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_KILL, _ALLOW, _FAIL = 0x80000000, 0x7FFF0000, 0x00050000


class CannotConfine(OSError):
    """The machine lacks what it takes; nothing of a stranger's may run here."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the process may use."""

    seconds: int
    """Of processor time."""
    memory_bytes: int
    """Of address space."""
    file_bytes: int
    """In each file."""


def confine(*, writable: Path, private: Path, limits: Limits) -> None:
    """Give up what the module's docstring says, for good.

    Args:
        writable: The one directory that stays.
        private: A directory that must be out of reach; a check, should it lie among the libraries.
        limits: On everything else.

    Raises:
        CannotConfine: The kernel or the machine does not support it. The process may be half confined.
    """
    try:
        program = _filter(platform.machine())
        _limit_resources(limits)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _restrict_files(writable, private)
        _install(program)
    except OSError as exc:
        raise CannotConfine(exc.errno, f"cannot confine: {exc}") from exc


def _limit_resources(limits: Limits) -> None:
    for kind, limit in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CORE, 0),
        # A second more than the server waits, which tells better why; this one holds where the server is gone.
        (resource.RLIMIT_CPU, limits.seconds + 1),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(kind, (limit, limit))
    # Where the whole machine runs out of memory, this process goes first.
    with suppress(OSError):  # a courtesy
        Path("/proc/self/oom_score_adj").write_text("1000")


def _restrict_files(writable: Path, private: Path) -> None:
    version = _call(_CREATE_RULESET, None, 0, _VERSION)
    if version < _OLDEST_LANDLOCK:
        raise OSError(errno.ENOSYS, "Landlock is older than that of Linux 6.2")
    handled = ctypes.create_string_buffer(struct.pack("=Q", _ALL_RIGHTS), 8)
    ruleset = _call(_CREATE_RULESET, handled, 8, 0)
    paths = sysconfig.get_paths()
    own = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    own |= {str(Path(paths["stdlib"]).parent)}  # libpython
    for path in (*own, *_LIBRARIES):
        if private.resolve().is_relative_to(Path(path).resolve()):
            raise OSError(errno.EACCES, f"{private} lies in {path}, which programs can read")
        _allow(ruleset, Path(path), _READ)
    _allow(ruleset, writable, _WRITE)
    _call(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        rights &= _RIGHTS_ON_FILES
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, beneath), 12)
    _call(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    os.close(beneath)


def _filter(machine: str) -> bytes:
    """Return the BPF program that lets pass what `_CALLS` and `_careful` name."""
    if machine not in _AUDIT_ARCH:
        raise OSError(errno.ENOSYS, f"the system calls of {machine} are not known here")
    column = list(_AUDIT_ARCH).index(machine)
    kill = _instruction(_RETURN, _KILL)
    program = [
        _instruction(_LOAD, _ARCH_AT),
        _instruction(_IF_EQUAL, _AUDIT_ARCH[machine], if_true=1),
        kill,
        _instruction(_LOAD, _NUMBER_AT),
        _instruction(_IF_AT_LEAST, _X32, if_false=1),
        kill,
    ]
    for numbers in _CALLS.values():
        if (number := numbers[column]) is not None:
            program += _on(number, [_instruction(_RETURN, _ALLOW)])
    for numbers, block in _careful():
        program += _on(numbers[column], block)
    program.append(_instruction(_RETURN, _FAIL | errno.EPERM))
    return b"".join(program)


def _careful() -> Iterator[tuple[tuple[int, int], list[bytes]]]:
    """Yield the calls that may pass with some arguments only."""
    allow, fail = _instruction(_RETURN, _ALLOW), _instruction(_RETURN, _FAIL | errno.EPERM)
    # A thread may be made, a process not. The newer call hides its flags: C libraries fall back to the older.
    yield _CLONE, [_argument(0), _instruction(_IF_BITS, _CLONE_THREAD, if_false=1), allow, fail]
    yield _CLONE3, [_instruction(_RETURN, _FAIL | errno.ENOSYS)]
    yield _FCNTL, [_argument(1), *_each(_FCNTL_SETS_OWNER, fail), allow]
    yield _IOCTL, [_argument(1), *_each(_IOCTLS, allow), fail]
    # Limits may be read, not set: the new limit's address is null.
    unset = _instruction(_IF_EQUAL, 0, if_true=1)
    yield _PRLIMIT, [_argument(2), unset, fail, _argument(2, is_upper=True), unset, fail, allow]


def _each(values: Iterable[int], then: bytes) -> list[bytes]:
    return [part for value in values for part in (_instruction(_IF_EQUAL, value, if_false=1), then)]


def _on(number: int, block: list[bytes]) -> list[bytes]:
    return [_instruction(_IF_EQUAL, number, if_false=len(block)), *block]


def _argument(index: int, *, is_upper: bool = False) -> bytes:
    """Load half of a call's argument; both machines are little-endian."""
    return _instruction(_LOAD, _ARGUMENTS_AT + 8 * index + 4 * is_upper)


def _instruction(code: int, value: int, *, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _install(program: bytes) -> None:
    instructions = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(
        struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
    )
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header)


def _prctl(option: int, *arguments: object) -> None:
    padded = (*arguments, 0, 0, 0, 0)[:4]
    _checked(ctypes.CDLL(None, use_errno=True).prctl(option, *map(_long, padded)))


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return _checked(libc.syscall(ctypes.c_long(number), *map(_long, arguments)))


def _long(value: object) -> object:
    # A variadic C function reads a whole register; ctypes would fill half of it.
    return ctypes.c_long(value) if isinstance(value, int) else value


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
