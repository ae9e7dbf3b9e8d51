"""Batches of resident examples: batch k is a pure function of the data, the seed and k."""

from __future__ import annotations

import torch
from torch import Tensor

from trilemma.core.batch import Condition, Examples
from trilemma.core.errors import BadInput
from trilemma.core.model import Stream
from trilemma.core.noise import Noise, mix
from trilemma.data.binarised_mnist import sample_binary
from trilemma.data.dataset import Split

__all__ = ["ExampleStream"]


class ExampleStream(Stream[Examples]):
    """Goes through the examples again and again, in a new order each time.

    The endless sequence is one permutation of the examples after another, permutation e made from
    (seed, e); batch k is its places k B … (k + 1) B - 1, so that no example is left out at an end.

    Arguments:
        split: The examples.
        batch: B, examples a batch.
        seed: Seed of the order and of the batches' noise.

    Raises:
        BadInput: There are fewer examples than a batch holds.
    """

    def __init__(self, split: Split, batch: int, seed: int) -> None:
        if len(split) < batch:
            raise BadInput(
                f"there are {len(split)} training examples and a batch takes {batch}; "
                f"give a batch of {len(split)} or fewer, or more data."
            )
        self.split, self.size, self.seed = split, batch, seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def batch(self, k: int) -> Examples:
        """Return the k-th batch, with labels and captions as its condition where there are any."""
        rows = self.rows(k)
        shades = self.split.shades
        noise = Noise.of(mix(self.seed, "noise", k), self.size)
        if shades is None:
            x = self.split.x[rows]
        else:
            x = sample_binary(shades[rows], self.split.top, noise.named("black and white"))
        return Examples(x, self._condition(rows, noise), noise)

    def _condition(self, rows: Tensor, noise: Noise) -> Condition | None:
        split = self.split
        fields = {"label": split.labels, "tokens": split.tokens, "mask": split.mask}
        parts = {name: value[rows] for name, value in fields.items() if value is not None}
        if split.alternatives is not None and split.alternative_mask is not None:
            mask = split.alternative_mask[rows]
            counts = mask.any(2).sum(1).clamp(min=1)
            chosen = (noise.named("caption").uniform() * counts).long().minimum(counts - 1)
            parts["tokens"] = split.alternatives[rows, chosen]
            parts["mask"] = mask[torch.arange(len(rows)), chosen]
        return Condition(**parts) if parts else None

    def rows(self, k: int) -> Tensor:
        """Return which examples the k-th batch holds, [B]."""
        start, parts = k * self.size, []
        while start < (k + 1) * self.size:
            epoch, offset = divmod(start, len(self.split))
            stop = min(len(self.split), offset + (k + 1) * self.size - start)
            parts.append(self._permutation(epoch)[offset:stop])
            start += stop - offset
        return torch.cat(parts)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(mix(self.seed, "order", epoch))
            self._epoch, self._order = epoch, torch.randperm(len(self.split), generator=generator)
        return self._order
