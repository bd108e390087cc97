"""Full fine-tuning, the other side of `make bench-methods`: a plain loop that does without waste what can be done simply.

Float32 weights and moments, products in bfloat16, padding only within a step, the head only where a token is
learned, one fused AdamW; examples, schedule and clipping are those of the product's trainer.
"""

import dataclasses
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, PreTrainedModel

from jobs.dataset import read_examples
from jobs.rendering import Renderer, Row
from tests.bench.methods.results import Task, Trained
from tests.bench.training.runs import print_result, rates

_MAX_GRAD_NORM = 1.0


def loss_of(network: PreTrainedModel, rows: list[Row]) -> torch.Tensor:
    """Return the mean loss over the trained tokens of a step, in nats."""
    shape = len(rows), max(len(row.token_ids) for row in rows)
    token_ids = torch.zeros(shape, dtype=torch.int64)
    is_token, trained = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    for place, row in enumerate(rows):
        length = len(row.token_ids)
        token_ids[place, :length] = torch.tensor(row.token_ids)
        is_token[place, :length] = True
        trained[place, :length] = torch.tensor(row.trained)
    # A token is predicted where the one before it stands.
    with torch.autocast("cpu", torch.bfloat16):
        hidden = network.model(
            input_ids=token_ids, attention_mask=is_token.long(), use_cache=False
        ).last_hidden_state
        logits = network.lm_head(hidden[:, :-1][trained[:, 1:]])
    return cross_entropy(logits.float(), token_ids[trained])


def batches(task: Task, rows: list[Row]) -> Iterator[list[Row]]:
    """Yield the rows of each step: another order in each epoch."""
    for epoch in range(task.n_epochs):
        order = rows.copy()
        random.Random(f"{task.seed} {epoch}").shuffle(order)
        for first in range(0, len(order), task.batch_size):
            yield order[first : first + task.batch_size]


def train(network: PreTrainedModel, steps: list[list[Row]], *, learning_rate: float) -> None:
    """Train all parameters.

    Args:
        network: Float32.
        steps: The rows of each.
        learning_rate: The peak.
    """
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, weight_decay=0.0, fused=True)
    for step, rate in zip(steps, rates(learning_rate, len(steps)), strict=True):
        optimizer.param_groups[0]["lr"] = rate
        loss_of(network, step).backward()
        torch.nn.utils.clip_grad_norm_(parameters, _MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()


def main() -> None:
    """Train what standard input asks for."""
    task = Task.from_json(sys.stdin.read())
    torch.set_num_threads(1)
    renderer = Renderer.load(Path(task.base_dir))
    examples = read_examples(Path(task.training_path))
    rows = [row for example in examples for row in renderer.rows(example, 1024)]
    network = AutoModelForCausalLM.from_pretrained(task.base_dir, dtype=torch.float32)
    steps = list(batches(task, rows))
    began = time.process_time()
    train(network, steps, learning_rate=task.configuration.learning_rate)
    cpu_seconds = time.process_time() - began
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    model_dir = Path(task.work_dir) / "model"
    network.bfloat16().save_pretrained(model_dir)
    trained = Trained(
        model_dir=str(model_dir),
        trained_parameters=sum(parameter.numel() for parameter in network.parameters()),
        saved_bytes=sum(path.stat().st_size for path in model_dir.glob("*.safetensors")),
        cpu_seconds=cpu_seconds,
        peak_bytes=peak_bytes,
    )
    print_result(dataclasses.asdict(trained))


if __name__ == "__main__":
    main()
