"""`torchrun … -m tests.training.sharded_member`: how far a sharded base is from a whole one that has bfloat16's numbers.

The first process prints relative distances of logits: as it is served, before and after that.
"""

import json

import torch

from jobs.training.group import Group
from jobs.training.layouts import Padded
from jobs.training.model import held_in
from jobs.training.sharding import shard
from tests.training import networks


@torch.no_grad()
def main() -> None:
    group = Group.join(is_sharded=True)
    documents = networks.documents(6, 9, 12)
    rounded, sharded = (networks.tuned(networks.llama(), Padded()) for _ in range(2))
    with held_in(rounded.network, torch.bfloat16):
        numbers = {name: p.data.float() for name, p in rounded.network.named_parameters()}
    sharded = shard(sharded, device=torch.device("cpu"))
    before = sharded.logits(documents)  # leaves the outermost weights gathered
    with sharded.as_served(), rounded.as_served():
        for name, parameter in rounded.network.named_parameters():
            if not parameter.requires_grad:
                parameter.data = numbers[name]
        wanted, served = rounded.logits(documents), sharded.logits(documents)
    after = sharded.logits(documents)
    if group.is_first:
        told = [float((logits - wanted).norm() / wanted.norm()) for logits in (served, before)]
        print(json.dumps([*told, float((after - before).norm())]))
    group.leave()


if __name__ == "__main__":
    main()
