"""Batches of point clouds of like size: little is computed for points that are not there."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trilemma.core.batch import Condition, Examples
from trilemma.core.errors import BadInput
from trilemma.core.model import Stream
from trilemma.core.noise import Noise, mix

__all__ = ["PointCloudStream", "rotations"]

WINDOW = 16
"""Batches that are drawn together and sorted by size among themselves."""


def rotations(noise: Noise) -> Float[Tensor, "B 3 3"]:
    """Draw a rotation for each row of the noise, evenly: Q of a normal matrix."""
    q, r = torch.linalg.qr(noise.normal(3, 3))
    q = q * r.diagonal(dim1=1, dim2=2).sign()[:, None]
    return q * torch.linalg.det(q).sign()[:, None, None]


class PointCloudStream(Stream[Examples]):
    """Goes through the clouds again and again, in a new order each time.

    Epoch e is a permutation of the clouds made from (seed, e). Runs of `WINDOW` batches of it are
    sorted by size and cut into batches, which are then put into a new order, so that the clouds
    of a batch have about the same number of points; a batch is as wide as its largest. What does
    not fill a last batch is filled from the beginning of the permutation. Batch k is a pure
    function of the clouds, the seed and k.

    Arguments:
        x: Clouds, or codes of them, [M, N, D].
        mask: Which points are there, [M, N].
        batch: B, clouds a batch.
        seed: Seed of the order and of the batches' noise.
        properties: Of each cloud, which become a part of its condition.
        is_turned: Whether each cloud is rotated at random, each time it comes.

    Raises:
        BadInput: There are fewer clouds than a batch holds.
    """

    def __init__(
        self,
        x: Float[Tensor, "M N D"],
        mask: Bool[Tensor, "M N"],
        batch: int,
        seed: int,
        *,
        properties: Float[Tensor, "M P"] | None = None,
        is_turned: bool = False,
    ) -> None:
        if len(x) < batch:
            raise BadInput(
                f"there are {len(x)} training examples and a batch takes {batch}; "
                f"give a batch of {len(x)} or fewer, or more data."
            )
        self.x, self.mask, self.size, self.seed = x, mask, batch, seed
        self.properties, self.is_turned = properties, is_turned
        self.points = mask.sum(1)
        self._epoch, self._batches = -1, torch.empty(0, 0, dtype=torch.int64)

    def batch(self, k: int) -> Examples:
        """Return the k-th batch; its condition: the points that are there, and properties."""
        rows = self.rows(k)
        max_points = int(self.points[rows].max())
        noise, x = Noise.of(mix(self.seed, "noise", k), self.size), self.x[rows, :max_points]
        if self.is_turned:
            rotation_matrices = rotations(noise.named("rotation"))
            x = torch.cat([x[..., :3] @ rotation_matrices, x[..., 3:]], dim=-1)
        properties = None if self.properties is None else self.properties[rows]
        return Examples(
            x, Condition(points=self.mask[rows, :max_points], properties=properties), noise
        )

    def rows(self, k: int) -> Tensor:
        """Return which clouds the k-th batch holds, [B]."""
        epoch, index = divmod(k, -(-len(self.x) // self.size))
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._order(epoch)
        return self._batches[index]

    def _order(self, epoch: int) -> Tensor:
        """Return the clouds of each batch of an epoch, [batches, B]."""
        generator = torch.Generator().manual_seed(mix(self.seed, "order", epoch))
        order = torch.randperm(len(self.x), generator=generator)
        order = torch.cat([order, order[: -len(order) % self.size]])
        batches = []
        for window in order.split(WINDOW * self.size):
            by_size = self.points[window].argsort(stable=True)
            batches.append(window[by_size].view(-1, self.size))
        all_batches = torch.cat(batches)
        return all_batches[torch.randperm(len(all_batches), generator=generator)]
