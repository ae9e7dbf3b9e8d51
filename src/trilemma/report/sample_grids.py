"""Samples of images as grids at whole-number scales: a pixel of data is a square of whole pixels.

Real data and the samples of every recipe share one grid, so that nobody is shown larger. The grid
says how it is divided, and a page's blind test takes single examples out of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from trilemma.core.domain import Domain
from trilemma.pictures import figures
from trilemma.pictures.figures import GAP, levels_of
from trilemma.report.markup import Markup, image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["SampleGrid", "sample_grid"]

WIDTH = 270
"""CSS pixels that a grid has room for."""
LEAST = 30
"""CSS pixels that the side of an example has at least, about."""


@dataclass(frozen=True)
class SampleGrid:
    """How examples are laid out, in CSS pixels."""

    height: int
    """Of an example, enlarged."""
    width: int
    """Of an example, enlarged."""
    scale: int
    """Side of a pixel of data."""
    columns: int
    levels: int

    @property
    def count(self) -> int:
        """Return the number of examples that it has room for."""
        return self.columns**2

    def image(self, x: Tensor, alt: str) -> Markup:
        """Draw examples, [N, C, H, W] levels, at the size at which they are seen."""
        x = x[: self.count]
        picture = figures.grid(x, self.levels, self.columns, self.scale, GAP)
        columns = min(self.columns, len(x))
        divided = f"{self.width} {self.height} {GAP} {columns} {len(x)}"
        width, height = picture.size
        return image(
            picture, alt, class_="exact", width=str(width), height=str(height), data_tiles=divided
        )


def sample_grid(
    domain: Domain | None, real: Tensor | Image | None, samples: Sequence[Tensor | Image | None]
) -> SampleGrid | None:
    """Return the grid that suits some examples; None where they are no images.

    Arguments:
        domain: What an example is.
        real: Real examples.
        samples: Of each recipe.
    """
    shapes = {tuple(x.shape[1:]) for x in (real, *samples) if isinstance(x, Tensor)}
    if len(shapes) != 1 or (domain is not None and domain.kind != "image"):
        return None
    shape = shapes.pop()
    if len(shape) != 3 or 0 in shape or shape[0] not in (1, 3):
        return None
    _, height, width = shape
    side = max(height, width)
    scale = max(1, math.ceil(LEAST / side))
    columns = max(1, min(8, (WIDTH + GAP) // (width * scale + GAP)))
    levels = 256 if domain is None else levels_of(domain)
    return SampleGrid(height * scale, width * scale, scale, columns, levels)
