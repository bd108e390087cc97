"""Whether a model answers a message with its exact code, asked greedily and in bfloat16, as it would be served."""

from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel

from jobs.dataset import read_examples
from jobs.rendering import Renderer, Row


def load(base_dir: Path, model_dir: Path) -> PreTrainedModel:
    """Return a trained model: the base with an adapter, or a whole model of its own."""
    if not (model_dir / "adapter_config.json").exists():
        return AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.bfloat16).eval()
    network = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.bfloat16)
    return PeftModel.from_pretrained(network, model_dir).eval()


@torch.no_grad()
def accuracy(network: PreTrainedModel, base_dir: Path, path: Path) -> float:
    """Return the share of a file's messages that are answered with the whole code and its end.

    A greedy answer is the code exactly when each token of the code, given those before it, is the
    likeliest: one pass tells, and nothing has to be generated.
    """
    renderer = Renderer.load(base_dir)
    rows = [row for example in read_examples(path) for row in renderer.rows(example, 1024)]
    return sum(_answers(network, row) for row in rows) / len(rows)


def _answers(network: PreTrainedModel, row: Row) -> bool:
    token_ids, trained = torch.tensor(row.token_ids), torch.tensor(row.trained)[1:]
    likeliest = network(input_ids=token_ids[None]).logits[0, :-1].argmax(-1)
    return bool((likeliest == token_ids[1:])[trained].all())
