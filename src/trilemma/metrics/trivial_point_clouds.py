"""Point clouds that nobody would call a model's: what scores are held against.

normal      points of a normal distribution, with the sizes, types and spread of training clouds
perturbed   training clouds whose points are moved by a tenth of the median nearest distance
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.noise import mix
from trilemma.core.point_cloud import centred, mask_of, positions
from trilemma.data.dataset import DataSet

__all__ = ["TRIVIAL", "nearest_distance", "normal", "perturbed"]

MOVED = 0.1


def normal(data: DataSet, count: int, seed: int) -> Float[Tensor, "count N 4"]:
    """Scatter the points of training clouds."""
    generator = torch.Generator().manual_seed(mix(seed, "normal clouds"))
    x = data.train.x[torch.randint(len(data.train), (count,), generator=generator)].clone()
    mask = mask_of(x)
    spread = float(positions(x).square().sum() / (3 * mask.sum()).clamp_min(1)) ** 0.5
    x[..., :3] = centred(spread * torch.randn(x[..., :3].shape, generator=generator), mask)
    return x


def perturbed(data: DataSet, count: int, seed: int) -> Float[Tensor, "count N 4"]:
    """Move the points of training clouds a little."""
    generator = torch.Generator().manual_seed(mix(seed, "perturbed clouds"))
    x = data.train.x[torch.randint(len(data.train), (count,), generator=generator)].clone()
    mask = mask_of(x)
    step = MOVED * nearest_distance(x[:200])
    noise = step / 3**0.5 * torch.randn(x[..., :3].shape, generator=generator)
    x[..., :3] = centred(positions(x) + noise, mask)
    return x


def nearest_distance(x: Float[Tensor, "B N 4"]) -> float:
    """Return the median distance of a point to its nearest."""
    coords, mask = positions(x), mask_of(x)
    distances = (coords[:, :, None] - coords[:, None]).square().sum(-1).sqrt()
    diagonal = torch.eye(x.shape[1], dtype=torch.bool)
    distances = distances.masked_fill(~(mask[:, :, None] & mask[:, None]) | diagonal, float("inf"))
    nearest = distances.amin(2)[mask]
    nearest = nearest[nearest.isfinite()]
    return float(nearest.median()) if len(nearest) else 0.0


TRIVIAL: Mapping[str, Callable[[DataSet, int, int], Tensor]] = {
    "normal": normal,
    "perturbed": perturbed,
}
