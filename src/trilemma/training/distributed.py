"""Many devices: everything that a process knows of the others.

`torchrun --nproc-per-node 2 -m -- trilemma train …` starts the processes. Each computes its rows
of the same global batch, and torch's `DistributedDataParallel` averages the gradients: losses are
means over examples, so the mean over equal shards is the loss of the whole.

One `DistributedDataParallel` stands around each *objective*: a module whose parameters are
exactly the objective's and whose forward is its loss. The rest of the model is not registered in
it, so that a critic's update never waits for the generator's gradients.

Buffers that a model changes while it trains (a replay buffer, a code book's usage) are merged
after each update. For that a change must be one of two: places that belong to rows of the batch,
each written by the process that holds the row; or the same change in every process. A place that
several processes changed gets their mean (numbers) or maximum (integers, flags). Such changes are
best made in `Objective.after`, which is not called for an update that is left out.
"""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trilemma.core.errors import BadInput
from trilemma.core.world import World

__all__ = ["Buffers", "world"]


class Buffers:
    """A model's buffers, kept equal over the processes; nothing at all in a world of one.

    Arguments:
        model: Whose persistent and passing buffers are watched.
        world: The processes.
    """

    def __init__(self, model: nn.Module, world: World) -> None:
        self.model, self.world = model, world
        self._snapshots: dict[str, tuple[Tensor, int, Tensor]] = {}
        if world.size > 1:
            self._remember(dict(model.named_buffers()))

    @torch.no_grad()
    def merge(self) -> None:
        """Bring the processes' changes since the last call together."""
        if self.world.size == 1:
            return
        buffers = dict(self.model.named_buffers())
        touched = [float(self._is_touched(name, buffer)) for name, buffer in buffers.items()]
        if not touched:
            return
        changed = {
            name: buffer
            for (name, buffer), flag in zip(
                buffers.items(), self.world.agree(*touched), strict=True
            )
            if flag
        }
        for name, buffer in changed.items():
            self._merge(buffer, self._snapshots[name][2])
        self._remember(changed)

    def _is_touched(self, name: str, buffer: Tensor) -> bool:
        remembered, version, _ = self._snapshots[name]
        return buffer is not remembered or buffer._version != version

    def _merge(self, buffer: Tensor, before: Tensor) -> None:
        changed_mask = buffer != before
        writers = changed_mask.to(torch.int32)
        dist.all_reduce(writers)
        if buffer.is_floating_point():
            total = torch.where(changed_mask, buffer, torch.zeros_like(buffer))
            dist.all_reduce(total)
            merged = total / writers.clamp(min=1)
        else:
            low = torch.iinfo(torch.int64).min
            merged = torch.where(changed_mask, buffer.long(), low)
            dist.all_reduce(merged, dist.ReduceOp.MAX)
        buffer.copy_(torch.where(writers > 0, merged.to(buffer.dtype), before))

    def _remember(self, buffers: Mapping[str, Tensor]) -> None:
        for name, buffer in buffers.items():
            self._snapshots[name] = (buffer, buffer._version, buffer.detach().clone())


@contextmanager
def world(device: torch.device, *, minutes: float = 30.0) -> Iterator[World]:
    """Join the processes that torchrun started; without torchrun, be alone.

    Arguments:
        device: Kind of device, 'cpu' (gloo) or 'cuda' (nccl, each process its own).
        minutes: How long one process waits for the others before it gives up.

    Raises:
        BadInput: There are more processes on this machine than GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World.single(device)
        return
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise BadInput(
                f"torchrun started process {local + 1} on a machine with "
                f"{torch.cuda.device_count()} GPUs; give --nproc-per-node that many at most."
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    # Its functions take the group that there is when they are first imported as their default and
    # hold it for ever, and `DistributedDataParallel` imports it. A group that is held keeps its
    # threads, and one that still lets go of a tensor when the interpreter ends aborts the process.
    importlib.import_module("torch.distributed.nn")
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo", timeout=timedelta(minutes=minutes)
    )
    try:
        yield World(dist.get_rank(), size, device)
    finally:
        dist.destroy_process_group()
        gc.collect()  # a `DistributedDataParallel` holds the group, and itself
