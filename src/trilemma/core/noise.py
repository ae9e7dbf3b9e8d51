r"""Random numbers that belong to an example, not to the batch in which it happens to be computed.

A *block* is a fixed number of rows drawn from one generator. A `Noise` is some rows of one block
or of several, in any order; each draw is made for the whole block, and rows are taken from it. So
example i gets the same numbers whether 1, 3 or 70 examples are asked for, whether one process or
eight share the batch, and whether a batch is computed at once or accumulated in parts.

The loss of an objective draws from `batch.noise`, sampling from the noise that it is given:
a training step is a pure function of (weights, batch), and a sample one of (weights, seed, index).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CHUNK", "Block", "Noise", "mix"]

CHUNK = 64
"""Rows of a block in sampling; part of what a seed means, hence a constant."""


def mix(*parts: int | str) -> int:
    """Hash numbers and words to a seed of 63 bits; different parts give unrelated seeds.

    >>> mix(0, "train", 7) == mix(0, "train", 7), mix(0, 1) == mix(1, 0)
    (True, False)
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True)
class Block:
    """Rows [start, stop) of `total` rows drawn from the generator of `seed`."""

    seed: int
    total: int
    start: int
    stop: int

    def __len__(self) -> int:
        """Return the number of rows taken."""
        return self.stop - self.start


class Noise:
    """A source of random numbers for a batch of examples, one row each.

    Arguments:
        blocks: Where the rows come from, in order.
        device: Where the numbers are drawn; the same seed gives other numbers on another device.
        order: Which of the blocks' rows are taken, [rows] int64; None takes all as they come.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        device: torch.device | str = "cpu",
        order: Tensor | None = None,
    ) -> None:
        """Remember the blocks; generators are made at the first draw."""
        self.blocks = tuple(blocks)
        self.device = torch.device(device)
        self.order = order
        self._generators: list[torch.Generator] | None = None

    @classmethod
    def of(cls, seed: int, rows: int, device: torch.device | str = "cpu") -> Noise:
        """Make the noise of one block with all its rows."""
        return cls([Block(seed, rows, 0, rows)], device)

    @classmethod
    def fresh(cls, rows: int, device: torch.device | str = "cpu") -> Noise:
        """Make noise with a seed from torch's global generator."""
        return cls.of(int(torch.randint(2**62, ()).item()), rows, device)

    @classmethod
    def for_samples(
        cls, seed: int, start: int, stop: int, device: torch.device | str = "cpu"
    ) -> Noise:
        """Make the noise of samples [start, stop): chunk c is block (seed, c) of `CHUNK` rows."""
        chunks = range(start // CHUNK, -(-stop // CHUNK))
        return cls(
            [
                Block(
                    mix(seed, "sample", c),
                    CHUNK,
                    max(start - c * CHUNK, 0),
                    min(stop - c * CHUNK, CHUNK),
                )
                for c in chunks
            ],
            device,
        )

    def __len__(self) -> int:
        """Return the number of rows."""
        if self.order is not None:
            return len(self.order)
        return sum(len(block) for block in self.blocks)

    def __getitem__(self, rows: slice) -> Noise:
        """Take a run of rows; the part starts its draws anew, whatever the whole has drawn."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("noise can be cut into runs of rows only, with a step of 1.")
        if self.order is not None:
            return Noise(self.blocks, self.device, self.order[rows])
        parts, offset = [], 0
        for block in self.blocks:
            low, high = max(start - offset, 0), min(stop - offset, len(block))
            if low < high:
                parts.append(Block(block.seed, block.total, block.start + low, block.start + high))
            offset += len(block)
        return Noise(parts, self.device)

    def to(self, device: torch.device | str) -> Noise:
        """Return the same rows, to be drawn on another device."""
        return Noise(self.blocks, device, self.order)

    def reordered(self, order: Tensor) -> Noise:
        """Return the same rows in another order, to be drawn anew: row i is then row order[i]."""
        order = order.cpu()
        return Noise(self.blocks, self.device, order if self.order is None else self.order[order])

    def named(self, name: str) -> Noise:
        """Return an independent source for the same rows, told apart by a name."""
        return Noise(
            [Block(mix(b.seed, name), b.total, b.start, b.stop) for b in self.blocks],
            self.device,
            self.order,
        )

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers, [rows, *shape]."""
        return self._draw(
            lambda total, g: torch.randn(total, *shape, generator=g, device=self.device)
        )

    def uniform(self, *shape: int) -> Tensor:
        """Draw uniform numbers in [0, 1), [rows, *shape]."""
        return self._draw(
            lambda total, g: torch.rand(total, *shape, generator=g, device=self.device)
        )

    def integers(self, high: int, *shape: int) -> Tensor:
        """Draw integers in [0, high), [rows, *shape], int64."""
        return self._draw(
            lambda total, g: torch.randint(high, (total, *shape), generator=g, device=self.device)
        )

    def _draw(self, draw: Callable[[int, torch.Generator], Tensor]) -> Tensor:
        if self._generators is None:
            self._generators = [
                torch.Generator(self.device).manual_seed(block.seed) for block in self.blocks
            ]
        parts = [
            draw(block.total, generator)[block.start : block.stop]
            for block, generator in zip(self.blocks, self._generators, strict=True)
        ]
        rows = parts[0] if len(parts) == 1 else torch.cat(parts)
        return rows if self.order is None else rows[self.order.to(rows.device)]
