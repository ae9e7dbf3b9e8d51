r"""Waves: cosines and sines of noisy data, by which a network sees differences of single levels.

Of data on 256 levels, neighbouring ones differ by 1/128 on the scale of [-1, 1], which a network
hardly tells apart, and a likelihood depends on. It is therefore shown

    e^{-(w s)^2 / 2} sin(w y),   e^{-(w s)^2 / 2} cos(w y),   y = x_t / alpha, s = sigma / alpha,

which are the means of sin(w x) and cos(w x) blurred by the noise, so that a wave shorter than the
noise fades instead of turning into noise itself.

References:
    Variational Diffusion Models, Kingma, Salimans, Poole & Ho, 2021 (arXiv:2107.00630), app. C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.maths.broadcasting import per_row

__all__ = ["of_levels", "waves"]


def waves(
    y: Float[Tensor, "B C ..."], noise: Float[Tensor, " B"], frequencies: Sequence[float]
) -> list[Float[Tensor, "B C ..."]]:
    """Return e^{-(w noise)^2 / 2} sin(w y) and the same of cos, for each frequency w.

    Arguments:
        y: Noisy data.
        noise: Deviation of the noise in each row, by which the waves are blurred.
        frequencies: Angular, in units of 1 / y.
    """
    features = []
    for frequency in frequencies:
        damping = per_row(torch.exp(-((frequency * noise) ** 2) / 2), y)
        features += [damping * (frequency * y).sin(), damping * (frequency * y).cos()]
    return features


def of_levels(count: int, most: int = 4) -> tuple[float, ...]:
    """Return waves of a bin's width and of 4, 16, … bins, the longest below a half.

    >>> len(of_levels(256)), len(of_levels(17))
    (3, 2)
    """
    frequencies: list[float] = []
    period = 2 / count
    while period < 0.5 and len(frequencies) < most:
        frequencies.append(2 * math.pi / period)
        period *= 4
    return tuple(frequencies)
