r"""How far an image lies from its enlargement where that is smooth, and where it is not.

What a small image leaves open is nearly nothing in a sky and much in a meadow: of photographs the
root mean square of the rest r = x - u varies thirtyfold between images. It is told by how much
the enlargement u itself varies about a pixel p,

    e(p) = mean over a window about p, and over channels, of |differences of neighbours of u|^2
    s(p)^2 = exp(a + b ln(e(p) + q^2 / 12))

with q the step between levels, whose rounding leaves at least a variance of q^2 / 12. The two
numbers are those under which N(0, s^2) makes the rests most likely,

    min over a, b of    sum_p  ln s(p)^2 + (r(p)^2 + q^2 / 12) / s(p)^2,

a convex problem. At its minimum (r^2 + q^2 / 12) / s^2 has mean 1 and no covariance with ln e: the
rest in units of s has a mean square of 1, as well where the enlargement is smooth as where not.

References:
    Generalized Linear Models (Nelder & Wedderburn, 1972): the variance as a gamma regression with
    a logarithmic link.
    PriorGrad (Lee et al., 2021), arXiv:2106.06406: noise whose spread the condition tells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["fitted", "local_energy", "local_spread"]

ROUNDS, CLOSE = 100, 1e-12
"""Newton's steps at most, and the fall of the mean below which none follows."""
RIDGE = 1e-6
"""Added to the curvature: of images that vary alike everywhere b is not told."""


def local_energy(
    u: Float[Tensor, "B C H W"], window: int, step: float
) -> Float[Tensor, "B 1 H W"]:
    """Return ln(e + q^2 / 12) of each pixel.

    Arguments:
        u: Images.
        window: Side of the window, odd; at the edges it is cut.
        step: q, between levels, in units of u.
    """
    down = F.pad(u[..., 1:, :] - u[..., :-1, :], (0, 0, 0, 1))
    across = F.pad(u[..., 1:] - u[..., :-1], (0, 1))
    energy = (down.square() + across.square()).mean(1, keepdim=True)
    blurred = F.avg_pool2d(energy, window, 1, window // 2, count_include_pad=False)
    return (blurred + step**2 / 12).log()


def local_spread(
    log_energy: Float[Tensor, "B 1 H W"], weights: Float[Tensor, " 2"]
) -> Float[Tensor, "B 1 H W"]:
    """Return s of each pixel, by its `local_energy` and by (a, b)."""
    return ((weights[0] + weights[1] * log_energy) / 2).exp()


def fitted(
    log_energy: Float[Tensor, "B 1 H W"], rest: Float[Tensor, "B C H W"], step: float
) -> Float[Tensor, " 2"]:
    """Return (a, b) under which rests are most likely, float64.

    Arguments:
        log_energy: Of the pixels of the enlargements.
        rest: What they lack.
        step: q, between levels.
    """
    told = log_energy.flatten().double()
    seen = (rest.double().square().mean(1) + step**2 / 12).flatten()
    design = torch.stack([torch.ones_like(told), told], dim=1)

    def loss(weights: Tensor) -> Tensor:
        log_variance = design @ weights
        return (log_variance + seen * (-log_variance).exp()).mean()

    weights = torch.stack([seen.mean().log(), seen.new_zeros(())])
    now = loss(weights)
    for _ in range(ROUNDS):
        share = seen * (-(design @ weights)).exp()
        slope = design.T @ (1 - share) / len(seen)
        curvature = design.T @ (design * share[:, None]) / len(seen)
        move = torch.linalg.solve(curvature + RIDGE * torch.eye(2).to(curvature), slope)
        while not loss(weights - move) <= now:
            move = move / 2
        weights = weights - move
        before, now = now, loss(weights)
        if before - now <= CLOSE:
            break
    return weights
