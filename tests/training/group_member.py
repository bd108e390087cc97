"""`torchrun … -m tests.training.group_member SPEC`: three steps in float32; then their proof; the first prints."""

import json
import sys

import torch

from jobs.rendering import Renderer
from jobs.training.data import Data
from jobs.training.group import ALONE, Group
from jobs.training.model import LoadedBase, TunedModel
from jobs.training.plan import Plan
from jobs.training.proof import Prover
from jobs.training.run import Run
from jobs.training.sharding import shard
from schemas.training import TrainingSpec


def main() -> None:
    spec = TrainingSpec.model_validate_json(sys.argv[1])
    group = Group.join(is_sharded=spec.is_sharded) if spec.n_processes > 1 else ALONE
    device = torch.device("cpu")
    base = LoadedBase.load(spec.base_dir, device=device, dtype=torch.float32)
    if group.is_sharded:
        model = shard(TunedModel.without_kernels(base, spec), device=device)
    else:
        model = TunedModel.on(base, spec)
    run = Run(model, optimizer=spec.optimizer, seed=spec.seed, tell=print, group=group)
    data = Data.load(spec, Renderer.load(spec.base_dir))
    plan = Plan.of(spec, n_examples=len(data.training))
    losses = [
        run.take_step(data.training.batch(examples), learning_rate=1e-3).loss
        for _, examples in plan.batches(after=plan.total_steps - 3)
    ]
    proof = Prover.of(spec, data, model.layout).prove(model, run.budget)
    if group.is_first:
        weights = {name: weight.tolist() for name, weight in run.model.parameters.items()}
        told = [[*example.base_logprobs, *example.tuned_logprobs] for example in proof.examples]
        print(json.dumps({"losses": losses, "weights": weights, "logprobs": told}))
    group.leave()


if __name__ == "__main__":
    main()
