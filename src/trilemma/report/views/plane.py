"""A density of the plane beside the true one, and samples beside the data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trilemma.core.model import Density, Energetic, Model
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.pictures import figures
from trilemma.pictures.plane import square_frame
from trilemma.report.model_view import Subject
from trilemma.report.page import Picture
from trilemma.report.view import View

__all__ = ["VIEWS"]

GRID = 100
"""Points along each side of the frame on which a density is drawn."""


def _densities(subject: Subject[Model]) -> list[Picture]:
    """Draw the model's density beside the true one, and its samples beside the data."""
    data, model = subject.data, subject.model
    if subject.domain.dimensions != 2:
        return []
    x = data.test.x
    frame = square_frame(x.amin(0).numpy(), x.amax(0).numpy())
    across, up = (torch.linspace(frame[i], frame[i + 1], GRID) for i in (0, 2))
    grid_points = torch.cartesian_prod(up, across).flip(1)
    cell_area = ((frame[1] - frame[0]) / (GRID - 1)) ** 2
    panels, notes = {}, []
    if data.truth is not None:
        panels["true density"] = data.truth(grid_points).exp().view(GRID, GRID)
    log_p = _log_density(model, grid_points)
    if log_p is not None:
        if not isinstance(model, Density):
            log_p = log_p - (log_p.logsumexp(0) + math.log(cell_area))
            notes.append("normalised on the grid")
        panels["model's density"] = log_p.exp().view(GRID, GRID)
        notes.append(
            f"the model's sums to {float(log_p.exp().sum() * cell_area):.3f} over the frame"
        )
    scatters = {"data": x[:3000], "samples": draw(model, 3000, seed=0)}
    picture = figures.densities(panels, scatters, frame)
    caption = "; ".join(["All in one frame, and the densities on one scale", *notes]) + "."
    return [Picture("density and samples", picture, caption)]


def _log_density(model: Model, x: Tensor) -> Tensor | None:
    """Return ln p(x) of points, or -E(x), or nothing."""
    parts = x.split(4096)
    if isinstance(model, Density):
        return torch.cat([model.log_prob(part) for part in parts]).double()
    if isinstance(model, Energetic):
        noise = [Noise.of(i, len(part)) for i, part in enumerate(parts)]
        pairs = zip(parts, noise, strict=True)
        return torch.cat([-model.energy(part, noise=n) for part, n in pairs]).double()
    return None


VIEWS = (
    View(
        name="density on the plane",
        section="density",
        needs=(Model,),
        kinds=("points",),
        draw=_densities,
    ),
)
