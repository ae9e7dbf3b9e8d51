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

__all__ = ["Coordinates", "Nearest", "Search", "coordinates"]

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
        known = describe(train, domain.elements)
        wide = known.std(0, correction=0)
        kept = wide > 1e-6 * (known.mean(0).abs() + 1)

        def shape(x: Tensor) -> Tensor:
            return describe(x, domain.elements)[:, kept].double() / wide[kept]

        return Coordinates(shape, lambda x: shape(x)[:, None])
    if domain.kind == "image":
        small = min(domain.shape[1:]) < LEAST_SIDE
        return Coordinates(_flat, _alone) if small else Coordinates(_inside, _nine_places)
    split = torch.tensor([kind == "category" for kind in domain.kinds])
    wide = train.double().std(0, correction=0)
    deviation = torch.where(wide > 0, wide, torch.ones_like(wide))[~split]
    codes = [int(train[:, i].amax()) + 1 for i in split.nonzero()[:, 0].tolist()]

    def of(x: Tensor) -> Tensor:
        parts = [x[:, ~split].double() / deviation]
        for i, count in zip(split.nonzero()[:, 0].tolist(), codes, strict=True):
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
    places = [
        _flat(x[..., down : down + height, right : right + width])
        for down in range(3)
        for right in range(3)
    ]
    return torch.stack(places, 1)


class Search:
    """Finds the nearest of a set.

    Arguments:
        x: The set, [N, *shape], data units, N > 2.
        places: Its coordinates.
    """

    def __init__(self, x: Tensor, places: Coordinates) -> None:
        self.x, self.places = x, places
        self.centre = places.of(x[:1]).new_zeros(())
        self.basis: Tensor | None = None
        every = places.of(x[torch.arange(0, len(x), -(-len(x) // BASIS))])
        self.centre = every.mean(0)
        if every.shape[1] > COMPONENTS:
            about = (every - self.centre).double()
            values, vectors = torch.linalg.eigh(about @ about.T)
            kept = (values > 1e-9 * values[-1].clamp_min(1e-30)).nonzero()[:, 0][1 - COMPONENTS :]
            self.basis = (about.T @ vectors[:, kept] / values[kept].sqrt()).to(every.dtype)
        rows = max(1, ENTRIES // every.shape[1])
        known = torch.cat([self.low(places.of(part)) for part in x.split(rows)])
        # |a - b|² as one product, of (-2 a, |a|², 1) and (b, 1, |b|²).
        square = known.square().sum(1, keepdim=True)
        self.factor = torch.cat([known, torch.ones_like(square), square], 1).T.contiguous()

    def low(self, at: Float[Tensor, "*B D"]) -> Float[Tensor, "*B F"]:
        """Return coordinates whose distances are at most those of places."""
        about = at - self.centre
        if self.basis is None:
            return about
        inside = about @ self.basis
        beyond = about.square().sum(-1) - inside.square().sum(-1)
        return torch.cat([inside, beyond.clamp_min(0).sqrt()[..., None]], -1)

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
            each: Told after each part how many are done.
        """
        ratios, rows = [torch.empty(0).double()], [torch.empty(0).long()]
        wide = self.places.views(self.x[:1]).shape[2]
        at_once = max(1, ENTRIES // max(len(self.x), CANDIDATES * wide))
        for start in range(0, len(x), at_once):
            part = slice(start, start + at_once)
            views = self.places.views(x[part])
            d = self._lower(self.low(views))
            if without is not None:
                d[torch.arange(len(d)), without[part]] = torch.inf
            enough = min(CANDIDATES, len(self.x) - (without is not None))
            near = d.topk(enough, dim=1, largest=False).indices
            full = self._full(views, near)
            found = full.topk(min(NEIGHBOURS, enough), dim=1, largest=False)
            away = found.values.double()
            alone = away[:, 1] > 0
            ratios.append(torch.where(alone, away[:, 0] / away[:, -1], torch.ones(()).double()))
            rows.append(near.gather(1, found.indices[:, :1])[:, 0])
            if each is not None:
                each(start + len(d))
        return Nearest(torch.cat(ratios), torch.cat(rows))

    def _lower(self, views: Float[Tensor, "B S F"]) -> Float[Tensor, "B N"]:
        """Return lower bounds of squared distances, the least of all shifts."""
        square = views.square().sum(-1, keepdim=True)
        product = torch.cat([-2 * views, square, torch.ones_like(square)], -1).unbind(1)
        least = views.new_empty(len(views), len(self.x))
        for start in range(0, len(self.x), BLOCK):  # so that what is compared stays at hand
            some = self.factor[:, start : start + BLOCK]
            part = product[0] @ some
            for view in product[1:]:
                torch.minimum(part, view @ some, out=part)
            least[:, start : start + BLOCK] = part
        return least

    def _full(
        self, views: Float[Tensor, "B S D"], near: Int[Tensor, "B C"]
    ) -> Float[Tensor, "B C"]:
        """Return distances to candidates, those of the nearest shift."""
        there = self.places.of(self.x[near.flatten()]).view(*near.shape, -1)
        return (
            torch.stack([(view[:, None] - there).square().sum(-1) for view in views.unbind(1)])
            .amin(0)
            .sqrt()
        )
