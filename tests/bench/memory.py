"""What a training step holds, beside the estimate: `python -m tests.bench.memory [BASE_DIRECTORY …]`.

Peaks of the resident set, in a process of its own for each base, over what it held before the base was
loaded. Without arguments: the tiny base, and a random one of 16 million parameters. CPU only.
"""

import argparse
import ctypes
import gc
import subprocess
import sys
import tempfile
from pathlib import Path

from jobs.bases.catalog import NANO_DIRECTORY

TOKENS = (256, 512, 1024, 2048, 4096)
DOCUMENT = 256
TRAINED_SHARE = 1 / 3


def memory_of_this_process(field: str) -> int:
    """Return `VmRSS` or `VmHWM`, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def forget_the_peak() -> int:
    """Let the peak begin anew, from what is held now; return that."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return memory_of_this_process("VmRSS")


def measure(base_dir: Path, tokens: list[int]) -> None:
    """Print a line for each number of tokens at once."""
    # Only here: the parent needs no torch.
    import torch  # noqa: PLC0415

    from jobs.memory_estimate import Shape  # noqa: PLC0415
    from jobs.training.corpus import Batch, Document  # noqa: PLC0415
    from jobs.training.model import TunedModel  # noqa: PLC0415
    from jobs.training.run import Run  # noqa: PLC0415
    from schemas.training import LoraSpec, OptimizerSpec, TrainingSpec  # noqa: PLC0415

    torch.set_num_threads(1)
    before = forget_the_peak()
    spec = TrainingSpec(
        base_dir=base_dir, training_path=base_dir, work_dir=base_dir, n_epochs=1, batch_size=1,
        learning_rate=1e-4, seed=1, context_length=DOCUMENT, lora=LoraSpec(),
    )  # fmt: skip
    model = TunedModel.load(spec)
    run = Run(model, optimizer=OptimizerSpec(), seed=1, tell=print)
    generator = torch.Generator().manual_seed(5)

    def document() -> Document:
        ids = torch.randint(3, model.vocabulary_size, (DOCUMENT,), generator=generator)
        trained = torch.arange(DOCUMENT) >= round(DOCUMENT * (1 - TRAINED_SHARE))
        return Document(ids.int(), trained, n_trained=int(trained.sum()))

    bytes_each = model.network.dtype.itemsize
    shape = Shape.read(base_dir)
    assert shape is not None
    n_parameters = model.network.num_parameters()
    n_trainable = sum(parameter.numel() for parameter in model.parameters.values())
    fixed = shape.weights_bytes(n_parameters, bytes_each=bytes_each) + shape.adapter_bytes(
        n_trainable
    )
    print(
        f"{base_dir.name} {model.network.dtype}; process before: {before / 1e6:,.0f} MB", flush=True
    )
    for n_tokens in tokens:
        run.budget.tokens = n_tokens
        documents = [document() for _ in range(n_tokens // DOCUMENT)]
        forget_the_peak()
        run.take_step(Batch(documents, n_tokens), learning_rate=1e-4)
        peak = memory_of_this_process("VmHWM") - before
        n_trained = sum(each.n_trained for each in documents)
        estimate = (
            shape.step_bytes(
                n_tokens=n_tokens, n_trained=n_trained, longest=DOCUMENT, bytes_each=bytes_each
            )
            + fixed
        )
        print(
            f"  {n_tokens:6,} tokens: measured {peak / 1e6:8,.1f} MB, estimated "
            f"{estimate / 1e6:8,.1f} MB, {100 * (estimate / peak - 1):+.0f} %",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bases", nargs="*", type=Path)
    parser.add_argument("--here", action="store_true", help="in this process")
    parser.add_argument("--tokens", nargs="*", type=int, default=TOKENS)
    options = parser.parse_args()
    if options.here:
        for base in options.bases:
            measure(base, options.tokens)
        return
    tokens = [str(number) for number in options.tokens]
    with tempfile.TemporaryDirectory() as directory:
        bases = options.bases or [NANO_DIRECTORY, random_base(Path(directory) / "random-16m")]
        for base in bases:
            command = [
                sys.executable,
                "-m",
                "tests.bench.memory",
                "--here",
                str(base),
                "--tokens",
                *tokens,
            ]
            subprocess.run(command, check=True)


def random_base(directory: Path) -> Path:
    """Write a base of random weights: 8 layers of 384, a vocabulary of 32,768."""
    from transformers import Qwen2Config, Qwen2ForCausalLM  # noqa: PLC0415

    config = Qwen2Config(
        vocab_size=32_768, hidden_size=384, intermediate_size=1024, num_hidden_layers=8,
        num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    Qwen2ForCausalLM(config).bfloat16().save_pretrained(directory)
    return directory


if __name__ == "__main__":
    main()
