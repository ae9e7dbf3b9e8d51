"""What pictures of the plane share: coordinates, a square frame, and figures as images."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["Frame", "coordinates_of", "figure_image", "set_frame", "square_frame"]

Frame: TypeAlias = tuple[float, float, float, float]
"""Left, right, bottom, top."""


def coordinates_of(x: Tensor) -> np.ndarray:
    """Return points [N, D] as [N, 2]: the first two coordinates, or the one there is and zero.

    >>> coordinates_of(torch.ones(1, 1)).tolist()
    [[1.0, 0.0]]
    """
    flat = x.detach().cpu().float().flatten(1)
    if flat.shape[1] == 1:
        flat = torch.cat([flat, torch.zeros_like(flat)], 1)
    return flat[:, :2].numpy()


def square_frame(low: np.ndarray, high: np.ndarray, room: float = 0.1) -> Frame:
    """Return the square about the box from low to high, with room on each side of its longest.

    >>> square_frame(np.array([0.0, 0.0]), np.array([2.0, 4.0]), room=0.25)
    (-2.0, 4.0, -1.0, 5.0)
    """
    centre, half_width = (low + high) / 2, max(float((high - low).max()), 1e-6) * (0.5 + room)
    left, bottom = (centre - half_width).tolist()
    return left, left + 2 * half_width, bottom, bottom + 2 * half_width


def set_frame(axes: Axes, frame: Frame) -> None:
    """Show just this part of the plane."""
    left, right, bottom, top = frame
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def figure_image(figure: Figure) -> Image:
    """Draw a figure of matplotlib as a Pillow image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba()).copy()).convert("RGB")
