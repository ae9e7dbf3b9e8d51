"""Batches: frozen dataclasses of batch-first tensors that can be cut into rows and moved.

`Rows` is the whole protocol. A field is a tensor whose first axis is the batch, another `Rows`,
a `Noise`, `None`, or a plain value that belongs to the batch as a whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from trilemma.core.noise import Noise

__all__ = ["Condition", "Examples", "Rows"]


@dataclass(frozen=True)
class Rows:
    """What every batch can do: tell its length, be cut into runs of rows, move to a device."""

    def __len__(self) -> int:
        """Return the number of examples."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor | Rows | Noise):
                return len(value)
        raise TypeError(f"{type(self).__name__} holds no rows.")

    def __getitem__(self, rows: slice) -> Self:
        """Take a run of rows, as views."""
        return self._each(lambda value: value[rows])

    def reordered(self, order: Tensor) -> Self:
        """Take rows in another order, or some of them: row i is then row order[i]."""
        return self._each(
            lambda value: (
                value[order.to(value.device)]
                if isinstance(value, Tensor)
                else value.reordered(order)
            )
        )

    def to(self, device: torch.device | str) -> Self:
        """Move every tensor, and where noise is drawn."""
        return self._each(lambda value: value.to(device))

    def _each(self, change: Callable[[Any], Any]) -> Self:
        changed = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            changed[field.name] = (
                change(value) if isinstance(value, Tensor | Rows | Noise) else value
            )
        return dataclasses.replace(self, **changed)


@dataclass(frozen=True)
class Condition(Rows):
    """What a sample is asked to be. Every part is optional; all are batch-first.

    A row with `present` false says nothing: networks put their learned null in its place.
    It is what guidance compares with, and what label dropout trains.
    """

    label: Tensor | None = None
    """Class index, [B], int64."""
    tokens: Tensor | None = None
    """Token indices, [B, M], int64."""
    mask: Tensor | None = None
    """Which tokens are real, [B, M], bool."""
    image: Tensor | None = None
    """An image to be continued, enlarged or translated, [B, C, H, W], data units."""
    properties: Tensor | None = None
    """Wanted properties, [B, P], float."""
    points: Tensor | None = None
    """Which points a cloud has, [B, N], bool: its size is known whatever else is said."""
    present: Tensor | None = None
    """Which rows say anything, [B], bool; None means all."""

    def unconditional(self) -> Condition | None:
        """Return what stays where nothing is said: the size of a cloud, if it is one."""
        return None if self.points is None else Condition(points=self.points)

    def null(self) -> Condition:
        """Return a condition of the same shapes that says nothing."""
        some = next(
            v
            for v in (
                self.label,
                self.tokens,
                self.image,
                self.properties,
                self.points,
                self.present,
            )
            if v is not None
        )
        nothing = torch.zeros(len(some), dtype=torch.bool, device=some.device)
        return dataclasses.replace(self, present=nothing)

    @classmethod
    def sample(cls, frequencies: Sequence[float], noise: Noise) -> Condition:
        """Sample classes by their frequencies, one for each row of the noise."""
        u = noise.uniform()
        edges = torch.tensor(frequencies, device=u.device).cumsum(0)[:-1]
        return cls(label=torch.bucketize(u, edges, right=True))

    def partly_hidden(self, share: float, noise: Noise) -> Condition:
        """Silence a share of the rows, drawn by chance: what trains a network's null."""
        if share <= 0:
            return self
        return self.dropped(noise.named("hidden").uniform() < share)

    def dropped(self, drop: Tensor) -> Condition:
        """Silence the rows where `drop`, [B] bool, is true."""
        present = ~drop if self.present is None else self.present & ~drop
        return dataclasses.replace(self, present=present)


@dataclass(frozen=True)
class Examples(Rows):
    """Images, points or codes, with what is known of each and the noise of this step."""

    x: Tensor
    """The data as they lie in the file: [B, C, H, W] or [B, D]; uint8 levels or floats."""
    condition: Condition | None = None
    noise: Noise | None = None
    """Random numbers for this batch's loss, a row an example."""
