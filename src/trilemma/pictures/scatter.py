"""Clouds of the plane side by side: chains over time, and fields of arrows over where points lie.

Nothing is written to disk here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.pictures.palette import hue
from trilemma.pictures.plane import (
    Frame,
    coordinates_of,
    figure_image,
    set_frame,
    square_frame,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["ArrowField", "clouds", "fields", "frame_of"]

CELLS = 90
"""Cells along each side in which points are counted for a density."""
SMOOTH = 1.6
"""Cells over which a count is spread."""


@dataclass(frozen=True)
class ArrowField:
    """Arrows on a grid of the plane, and the points among which they stand."""

    title: str
    points: Tensor
    """[N, 2]: their density is drawn beneath."""
    at: Tensor
    """[M, 2]."""
    arrows: Tensor
    """[M, 2]."""


def frame_of(*clouds: Tensor, room: float = 0.1) -> Frame:
    """Return a square that holds all but the most outlying thousandth of points [N, 2]."""
    points = np.concatenate([coordinates_of(x) for x in clouds])
    points = points[np.isfinite(points).all(1)]
    if not len(points):
        return (-1.0, 1.0, -1.0, 1.0)
    low, high = np.quantile(points, 0.0005, 0), np.quantile(points, 0.9995, 0)
    return square_frame(low, high, room)


def clouds(
    rows: Sequence[Sequence[Tensor]],
    frame: Frame,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    family: str = "",
) -> Image:
    """Draw clouds of points in rows, all in one frame; of more coordinates the first two.

    Arguments:
        rows: Points [N, D] of each panel, as many in each row.
        frame: Left, right, bottom, top.
        row_labels: What each row is.
        column_labels: What each column is.
        family: Whose colour the points take.

    Raises:
        BadInput: There is no panel, or rows differ in length.
    """
    if not rows or not rows[0] or len({len(row) for row in rows}) != 1:
        raise BadInput("no panels were given, or rows of different lengths; wanted equal rows.")
    figure, grid = _panels(len(rows), len(rows[0]), bool(row_labels), bool(column_labels))
    colour = hue(family).light if family else "#3a3a3a"
    for i, row in enumerate(rows):
        for j, x in enumerate(row):
            axes = grid[i][j]
            _bare(axes, frame)
            size = max(0.8, min(5.0, 2500 / max(len(x), 1)))
            axes.scatter(*coordinates_of(x).T, s=size, color=colour, linewidths=0, alpha=0.6)
            if i == 0 and j < len(column_labels):
                axes.set_title(column_labels[j], fontsize=9, parse_math=False)
            if j == 0 and i < len(row_labels):
                axes.set_ylabel(row_labels[i], fontsize=9, parse_math=False)
    return figure_image(figure)


def fields(panels: Sequence[ArrowField], frame: Frame) -> Image:
    """Draw arrows over the density of points, panel beside panel, all in one frame.

    The longest twentieth of a panel's arrows are equally long; the others are by the root of
    their length, so that weak ones are seen beside strong ones.
    """
    if not panels:
        raise BadInput("no field was given; wanted at least one.")
    figure, (row,) = _panels(1, len(panels), False, True, wide=11.0)
    for axes, panel in zip(row, panels, strict=True):
        _bare(axes, frame)
        axes.imshow(
            np.sqrt(_density(coordinates_of(panel.points), frame)),
            cmap="Greens",
            vmin=0,
            vmax=1.25,
            origin="lower",
            extent=frame,
            interpolation="bilinear",
        )
        positions, arrows = coordinates_of(panel.at), coordinates_of(panel.arrows)
        finite = np.isfinite(arrows).all(1)
        positions, arrows = positions[finite], arrows[finite]
        length = np.linalg.norm(arrows, axis=1)
        reference_length = float(np.quantile(length, 0.95)) if len(length) else 0.0
        if reference_length > 0:
            spacing = (frame[1] - frame[0]) / max(np.sqrt(len(positions)), 1)
            scaled_length = np.sqrt(np.minimum(length / reference_length, 1)) * 0.95 * spacing
            arrows = arrows / np.maximum(length, 1e-30)[:, None] * scaled_length[:, None]
            axes.quiver(
                *positions.T,
                *arrows.T,
                angles="xy",
                scale_units="xy",
                scale=1,
                width=0.0042,
                headwidth=3.6,
                color="#262626",
            )
        axes.set_title(panel.title, fontsize=10, parse_math=False)
    return figure_image(figure)


def _density(x: np.ndarray, frame: Frame) -> np.ndarray:
    """Count points in cells of the frame and smooth the counts, [CELLS, CELLS], at most 1."""
    x = x[np.isfinite(x).all(1)]
    edges = [np.linspace(frame[i], frame[i + 1], CELLS + 1) for i in (2, 0)]
    count = np.histogram2d(x[:, 1], x[:, 0], edges)[0]
    offsets = np.arange(-int(4 * SMOOTH), int(4 * SMOOTH) + 1)
    kernel = np.exp(-(offsets**2) / (2 * SMOOTH**2))
    for _ in range(2):
        count = np.stack([np.convolve(line, kernel, "same") for line in count]).T
    return count / max(float(np.quantile(count, 0.995)), 1e-12)


def _panels(
    rows: int, columns: int, has_row_labels: bool, has_column_labels: bool, wide: float = 10.8
) -> tuple[Figure, list[list[Axes]]]:
    """Make square panels side by side, with room for words."""
    from matplotlib.figure import Figure

    side, margin, head = (
        (wide - 0.3 * has_row_labels) / columns,
        0.3 * has_row_labels,
        0.28 * has_column_labels,
    )
    height = rows * side + head
    figure = Figure(figsize=(wide, height), dpi=100)
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(margin / wide, 0.004, 0.998, 1 - head / height, 0.03, 0.03)
    return figure, [list(row) for row in grid]


def _bare(axes: Axes, frame: Frame) -> None:
    set_frame(axes, frame)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color="#b0b0b0", linewidth=0.6)
