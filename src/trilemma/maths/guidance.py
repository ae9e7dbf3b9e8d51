r"""Guidance: a denoiser made of denoisers.

Classifier-free guidance moves the clean estimate along the line from what would be guessed of an
x without a condition to what is guessed with it:

    xhat = xhat(x_t) + w (xhat(x_t, c) - xhat(x_t))

w = 0 ignores the condition, w = 1 obeys it, w > 1 exaggerates it: samples become more typical of
c and less various. The result is no longer the clean estimate of any distribution in general.

References:
    Classifier-Free Diffusion Guidance, Ho & Salimans, 2022 (arXiv:2207.12598).
"""

from __future__ import annotations

from torch import Tensor

from trilemma.maths.samplers import Denoise

__all__ = ["guided"]


def guided(conditional: Denoise, unconditional: Denoise, weight: float) -> Denoise:
    """Return the guided denoiser; at weights 0 and 1 it is one of the two, and costs as one.

    Arguments:
        conditional: (x_t, t) -> E[x | x_t, c].
        unconditional: (x_t, t) -> E[x | x_t].
        weight: w.
    """
    if weight == 1:
        return conditional
    if weight == 0:
        return unconditional

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        without = unconditional(x, t)
        return without + weight * (conditional(x, t) - without)

    return denoise
