"""Nearest neighbours among features: how far they are, and which they are."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trilemma.core.errors import BadInput

__all__ = ["CAP", "distances", "nearest", "radii"]

CAP = 5000
"""Most points of each set where the work grows with their product."""

ENTRIES = 2**23
"""Distances computed at once."""


def distances(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield (start, distances of some rows of x to all of y), float64."""
    x, y = x.double(), y.double()
    rows = max(1, ENTRIES // len(y))
    for start in range(0, len(x), rows):
        yield start, torch.cdist(x[start : start + rows], y)


def radii(x: Float[Tensor, "N F"], k: int) -> Float[Tensor, " N"]:
    """Return the distance of each point to its k-th nearest other point.

    >>> radii(torch.tensor([[0.0], [1.0], [3.0]]), 1).tolist()
    [1.0, 1.0, 2.0]
    """
    if len(x) <= k:
        raise BadInput(
            f"{len(x)} points have no {k}th nearest neighbour among them; give {k + 1} or more."
        )
    parts = []
    for start, d in distances(x, x):
        d.diagonal(start).zero_()
        parts.append(d.topk(k + 1, dim=1, largest=False).values[:, -1])
    return torch.cat(parts)


def nearest(
    x: Float[Tensor, "N F"], y: Float[Tensor, "M F"]
) -> tuple[Float[Tensor, " N"], Int[Tensor, " N"]]:
    """Return each row's distance to the nearest row of y, and which that is.

    The search is in float32, |y|² - 2 x·y about the mean of y; the distance to what it finds is
    exact, so that a copy is at distance zero.

    >>> nearest(torch.tensor([[0.9]]), torch.tensor([[0.0], [1.0]]))[1].tolist()
    [1]
    """
    centre = y.double().mean(0)
    centred_y, centred_x = (y - centre).float(), (x - centre).float()
    square_norms, chunk_size = centred_y.square().sum(1), max(1, ENTRIES // len(y))
    index_chunks = [
        torch.addmm(square_norms, chunk, centred_y.T, alpha=-2).argmin(1)
        for chunk in centred_x.split(chunk_size)
    ] or [torch.empty(0, dtype=torch.int64)]
    indices = torch.cat(index_chunks)
    return (x.double() - y[indices].double()).norm(dim=1), indices
