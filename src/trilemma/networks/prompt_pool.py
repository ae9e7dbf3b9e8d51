"""What samples are asked to be when nobody asks: conditions of the training data, kept in the run.

A class can be drawn by its share alone. A caption, a small image, or the size of a cloud with its
properties cannot, so that a model keeps some of those that it was trained on, as buffers, and
draws from them. A size and a property are kept of one and the same cloud, so that draws of both
are of their joint distribution, p(N, c).
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise

__all__ = ["NEAR", "Prompts"]

NEAR = 1 / 64
"""Share of the kept clouds that are near to a wanted property."""


class Prompts(nn.Module):
    """Conditions to be drawn from; all zeros, or whole clouds, until `fill` is called.

    Arguments:
        rows: How many are kept.
        words: Tokens of a caption; 0 without captions.
        image: Shape of an image that goes with a sample; None without.
        points: Most points of a cloud, whose sizes are kept; 0 without clouds.
        properties: P, properties of a cloud that are kept beside its size.

    >>> prompts = Prompts(4, words=2)
    >>> prompts.fill(Condition(tokens=torch.tensor([[1, 2], [3, 0]]),
    ...                        mask=torch.tensor([[True, True], [True, False]])))
    >>> prompts(Noise.of(0, 5)).tokens.shape
    torch.Size([5, 2])
    """

    run_buffers: ClassVar[tuple[str, ...]] = ("tokens", "mask", "image", "points", "properties")
    tokens: Tensor
    mask: Tensor
    image: Tensor
    points: Tensor
    properties: Tensor

    def __init__(
        self,
        rows: int,
        *,
        words: int = 0,
        image: tuple[int, ...] | None = None,
        points: int = 0,
        properties: int = 0,
    ) -> None:
        super().__init__()
        self.rows = rows
        if words:
            self.register_buffer("tokens", torch.zeros(rows, words, dtype=torch.int64))
            self.register_buffer("mask", torch.zeros(rows, words, dtype=torch.bool))
        if image is not None:
            self.register_buffer("image", torch.zeros(rows, *image, dtype=torch.uint8))
        if points:
            self.register_buffer("points", torch.ones(rows, points, dtype=torch.bool))
        if properties:
            self.register_buffer("properties", torch.zeros(rows, properties))

    @torch.no_grad()
    def fill(self, condition: Condition) -> None:
        """Keep rows of a condition, from the first; fewer than are kept go round."""
        for name, buffer in self.named_buffers():
            values = getattr(condition, name)
            rows = torch.arange(self.rows) % len(values)
            buffer.copy_(values[rows.to(values.device)])

    def forward(self, noise: Noise, least: Int[Tensor, " B"] | None = None) -> Condition:
        """Draw a condition for each row of the noise.

        Arguments:
            noise: B rows.
            least: Points that each cloud has at least, p(N, c | N >= least); None: any number.

        Raises:
            BadInput: No kept cloud has so many points.
        """
        if least is None:
            rows = noise.integers(self.rows)
        else:
            is_large_enough = self._enough(least)
            order = (~is_large_enough).to(torch.uint8).argsort(dim=1, stable=True)
            rows = order.gather(1, _one_of(is_large_enough.sum(1), noise)[:, None])[:, 0]
        return Condition(**{name: buffer[rows] for name, buffer in self.named_buffers()})

    def sizes_near(
        self,
        properties: Float[Tensor, "B P"],
        noise: Noise,
        least: Int[Tensor, " B"] | None = None,
    ) -> Bool[Tensor, "B points"]:
        """Draw which points clouds of wanted properties have, p(N | c): of kept clouds near c.

        Each is drawn from the `NEAR` of the kept rows whose properties lie nearest to the wanted
        ones, in units of their deviation.

        Arguments:
            properties: c, in their units.
            noise: B rows.
            least: Points that each cloud has at least, p(N | c, N >= least); None: any number.

        Raises:
            BadInput: No kept cloud has so many points.
        """
        stored_properties = self.properties
        scale = stored_properties.std(0, correction=0).clamp_min(1e-12)
        distances = (
            ((properties.to(stored_properties)[:, None] - stored_properties) / scale)
            .square()
            .sum(-1)
        )
        count = max(1, math.ceil(NEAR * self.rows))
        if least is None:
            chosen = noise.integers(count).to(distances.device)
        else:
            is_large_enough = self._enough(least)
            distances = distances.masked_fill(~is_large_enough, math.inf)
            chosen = _one_of(is_large_enough.sum(1).clamp(max=count), noise)
        nearest = distances.argsort(dim=1, stable=True)
        return self.points[nearest.gather(1, chosen[:, None])[:, 0]]

    def _enough(self, least: Int[Tensor, " B"]) -> Bool[Tensor, "B rows"]:
        """Tell which of the kept clouds have at least so many points."""
        sizes = self.points.sum(1)
        is_large_enough = sizes >= least.to(sizes.device)[:, None]
        if not bool(is_large_enough.any(1).all()):
            raise BadInput(
                f"a cloud of {int(least.max()):,} points or more was asked for, and the training "
                f"clouds that this run keeps have {int(sizes.max()):,} at most; ask for fewer."
            )
        return is_large_enough


def _one_of(counts: Int[Tensor, " B"], noise: Noise) -> Int[Tensor, " B"]:
    """Draw a whole number from 0 to below each count."""
    u = noise.uniform().to(counts.device)
    return (u * counts).long().minimum(counts - 1)
