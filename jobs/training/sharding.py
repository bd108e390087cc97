"""A frozen base in pieces, one on each process: for bases that do not fit on one device."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from jobs.training.model import LoadedBase, TunedModel, fast_dtype
from schemas.training import TrainingSpec


def load_sharded(spec: TrainingSpec) -> TunedModel:
    """Load the spec's base and adapter, and keep only this process's part of the base.

    Every process reads the whole base into the machine's memory first, where it must fit as often as there
    are processes.

    Raises:
        JobFailure: As `TunedModel.load`.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # On the CPU: whole, it may not fit on the device.
    base = LoadedBase.load(spec.base_dir, device=torch.device("cpu"), dtype=fast_dtype(device))
    return shard(TunedModel.without_kernels(base, spec), device=device)


def shard(model: TunedModel, *, device: torch.device) -> TunedModel:
    """Spread the base's weights over the group's processes, a block at a time (FSDP2).

    Each process gathers a block when it comes to it, and lets it go after. The adapter stays whole
    everywhere: it is small, and every process takes the same steps with it.

    Args:
        model: On the CPU, without kernels.
        device: Where the pieces go.
    """
    network, adapter = model.network, set(model.parameters.values())
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    blocks = set(network._no_split_modules or ())  # noqa: SLF001 - has no public reader
    for module in network.modules():
        if type(module).__name__ in blocks:
            fully_shard(module, mesh=mesh, ignored_params=adapter)
    fully_shard(network, mesh=mesh, ignored_params=adapter)
    for parameter in adapter:
        parameter.data = parameter.data.to(device)
    return replace(model, hold=rounded_to)


@contextmanager
def rounded_to(network: PreTrainedModel, dtype: torch.dtype) -> Iterator[None]:
    """Round a sharded base's weights for a time; they are multiplied in their own dtype as before.

    Where they lie: FSDP2 gathers what it has a view of, so that other data would not be looked at.
    """
    _let_go(network)
    pieces = [
        parameter.to_local()
        for parameter in network.parameters()
        if isinstance(parameter, DTensor) and parameter.dtype == network.dtype != dtype
    ]
    kept = [piece.clone() for piece in pieces]
    with torch.no_grad():
        for piece in pieces:
            piece.copy_(piece.to(dtype))
    try:
        yield
    finally:
        _let_go(network)
        with torch.no_grad():
            for piece, numbers in zip(pieces, kept, strict=True):
                piece.copy_(numbers)


def _let_go(network: PreTrainedModel) -> None:
    """Drop what was gathered and kept: after a forward pass alone, the outermost weights are."""
    for module in network.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
