"""How an engine is started: its command line, its environment, its process."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.settings import Settings
from serving.engine import (
    EngineFailed,
    EngineProcess,
    command_line,
    environment,
    internal_base_name,
    read_cpu_flags,
    serving_dtype,
    tool_parser,
)
from tests.serving.conftest import NANO_DIR

SOCKET = Path("/run/retune/vllm.sock")


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def cpu_command(base, settings: Settings) -> list[str]:
    return command_line(base, settings, socket=SOCKET, device="cpu", dtype="bfloat16")


def test_it_listens_on_a_socket_under_an_opaque_name(nano, settings):
    """The engine listens on a unix socket, and knows its base by a name that shows nothing."""
    command = cpu_command(nano, settings)
    assert option(command, "--uds") == str(SOCKET)
    assert (
        option(command, "--served-model-name")
        == internal_base_name(nano)
        == "base-5eed5eed5eed5eed"
    )
    assert "--host" not in command
    assert "--port" not in command


def test_a_base_that_embeds_has_no_adapters(nano, settings):
    """An engine for vectors is started for those, and for nothing that only text needs."""
    command = cpu_command(nano.model_copy(update={"task": "embed"}), settings)
    assert option(command, "--runner") == "pooling"
    assert not {"--enable-lora", "--tool-call-parser", "--generation-config"} & set(command)
    assert "--runner" not in cpu_command(nano, settings)


@pytest.mark.parametrize(
    ("asked", "bucket"), [(1, "1"), (16, "16"), (24, "32"), (64, "64"), (9999, "512")]
)
def test_ranks_go_up_to_one_that_vllm_takes(nano, settings, asked, bucket):
    """The largest rank is rounded up to one of vLLM's."""
    command = cpu_command(nano, settings.model_copy(update={"max_lora_rank": asked}))
    assert option(command, "--max-lora-rank") == bucket


def test_live_adapters_stay_in_memory(nano, settings):
    """There is always room for more adapters in memory than answer in one step."""
    command = cpu_command(nano, settings.model_copy(update={"engine_max_adapters": 600}))
    assert option(command, "--max-loras") == option(command, "--max-cpu-loras") == "600"


def test_adapters_are_for_linear_layers_only(nano, settings):
    """LoRA is switched on for the kinds of linear layers that the base has, and not for its head."""
    command = cpu_command(nano, settings)
    start = command.index("--lora-target-modules") + 1
    assert command[start : start + 7] == [
        "down_proj",
        "gate_proj",
        "k_proj",
        "o_proj",
        "q_proj",
        "up_proj",
        "v_proj",
    ]
    assert command[start + 7].startswith("--")


def test_the_cache_holds_one_full_context(nano, settings):
    """A cache too small for one conversation, with which vLLM would not start, is enlarged."""
    small = settings.model_copy(update={"engine_memory_mb": 1})
    context_bytes = 1024 * 6 * 2 * 32 * 2 * 2
    assert int(option(cpu_command(nano, small), "--kv-cache-memory-bytes")) >= context_bytes
    assert option(cpu_command(nano, settings), "--kv-cache-memory-bytes") == str(256 * 2**20)


def test_a_gpu_takes_its_share(nano, settings):
    """On a GPU the engine takes the configured share of its memory."""
    shared = settings.model_copy(update={"engine_gpu_memory": 0.3})
    command = command_line(nano, shared, socket=SOCKET, device="cuda", dtype="bfloat16")
    assert option(command, "--gpu-memory-utilization") == "0.3"
    assert "--kv-cache-memory-bytes" not in command


def test_tool_calls_are_read_as_the_template_writes_them(nano, settings):
    """Our own template's calls are read by the parser for Hermes."""
    command = cpu_command(nano, settings)
    assert option(command, "--tool-call-parser") == "hermes"
    assert "--enable-auto-tool-choice" in command


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ("<tool_call>\n{", "hermes"),
        ("<tool_call>\n<function=", "qwen3_xml"),
        ("[TOOL_CALLS]", "mistral"),
        ("<|python_tag|>", "llama3_json"),
        ("{{ messages }}", None),
    ],
)
def test_parsers_follow_the_templates_family(template, parser):
    """A template tells its family by the marks that it puts around a call."""
    assert tool_parser(template) == parser


def test_a_base_that_cannot_call_tools_is_served(nano, settings, tmp_path):
    """A base whose template knows no tools is started without a parser."""
    plain = Path(shutil.copytree(NANO_DIR, tmp_path / "plain"))
    (plain / "chat_template.jinja").unlink()
    config = plain / "tokenizer_config.json"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"chat_template": "{{ messages }}"})
    )
    command = cpu_command(nano.model_copy(update={"directory": plain}), settings)
    assert "--tool-call-parser" not in command
    assert "--enable-auto-tool-choice" not in command


def test_no_secret_reaches_vllm():
    """Of our environment only what a program needs to run is passed on."""
    ours = {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "1",
        "RETUNE_DATABASE_URL": "postgresql://u:p@h/d",
        "RETUNE_API_KEY": "sk-1",
        "OPENAI_API_KEY": "sk-2",
        "HF_TOKEN": "hf",
        "PYTHONPATH": "/x",
        "VLLM_PLUGINS": "lora_filesystem_resolver",
    }
    passed = environment(ours, device="cpu")
    assert passed["PATH"] == "/bin"
    assert passed["CUDA_VISIBLE_DEVICES"] == "1"
    assert passed["VLLM_PLUGINS"] == "retune_cpu_lora"
    assert passed.keys().isdisjoint(ours.keys() - {"PATH", "CUDA_VISIBLE_DEVICES", "VLLM_PLUGINS"})


def test_vllm_stays_offline():
    """No hub and no statistics are called, on either device."""
    for device in ("cpu", "cuda"):
        passed = environment({}, device=device)
        assert passed["HF_HUB_OFFLINE"] == passed["VLLM_NO_USAGE_STATS"] == "1"


@pytest.mark.parametrize(
    ("device", "flags", "dtype"),
    [
        ("cpu", {"avx2"}, "float32"),
        ("cpu", {"avx2", "avx512_bf16"}, "bfloat16"),
        ("cpu", {"amx_bf16"}, "bfloat16"),
        ("cuda", set(), "bfloat16"),
    ],
)
def test_the_dtype_is_what_the_hardware_computes_in(device, flags, dtype):
    """It serves in bfloat16 where the hardware computes in it, else in float32."""
    assert serving_dtype(device, frozenset(flags)) == dtype


def test_cpu_flags_are_the_first_processors(tmp_path):
    """The kernel's list of flags is read; where there is none, there are no flags."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor\t: 1\nflags\t\t: fpu\n"
    )
    assert read_cpu_flags(cpuinfo) == {"fpu", "avx2", "avx512_bf16"}
    assert read_cpu_flags(tmp_path / "none") == frozenset()


@pytest.mark.anyio
async def test_a_base_that_is_not_there_is_named(nano, settings, short_tmp_path):
    """A directory without a model fails at once, with the base's public name."""
    gone = nano.model_copy(update={"directory": short_tmp_path / "gone"})
    engine = EngineProcess(
        gone, settings, socket=short_tmp_path / "s", log_path=short_tmp_path / "log"
    )
    with pytest.raises(EngineFailed, match="retune-nano"):
        await engine.start()


STARTS_AND_WAITS = """
import asyncio, sys
from pathlib import Path
from schemas.bases import BaseModelInfo
from schemas.settings import Settings
from serving.engine import EngineProcess

async def main(base, directory):
    settings = Settings(data_dir=directory, bases_dir=directory)
    engine = EngineProcess(base, settings, socket=directory / "s", log_path=directory / "log")
    await engine.start()
    print(engine.pid, flush=True)
    await engine.wait()

asyncio.run(main(BaseModelInfo.model_validate_json(sys.argv[1]), Path(sys.argv[2])))
"""


@pytest.mark.engine
def test_the_engine_ends_with_a_killed_parent(nano, short_tmp_path):
    """When the process that started it is killed, the engine ends as well."""
    arguments = [
        sys.executable,
        "-c",
        STARTS_AND_WAITS,
        nano.model_dump_json(),
        str(short_tmp_path),
    ]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        engine_pid = int(parent.stdout.readline())
        # Held before it can end, so that its number cannot become another's.
        engine = os.pidfd_open(engine_pid)
        parent.send_signal(signal.SIGKILL)
    with asyncio.Runner() as runner:
        runner.run(_ended(engine))


async def _ended(pidfd: int) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(pidfd, ended.set)
    async with asyncio.timeout(60):
        await ended.wait()


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.anyio
async def test_a_base_that_vllm_refuses_tells_why(nano, settings, short_tmp_path):
    """An engine that dies while it starts raises with vLLM's own reason, and leaves nothing running."""
    broken = Path(shutil.copytree(NANO_DIR, short_tmp_path / "broken"))
    config = broken / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_attention_heads": 5}))
    engine = EngineProcess(
        nano.model_copy(update={"directory": broken}),
        settings,
        socket=short_tmp_path / "s",
        log_path=short_tmp_path / "log",
    )
    await engine.start()
    with pytest.raises(EngineFailed, match=r"retune-nano: \w+Error: .*5"):
        await engine.wait_until_healthy()
    await engine.stop()
    assert engine.returncode is not None
