r"""A latent space: its map, interpolation between two codes, and its discontinuities.

The lecture's two pictures show codes without and with regularisation. A space is *continuous*
where near codes decode to like things, and *complete* where every likely code decodes to
something. `discontinuities` counts where it is not: between two codes of one class, both of which
decode to that class, the point halfway decodes to another. Without regularisation a class lies in
several pieces with others between them, and the count is high; with it a class is one cloud.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Discontinuities", "codes", "discontinuities", "interpolate"]


@dataclass(frozen=True)
class Discontinuities:
    """How many points between two codes of one class decode to another class."""

    pairs: int
    """Pairs of codes of one class that decode to that class."""
    count: int
    """Those of them whose midpoint decodes to another class."""

    @property
    def fraction(self) -> float:
        """Return `count` as a share of `pairs`; 0 where there is none."""
        return self.count / self.pairs if self.pairs else 0.0


def codes(encode: Callable[[Tensor], Tensor], x: Tensor, *, at_once: int = 1024) -> Tensor:
    """Encode many examples, a part at a time, without gradients, [N, J]."""
    with torch.no_grad():
        return torch.cat([encode(part) for part in x.split(at_once)])


def interpolate(start: Tensor, stop: Tensor, steps: int) -> Tensor:
    """Interpolate linearly between two codes, both ends included, [steps, J].

    >>> interpolate(torch.tensor([0.0]), torch.tensor([1.0]), 3).flatten().tolist()
    [0.0, 0.5, 1.0]
    """
    fraction = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)[:, None]
    return (1 - fraction) * start + fraction * stop


def discontinuities(
    z: Tensor,
    labels: Tensor,
    decode: Callable[[Tensor], Tensor],
    classify: Callable[[Tensor], Tensor],
    *,
    neighbours: int | None = 64,
    at_once: int = 1024,
) -> Discontinuities:
    """Count the pairs of codes of one class between which another class lies.

    A pair is a code and one of the nearest codes of its own class, counted once for each
    direction in which they are near. Only codes that decode to their own class take part: what
    the model cannot reproduce says nothing about the space between.

    Arguments:
        z: Codes, [N, J].
        labels: Their classes, [N].
        decode: [B, J] to examples.
        classify: Examples to classes, [B].
        neighbours: Nearest codes of the same class to be paired with each; None pairs each code
            with the next of its class in the order given, near or far.
        at_once: Codes decoded together.
    """

    def predict_class(points: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([classify(decode(part)) for part in points.split(at_once)])

    is_correct = predict_class(z) == labels
    pairs = bad = 0
    for label in labels[is_correct].unique():
        class_codes = z[is_correct & (labels == label)]
        if len(class_codes) < 2:
            continue
        if neighbours is None:
            middle = (class_codes + class_codes.roll(1, 0)) / 2
        else:
            distances = torch.cdist(class_codes, class_codes).fill_diagonal_(float("inf"))
            partner = distances.topk(min(neighbours, len(class_codes) - 1), largest=False).indices
            middle = ((class_codes[:, None] + class_codes[partner]) / 2).flatten(0, 1)
        between = predict_class(middle)
        pairs += len(between)
        bad += int((between != label).sum())
    return Discontinuities(pairs, bad)
