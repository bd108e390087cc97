"""The one judge of both trainers' adapters: mean loss on held-out chats, in float32 with transformers and PEFT alone."""

from collections.abc import Iterable
from pathlib import Path

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from jobs.rendering import Row


def heldout_losses(base_dir: Path, adapters: Iterable[Path], rows: list[Row]) -> list[float]:
    """Return the base's loss, then that of each adapter, in nats."""
    network = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32).eval()
    losses = [_mean_loss(network, rows)]
    for adapter_dir in adapters:
        tuned = PeftModel.from_pretrained(network, adapter_dir).eval()
        losses.append(_mean_loss(tuned, rows))
        network = tuned.unload()
    return losses


@torch.no_grad()
def _mean_loss(network: torch.nn.Module, rows: list[Row]) -> float:
    # Row by row: there is no padding to get wrong.
    total, n_trained = 0.0, 0
    for row in rows:
        token_ids, trained = torch.tensor(row.token_ids), torch.tensor(row.trained)[1:]
        logits = network(input_ids=token_ids[None]).logits[0, :-1][trained]
        total += float(cross_entropy(logits, token_ids[1:][trained], reduction="sum"))
        n_trained += int(trained.sum())
    return total / n_trained
