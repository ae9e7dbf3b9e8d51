"""Films of adversarial games on the plane: data, samples, the critic's score and its pull."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.words import brief
from trilemma.pictures.films import shared
from trilemma.pictures.plane import coordinates_of, figure_image, set_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["film"]

SURFACE = ("#b79fcb", "#d9cce4", "#f6f5f3", "#c9e2c4", "#8fc48d")
"""Colours of a critic's score, from least to most real; pale, for points to be seen on them."""
SAMPLES = "#d04a00"
"""Colour of samples: orange, which stands out from all of these."""
ARROWS = 80
"""Samples whose pull is drawn."""


def film(
    steps: Sequence[int],
    frames: Sequence[Mapping[str, Tensor]],
    data: Tensor,
    size: int = 420,
    milliseconds: int = 130,
) -> bytes:
    """Draw a game on the plane as it was played: data, samples, the critic's score and its pull.

    The score is drawn as filled contours, as far above or below its middle between data and
    samples as it is: green where examples look more real, purple where less. Each frame has its
    own scale, whose ends it names, for a critic's scores may be of any size. An arrow at a sample
    points along the score's gradient; the longest of a frame are equally long.

    Arguments:
        steps: [T], at which the frames were kept.
        frames: [T] of 'score' [R, R] on a grid, row i at the i-th ordinate from below, 'frame'
            [4] left, right, bottom, top of it, 'samples' [N, 2] and 'slope' [N, 2].
        data: [M, 2], points of the data.
        size: Side of the picture in pixels, without the line above it.
        milliseconds: Time of a frame.

    Returns:
        A GIF file.
    """
    from matplotlib.figure import Figure

    if not frames:
        raise BadInput("a film needs at least one frame, and none was given.")
    title_height = 24
    figure = Figure(figsize=(size / 100, (size + title_height) / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, size / (size + title_height)))
    background = coordinates_of(data[:600])
    pictures = []
    for step, frame in zip(steps, frames, strict=True):
        axes.clear()
        axes.set_axis_off()
        figure.texts.clear()
        low, high = _game(axes, frame, background)
        above = 1 - 0.55 * title_height / (size + title_height)
        figure.text(0.02, above, f"step {step:,}", va="center", fontsize=9)
        scale = f"score {brief(low)} … {brief(high)}"
        figure.text(0.98, above, scale, va="center", ha="right", fontsize=9)
        pictures.append(figure_image(figure))
    return shared(pictures, milliseconds)


def _game(axes: Axes, frame: Mapping[str, Tensor], data: np.ndarray) -> tuple[float, float]:
    """Draw one moment of a game; returns the ends of the scale of scores."""
    from matplotlib.colors import LinearSegmentedColormap

    left, right, bottom, top = frame["frame"].tolist()
    score = frame["score"].double().nan_to_num(0, 0, 0).numpy()
    samples, gradient = coordinates_of(frame["samples"]), coordinates_of(frame["slope"])
    across = np.linspace(left, right, score.shape[1])
    up = np.linspace(bottom, top, score.shape[0])

    def scores_at(x: np.ndarray) -> np.ndarray:
        """Return the scores at the places on the grid nearest to points."""
        inside = x[np.isfinite(x).all(1)]
        column = np.rint((inside[:, 0] - left) / (right - left) * (len(across) - 1))
        row = np.rint((inside[:, 1] - bottom) / (top - bottom) * (len(up) - 1))
        return score[
            np.clip(row, 0, len(up) - 1).astype(int),
            np.clip(column, 0, len(across) - 1).astype(int),
        ]

    real, fake = scores_at(data), scores_at(samples)
    middle = (np.median(real) + np.median(fake if len(fake) else real)) / 2
    grid_spread = float(np.quantile(np.abs(score - middle), 0.9))
    example_spread = float(np.quantile(np.abs(np.concatenate([real, fake]) - middle), 0.9))
    # Between the two: hills and valleys where the players are, without drowning them in far ones.
    score_range = max(math.sqrt(grid_spread * max(example_spread, grid_spread / 50)), 1e-12)
    colours = LinearSegmentedColormap.from_list("game", SURFACE)
    levels = np.linspace(middle - score_range, middle + score_range, 15)
    axes.contourf(across, up, score, levels, cmap=colours, extend="both")
    axes.scatter(*data.T, s=5, color="#5c5c5c", linewidths=0, alpha=0.45)
    axes.scatter(*samples.T, s=10, color=SAMPLES, linewidths=0, alpha=0.9)
    length = np.linalg.norm(gradient, axis=1)
    reference_length = (
        np.quantile(length[np.isfinite(length)], 0.95) if np.isfinite(length).any() else 0
    )
    if reference_length > 0:
        max_length = 0.09 * (right - left)
        arrow = (
            gradient
            * (
                np.minimum(length, reference_length)
                / np.maximum(length, 1e-30)
                / reference_length
                * max_length
            )[:, None]
        )
        axes.quiver(
            *samples[:ARROWS].T,
            *arrow[:ARROWS].T,
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.003,
            color="#262626",
            alpha=0.8,
        )
    set_frame(axes, (left, right, bottom, top))
    return middle - score_range, middle + score_range
