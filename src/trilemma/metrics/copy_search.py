r"""How near an example lies to one training example alone, in the data's own coordinates.

    ratio(y) = d(y, x_1) / d(y, x_8)

with x_1, x_2, … the training examples in the order of their distance to y. It is 0 of a copy, and
1 of what is in the training set twice (d(y, x_2) = 0): data repeat it by themselves. It has no
unit, and where points lie evenly around y in d dimensions

    P(ratio < t) = 1 - (1 - t^d)⁷,

whatever their density: the volumes of the balls that reach to them are the arrivals of a Poisson
process, and the seven before the eighth are uniform given the eighth. So it is of a model that
draws too widely or leaves modes out as of a right one, as long as what it draws is spread smoothly
over the distances of training examples.

Coordinates: of an image its levels; of a point its columns over their standard deviations, two
different categories at distance 1; of a cloud what its shape is like, whatever its pose. Images
are compared inside of a margin of one pixel and at nine places of it, and the nearest place
counts: d(y, x) is that of the nearest shift.

The search is exact in few coordinates. In many, lower bounds by 63 principal components and the
length of what they leave out,

    |a - b|² >= |P a - P b|² + (|a - P a| - |b - P b|)²,

choose sixteen candidates, whose distances are computed in full.

Reference:
    Diffusion Probabilistic Models Generalize when They Fail to Memorize (Yoon, Choi, Kwon & Ryu,
    2023): the ratio to the second distance, against a fixed 1/3
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from trilemma.core.domain import Domain
from trilemma.metrics.point_cloud_features import describe

__all__ = ["Coordinates", "Nearest", "NeighbourSearch", "coordinates"]

NEIGHBOURS = 8
"""The distance to which of the nearest is the measure of the first."""
COMPONENTS = 64
"""Coordinates in which candidates are chosen; with no more than these the search is exact."""
CANDIDATES = 16
"""Training examples whose distance is computed in full."""
BASIS = 1024
"""Training examples of which the principal components are."""
LEAST_SIDE = 8
"""Pixels of the shorter side of an image that is compared at nine places."""
ENTRIES, BLOCK = 2**23, 1024
"""Numbers that are computed at once, and examples of the set."""


@dataclass(frozen=True)
class Coordinates:
    """Where examples lie, so that distances may be taken."""

    of: Callable[[Tensor], Float[Tensor, "N D"]]
    """Places of training examples."""
    views: Callable[[Tensor], Float[Tensor, "N S D"]]
    """Places of examples that are compared with them, for each shift."""


@dataclass(frozen=True)
class Nearest:
    """The nearest training example of each of Q examples."""

    ratio: Float[Tensor, " Q"]
    """Distance to it over that to the eighth nearest, in [0, 1]."""
    row: Int[Tensor, " Q"]
    """Which it is."""

    def __getitem__(self, rows: Tensor | slice) -> Nearest:
        """Return those of some examples."""
        return Nearest(self.ratio[rows], self.row[rows])


def coordinates(domain: Domain, train: Tensor) -> Coordinates:
    """Return the coordinates of a kind of data.

    Arguments:
        domain: Of images or points.
        train: Training examples [N, *shape], data units: the deviations are theirs.
    """
    if domain.kind in ("conformer", "point-cloud"):
        train_features = describe(train, domain.elements)
        std = train_features.std(0, correction=0)
        varying = std > 1e-6 * (train_features.mean(0).abs() + 1)

        def shape(x: Tensor) -> Tensor:
            return describe(x, domain.elements)[:, varying].double() / std[varying]

        return Coordinates(shape, lambda x: shape(x)[:, None])
    if domain.kind == "image":
        small = min(domain.shape[1:]) < LEAST_SIDE
        return Coordinates(_flat, _alone) if small else Coordinates(_inside, _nine_places)
    is_category = torch.tensor([kind == "category" for kind in domain.kinds])
    std = train.double().std(0, correction=0)
    deviation = torch.where(std > 0, std, torch.ones_like(std))[~is_category]
    category_counts = [int(train[:, i].amax()) + 1 for i in is_category.nonzero()[:, 0].tolist()]

    def of(x: Tensor) -> Tensor:
        parts = [x[:, ~is_category].double() / deviation]
        for i, count in zip(is_category.nonzero()[:, 0].tolist(), category_counts, strict=True):
            # A category that no training example has is a place of its own.
            code = x[:, i].long().clamp(0, count)
            parts.append(one_hot(code, count + 1) * 0.5**0.5)
        return torch.cat(parts, 1)

    return Coordinates(of, lambda x: of(x)[:, None])


def _flat(x: Tensor) -> Tensor:
    return x.flatten(1).float()


def _alone(x: Tensor) -> Tensor:
    return _flat(x)[:, None]


def _inside(x: Tensor) -> Tensor:
    return _flat(x[..., 1:-1, 1:-1])


def _nine_places(x: Tensor) -> Tensor:
    height, width = x.shape[-2] - 2, x.shape[-1] - 2
    crops = [
        _flat(x[..., down : down + height, right : right + width])
        for down in range(3)
        for right in range(3)
    ]
    return torch.stack(crops, 1)


class NeighbourSearch:
    """Finds the nearest of a set.

    Arguments:
        x: The set, [N, *shape], data units, N > 2.
        coords: Its coordinates.
    """

    def __init__(self, x: Tensor, coords: Coordinates) -> None:
        self.x, self.coords = x, coords
        self.centre = coords.of(x[:1]).new_zeros(())
        self.basis: Tensor | None = None
        subset = coords.of(x[torch.arange(0, len(x), -(-len(x) // BASIS))])
        self.centre = subset.mean(0)
        if subset.shape[1] > COMPONENTS:
            centred = (subset - self.centre).double()
            values, vectors = torch.linalg.eigh(centred @ centred.T)
            top = (values > 1e-9 * values[-1].clamp_min(1e-30)).nonzero()[:, 0][1 - COMPONENTS :]
            self.basis = (centred.T @ vectors[:, top] / values[top].sqrt()).to(subset.dtype)
        chunk_size = max(1, ENTRIES // subset.shape[1])
        projected = torch.cat([self.low(coords.of(chunk)) for chunk in x.split(chunk_size)])
        # |a - b|² as one product, of (-2 a, |a|², 1) and (b, 1, |b|²).
        square = projected.square().sum(1, keepdim=True)
        self.factor = torch.cat([projected, torch.ones_like(square), square], 1).T.contiguous()

    def low(self, at: Float[Tensor, "*B D"]) -> Float[Tensor, "*B F"]:
        """Return coordinates whose distances are at most those of places."""
        centred = at - self.centre
        if self.basis is None:
            return centred
        projected = centred @ self.basis
        residual = centred.square().sum(-1) - projected.square().sum(-1)
        return torch.cat([projected, residual.clamp_min(0).sqrt()[..., None]], -1)

    def nearest(
        self,
        x: Tensor,
        *,
        without: Int[Tensor, " Q"] | None = None,
        each: Callable[[int], None] | None = None,
    ) -> Nearest:
        """Return the nearest of the set to each of Q examples.

        Arguments:
            x: [Q, *shape], data units.
            without: A row of the set that each example must not be compared with: itself.
            each: Called after each part with how many are done.
        """
        ratios, rows = [torch.empty(0).double()], [torch.empty(0).long()]
        dimension = self.coords.views(self.x[:1]).shape[2]
        chunk_size = max(1, ENTRIES // max(len(self.x), CANDIDATES * dimension))
        for start in range(0, len(x), chunk_size):
            chunk = slice(start, start + chunk_size)
            views = self.coords.views(x[chunk])
            lower_bounds = self._lower(self.low(views))
            if without is not None:
                lower_bounds[torch.arange(len(lower_bounds)), without[chunk]] = torch.inf
            candidate_count = min(CANDIDATES, len(self.x) - (without is not None))
            candidates = lower_bounds.topk(candidate_count, dim=1, largest=False).indices
            candidate_distances = self._full(views, candidates)
            closest = candidate_distances.topk(
                min(NEIGHBOURS, candidate_count), dim=1, largest=False
            )
            distances = closest.values.double()
            second_nonzero = distances[:, 1] > 0
            ratios.append(
                torch.where(
                    second_nonzero, distances[:, 0] / distances[:, -1], torch.ones(()).double()
                )
            )
            rows.append(candidates.gather(1, closest.indices[:, :1])[:, 0])
            if each is not None:
                each(start + len(lower_bounds))
        return Nearest(torch.cat(ratios), torch.cat(rows))

    def _lower(self, views: Float[Tensor, "B S F"]) -> Float[Tensor, "B N"]:
        """Return lower bounds of squared distances, the least of all shifts."""
        square = views.square().sum(-1, keepdim=True)
        product = torch.cat([-2 * views, square, torch.ones_like(square)], -1).unbind(1)
        lower_bounds = views.new_empty(len(views), len(self.x))
        for start in range(0, len(self.x), BLOCK):  # so that what is compared stays at hand
            block = self.factor[:, start : start + BLOCK]
            bound = product[0] @ block
            for view in product[1:]:
                torch.minimum(bound, view @ block, out=bound)
            lower_bounds[:, start : start + BLOCK] = bound
        return lower_bounds

    def _full(
        self, views: Float[Tensor, "B S D"], near: Int[Tensor, "B C"]
    ) -> Float[Tensor, "B C"]:
        """Return distances to candidates, those of the nearest shift."""
        candidate_coords = self.coords.of(self.x[near.flatten()]).view(*near.shape, -1)
        return (
            torch.stack(
                [(view[:, None] - candidate_coords).square().sum(-1) for view in views.unbind(1)]
            )
            .amin(0)
            .sqrt()
        )
