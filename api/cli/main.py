"""The entry of every process of ours: picks the command, and the SQLite that it will use."""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import platformdirs
from pydantic import ValidationError

from schemas.settings import Settings

COMMANDS: Final = {
    "serve": "run the server until Ctrl-C",
    "demo": "tune a real model and compare it with its base, in a few minutes",
    "check": "check a training file, and show what would be learned from it",
    "report": "show how a tuned model does next to its base",
    "keys": "create, list, rotate and revoke API keys",
    "projects": "create, list and archive projects, each a tenant of its own",
    "doctor": "say what is missing or wrong on this machine, and what to do",
}


class Command(Protocol):
    """A module of this package that is a command."""

    def main(self, arguments: Sequence[str]) -> int:
        """Run it and return the exit status."""


def main() -> int:
    """Run `retune COMMAND …`."""
    match sys.argv[1:]:
        case [name, *arguments] if name in COMMANDS:
            use_fixed_sqlite()
            command: Command = importlib.import_module(f"api.cli.{name}")
            return command.main(arguments)
        case [] | ["-h" | "--help" | "help", *_]:
            print(_usage())
            return 0
        case [name, *_]:
            print(f"retune: there is no command '{name}'.\n\n{_usage()}", file=sys.stderr)
            return 2
    raise AssertionError


def use_fixed_sqlite() -> None:
    """Let every later `import sqlite3` find pysqlite3, whose SQLite has no WAL-reset bug.

    Must run before anything imports `sqlite3`; where the package is not installed, nothing changes
    and `jobs.store` says what to do.
    """
    try:
        sys.modules["sqlite3"] = importlib.import_module("pysqlite3")
    except ModuleNotFoundError:
        return


def settings_from(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the environment, with this system's usual directories as defaults.

    Raises:
        SystemExit: A variable is malformed; the message names it.
    """
    try:
        return Settings.from_env(
            environ,
            data_dir=Path(platformdirs.user_data_dir("retune", appauthor=False)),
            bases_dir=Path(platformdirs.user_cache_dir("retune", appauthor=False)) / "bases",
        )
    except ValidationError as exc:
        wrong = "; ".join(
            f"RETUNE_{str(error['loc'][0]).upper()}: {error['msg']}" for error in exc.errors()
        )
        sys.exit(f"retune: {wrong}")


def _usage() -> str:
    commands = "\n".join(f"  {name:8} {what}" for name, what in COMMANDS.items())
    return f"usage: retune COMMAND …\n\n{commands}\n\n`retune COMMAND --help` tells more of each."


if __name__ == "__main__":
    sys.exit(main())
