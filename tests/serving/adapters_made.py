"""Adapters made with PEFT on a base, and what the trainer would say of them: `proof.json`."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from schemas.proof import Proof, ProofExample

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Row:
    """A rendered conversation: its tokens, and where its answer begins."""

    token_ids: list[int]
    answer_start: int


def chatml_row(base_dir: Path, question: str, answer: str) -> Row:
    tokenizer = Tokenizer.from_file(str(base_dir / "tokenizer.json"))
    prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    answer_ids = tokenizer.encode(f"{answer}<|im_end|>", add_special_tokens=False).ids
    return Row(token_ids=prompt_ids + answer_ids, answer_start=len(prompt_ids))


def load_base(base_dir: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.bfloat16).eval()


def new_adapter(
    base_dir: Path, *, rank: int = 8, alpha: int = 16, seed: int = 0, **format: object
) -> PeftModel:
    torch.manual_seed(seed)
    asked = {"target_modules": "all-linear", "task_type": "CAUSAL_LM"} | format
    config = LoraConfig(r=rank, lora_alpha=alpha, **asked)
    return get_peft_model(load_base(base_dir), config)


def random_adapter(
    base_dir: Path, adapter_dir: Path, *, scale: float, seed: int = 0, **format: object
) -> Path:
    """Write an adapter with random numbers of a size: 0.1 changes likelihoods, 0.4 garbles answers.

    `format` is of PEFT's `LoraConfig`, such as `use_dora`.
    """
    model = new_adapter(base_dir, seed=seed, **format)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=scale)
            if "magnitude" in name or "modules_to_save" in name:
                parameter.mul_(1 + 2 * scale)
    return save(model, adapter_dir)


def trained_adapter(
    base_dir: Path, adapter_dir: Path, rows: Sequence[Row], *, steps: int, seed: int = 0
) -> Path:
    """Write an adapter that learnt the answers of `rows`, a few at a time."""
    model = new_adapter(base_dir, seed=seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3)
    for step in range(steps):
        for row in [rows[(step * 4 + k) % len(rows)] for k in range(4)]:
            (-_logprobs(model, row.token_ids)[row.answer_start - 1 :].mean() / 4).backward()
        optimizer.step()
        optimizer.zero_grad()
    return save(model, adapter_dir)


def save(model: PeftModel, adapter_dir: Path) -> Path:
    model.save_pretrained(str(adapter_dir), safe_serialization=True)
    return adapter_dir


def changed_base(base_dir: Path, copy_dir: Path, *, noise: float) -> Path:
    """Copy a base with every weight off by a share of its matrix's size, as another training leaves it."""
    shutil.copytree(base_dir, copy_dir)
    torch.manual_seed(0)
    tensors = load_file(copy_dir / "model.safetensors")
    changed = {n: t + noise * t.float().std() * torch.randn(t.shape) for n, t in tensors.items()}
    weights = {n: t.to(tensors[n].dtype) for n, t in changed.items()}
    save_file(weights, copy_dir / "model.safetensors", metadata={"format": "pt"})
    return copy_dir


def changed_copy(adapter_dir: Path, copy_dir: Path, **config: object) -> Path:
    """Copy an adapter, with other values in its configuration."""
    shutil.copytree(adapter_dir, copy_dir)
    path = copy_dir / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return copy_dir


def renamed_copy(adapter_dir: Path, copy_dir: Path, old: str, new: str) -> Path:
    """Copy an adapter, with other names of its tensors."""
    shutil.copytree(adapter_dir, copy_dir)
    tensors = load_file(copy_dir / WEIGHTS)
    save_file({name.replace(old, new): t for name, t in tensors.items()}, copy_dir / WEIGHTS)
    return copy_dir


def partial_copy(adapter_dir: Path, copy_dir: Path, without: str) -> Path:
    """Copy an adapter but for the layers that have this in their names."""
    shutil.copytree(adapter_dir, copy_dir)
    tensors = load_file(copy_dir / WEIGHTS)
    save_file({n: t for n, t in tensors.items() if without not in n}, copy_dir / WEIGHTS)
    return copy_dir


def scaled_copy(adapter_dir: Path, copy_dir: Path, factor: float) -> Path:
    """Copy an adapter with every B matrix multiplied: 0 makes it do nothing, nan spoils it."""
    shutil.copytree(adapter_dir, copy_dir)
    tensors = load_file(copy_dir / WEIGHTS)
    changed = {n: t * factor if "lora_B" in n else t for n, t in tensors.items()}
    save_file(changed, copy_dir / WEIGHTS)
    return copy_dir


def proof_of(base_dir: Path, adapter_dir: Path, rows: Sequence[Row]) -> Proof:
    """Return what the trainer knows of an adapter, as transformers and PEFT compute it, at every token."""
    model = PeftModel.from_pretrained(load_base(base_dir), str(adapter_dir)).eval()
    examples = []
    with torch.no_grad():
        for row in rows:
            tuned = _logprobs(model, row.token_ids)
            with model.disable_adapter():
                base = _logprobs(model, row.token_ids)
            examples.append(
                ProofExample(
                    token_ids=row.token_ids,
                    positions=list(range(1, len(row.token_ids))),
                    base_logprobs=base.tolist(),
                    tuned_logprobs=tuned.tolist(),
                )
            )
    return Proof(base_digest="b", template_digest="t", from_validation=True, examples=examples)


def _logprobs(model: torch.nn.Module, token_ids: Sequence[int]) -> torch.Tensor:
    """Return log p of each token but the first: (tokens - 1,)."""
    ids = torch.tensor([list(token_ids)])
    logits = model(input_ids=ids).logits[0, :-1].float()
    return logits.log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
