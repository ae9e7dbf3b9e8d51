"""The columns of a table, a small chart each: histograms of numbers and dates, bars of names.

What is missing has no bar; a column's title says how much of it is. All charts are drawn on one
sheet, in inches, since a hundred pairs of axes of their own would take seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from trilemma.core.columns import Column, Columns
from trilemma.core.domain import Domain
from trilemma.data.pictures import printable
from trilemma.data.table_kinds import NO_NAME
from trilemma.pictures.plane import figure_image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["sheet"]

MOST = 64
"""Columns that are drawn."""
BARS, NAMES = 24, 8
"""Bars of a histogram at most, and categories that have a bar."""
WIDE, HIGH = 2.0, 1.45
"""Inches of a chart with its words."""
START, END, LOW, TOP = 0.1, 1.9, 0.3, 1.2
"""Inches of a chart's bars within it."""
NAME_WIDTH = 0.85
"""Inches of the names of categories."""
LETTERS, TITLE = 15, 30
"""Of a category's name, and of a title."""
COLOUR = "#4c6a92"


@dataclass
class _Sheet:
    """What is drawn: bars as left, bottom, width and height, and words."""

    bars: list[tuple[float, float, float, float]] = field(default_factory=list)
    words: list[tuple[float, float, str, str, int]] = field(default_factory=list)
    """Place, text, which side of it stands there, and size."""

    def write(self, x: float, y: float, text: str, side: str = "left", size: int = 6) -> None:
        """Write a word."""
        self.words.append((x, y, text, side, size))

    def image(self, wide: float, high: float) -> Image:
        """Draw all of it, in inches."""
        from matplotlib.collections import PolyCollection
        from matplotlib.figure import Figure

        figure = Figure(figsize=(wide, high), dpi=100)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, wide)
        axes.set_ylim(0, high)
        corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h)] for x, y, w, h in self.bars]
        axes.add_collection(
            PolyCollection(corners, facecolors=COLOUR, linewidths=0, antialiaseds=False)
        )
        for x, y, text, side, size in self.words:
            axes.text(x, y, text, ha=side, va="center", fontsize=size, parse_math=False)
        return figure_image(figure)


def sheet(x: Float[Tensor, "N D"], domain: Domain) -> Image:
    """Draw a chart of each column of a table, in its order, the first 64 of them."""
    values = domain.values
    space = values if isinstance(values, Columns) else Columns((Column(),) * x.shape[1])
    visible = [i for i in range(len(space.columns)) if i not in space.flags]
    chosen, present, drawing = visible[:MOST], space.present(x), _Sheet()
    across = min(len(chosen), math.ceil(math.sqrt(len(chosen))))
    down = math.ceil(len(chosen) / across)
    for panel, i in enumerate(chosen):
        column = space.columns[i]
        corner = (panel % across * WIDE, (down - 1 - panel // across) * HIGH)
        draw = _bars if column.kind == "category" else _histogram
        column_values = x[present[:, i], i].double().numpy()
        missing = 1 - len(column_values) / max(1, len(x)) or _share_of_missing(
            column, column_values
        )
        draw(drawing, corner, column, column_values)
        title = _short(domain.columns[i], TITLE) + (f", {missing:.0%} missing" if missing else "")
        drawing.write(corner[0] + START, corner[1] + TOP + 0.12, title, size=7)
    if len(visible) > MOST:
        note = f"the first {MOST} of {len(visible)} columns"
        drawing.write(START, down * HIGH + 0.1, note, size=7)
    return drawing.image(across * WIDE, down * HIGH + 0.2 * (len(visible) > MOST))


def _share_of_missing(column: Column, values: np.ndarray) -> float:
    """Return the share of values that are the category of what is missing."""
    if NO_NAME not in column.categories:
        return 0.0
    return float((values == column.categories.index(NO_NAME)).mean())


def _histogram(
    drawing: _Sheet, corner: tuple[float, float], column: Column, values: np.ndarray
) -> None:
    """Draw numbers or dates, with the least and the largest below."""
    if not len(values):
        return
    low, high = float(values.min()), float(values.max())
    if column.in_cells:
        step = max(1, math.ceil((high - low + 1) / BARS))
        edges = np.arange(low, high + step + 1, step) - 0.5
    else:
        edges = np.linspace(low, high if high > low else low + 1, BARS + 1)
    counts = np.histogram(values, edges)[0]
    width = (END - START) / len(counts)
    for k, height in enumerate(counts / counts.max() * (TOP - LOW)):
        start = corner[0] + START + k * width
        drawing.bars.append((start, corner[1] + LOW, width, float(height)))
    words = [f"{v:.4g}" if column.kind == "real" else column.word(v) for v in (low, high)]
    drawing.write(corner[0] + START, corner[1] + LOW - 0.1, words[0])
    drawing.write(corner[0] + END, corner[1] + LOW - 0.1, words[1], "right")


def _bars(
    drawing: _Sheet, corner: tuple[float, float], column: Column, values: np.ndarray
) -> None:
    """Draw the most frequent names, and say how many there are beside."""
    counts = np.bincount(values.astype(int), minlength=column.count)
    order = [int(i) for i in np.argsort(-counts, kind="stable") if column.categories[i] != NO_NAME]
    height, largest = (TOP - LOW) / NAMES, max(1, int(counts[order].max(initial=0)))
    for row, i in enumerate(order[:NAMES]):
        middle = corner[1] + TOP - (row + 0.5) * height
        start = corner[0] + START + NAME_WIDTH
        width = (END - START - NAME_WIDTH) * int(counts[i]) / largest
        drawing.write(start - 0.05, middle, _short(column.categories[i], LETTERS), "right")
        drawing.bars.append((start, middle - 0.4 * height, width, 0.8 * height))
    if len(order) > NAMES:
        text = f"{NAMES} of {len(order):,} names"
        drawing.write(corner[0] + END, corner[1] + LOW - 0.1, text, "right")


def _short(name: str, letters: int) -> str:
    """Return a name as far as there is room for it, on one line."""
    text = printable(" ".join(name.split()))
    return text if len(text) <= letters else f"{text[: letters - 1]}…"
