"""The processes that share the work: which rows each computes, and how they agree.

One process is a world too, in which nothing is sent. What starts several is in
`training/distributed.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trilemma.core.batch import Rows
from trilemma.core.errors import BadInput
from trilemma.core.model import Loss, Objective

__all__ = ["Player", "World"]

B = TypeVar("B", bound=Rows)


@dataclass(frozen=True)
class World:
    """The processes that share the work, and which of them this one is."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def single(cls, device: torch.device | None = None) -> World:
        """Return the world of one process."""
        return cls(device=device or torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Tell whether this process writes files and prints."""
        return self.rank == 0

    def shard(self, batch: B, parts: int = 1) -> B:
        """Take this process's rows of a global batch.

        Raises:
            BadInput: The batch does not divide by processes × parts.
        """
        if self.size == parts == 1:
            return batch
        if len(batch) % (self.size * parts):
            raise BadInput(
                f"a batch of {len(batch)} cannot be shared evenly by {self.size} processes with "
                f"{parts} parts each; give a --batch that is a multiple of {self.size * parts}."
            )
        rows = len(batch) // self.size
        return batch[self.rank * rows : (self.rank + 1) * rows]

    def span(self, n: int, rank: int | None = None) -> range:
        """Return the indices in 0 … n - 1 that a process (by default this one) computes."""
        rank = self.rank if rank is None else rank
        return range(rank * n // self.size, (rank + 1) * n // self.size)

    def gather(self, rows: Tensor, n: int) -> Tensor:
        """Join the rows that each process computed of its `span(n)`, in order, [n, …]."""
        if self.size == 1:
            return rows
        max_rows = max(len(self.span(n, rank)) for rank in range(self.size))
        padded = rows.new_zeros(max_rows, *rows.shape[1:]).to(self.device)
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        trimmed = [part[: len(self.span(n, rank))] for rank, part in enumerate(parts)]
        return torch.cat(trimmed).to(rows.device)

    def mean(self, value: Tensor) -> Tensor:
        """Average a tensor over the processes."""
        if self.size > 1:
            dist.all_reduce(value)
            value /= self.size
        return value

    def agree(self, *values: float) -> tuple[float, ...]:
        """Take the largest that any process says, for each value; all get the same answer."""
        if self.size == 1:
            return values
        maxima = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(maxima, dist.ReduceOp.MAX)
        return tuple(maxima.tolist())

    def align(self, model: nn.Module) -> None:
        """Give every process the main one's parameters and buffers."""
        if self.size > 1:
            with torch.no_grad():
                for tensor in (*model.parameters(), *model.buffers()):
                    values = tensor.detach().contiguous()
                    dist.broadcast(values, 0)
                    tensor.copy_(values)

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()

    def player(self, objective: Objective) -> Player:
        """Make an objective's loss one whose gradient is averaged over the processes."""
        if self.size == 1:
            return Player(objective.loss)
        # Importing it takes a second, and a world of one has no use for it.
        from torch.nn.parallel import DistributedDataParallel

        ddp = DistributedDataParallel(_Objective(objective))
        return Player(ddp, ddp.no_sync)


class Player:
    """An objective's loss as training calls it: a batch in, its value and terms out."""

    def __init__(
        self,
        loss: Callable[[Rows], Loss | tuple[Tensor, Mapping[str, Tensor]]],
        alone: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._loss, self._alone = loss, alone

    def __call__(self, batch: Rows) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Compute the loss."""
        loss = self._loss(batch)
        return (loss.value, loss.terms) if isinstance(loss, Loss) else loss

    def gathering(self, *, last: bool) -> AbstractContextManager[None]:
        """Return the context of one part's gradient: processes talk only in the last part."""
        return nullcontext() if last else self._alone()


class _Objective(nn.Module):
    """A module whose parameters are an objective's and whose forward is its loss."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        for index, parameter in enumerate(objective.parameters):
            self.register_parameter(str(index), parameter)
        self._loss = objective.loss

    def forward(self, batch: Rows) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self._loss(batch)
        return loss.value, dict(loss.terms)
