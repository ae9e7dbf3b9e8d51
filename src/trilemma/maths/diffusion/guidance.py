r"""Guidance: a denoiser made of denoisers.

Classifier-free guidance moves the clean estimate along the line from what would be guessed of an
x without a condition to what is guessed with it:

    xhat = xhat(x_t) + w (xhat(x_t, c) - xhat(x_t))

w = 0 ignores the condition, w = 1 obeys it, w > 1 exaggerates it: samples become more typical of
c and less various. The result is no longer the clean estimate of any distribution in general.
What exaggeration costs in variety is lost at high noise, what it wins in faithfulness is won in
the middle: so guidance may be confined to an interval of times, outside of which the condition
is just obeyed.

Classifier guidance asks a classifier of noisy states instead of a second denoiser. By Bayes' rule
the score of x_t given c is that of x_t plus grad ln p(c | x_t), and by Tweedie's formula
E[x | x_t] = (x_t + sigma^2 score) / alpha, so that

    xhat = xhat(x_t) + w sigma^2 / alpha grad ln p(c | x_t)

is, at w = 1 and with the true p(c | x_t), exactly E[x | x_t, c].

References:
    Classifier-Free Diffusion Guidance, Ho & Salimans, 2022 (arXiv:2207.12598).
    Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion
    Models, Kynkäänniemi, Aittala, Karras, Laine, Aila & Lehtinen, 2024 (arXiv:2404.07724).
    Diffusion Models Beat GANs on Image Synthesis, Dhariwal & Nichol, 2021 (arXiv:2105.05233).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.maths.diffusion.schedules import Schedule

__all__ = ["Denoise", "classifier_guided", "guided"]

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x_t, [B, *d]; t, scalar) -> E[x | x_t], [B, *d]."""


def guided(
    conditional: Denoise,
    unconditional: Denoise,
    weight: float,
    over: tuple[float, float] = (0.0, 1.0),
) -> Denoise:
    """Return the guided denoiser; where it is one of the two, it costs as one.

    Arguments:
        conditional: (x_t, t) -> E[x | x_t, c].
        unconditional: (x_t, t) -> E[x | x_t].
        weight: w.
        over: Times, ends included, at which the weight is w; it is 1 at the others.
    """
    if weight == 1:
        return conditional
    low, high = over
    always = low <= 0 and high >= 1
    if weight == 0 and always:
        return unconditional

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        if not (always or low <= float(t) <= high):
            return conditional(x, t)
        without = unconditional(x, t)
        return without if weight == 0 else without + weight * (conditional(x, t) - without)

    return denoise


def classifier_guided(
    denoise: Denoise,
    log_prob: Callable[[Tensor, Tensor], Float[Tensor, " B"]],
    schedule: Schedule,
    weight: float = 1.0,
) -> Denoise:
    """Return the denoiser guided by a classifier of noisy states.

    Arguments:
        denoise: (x_t, t) -> E[x | x_t].
        log_prob: (x_t, t) -> ln p(c | x_t) of the wanted c, one number a row, differentiable.
        schedule: That of x_t.
        weight: w.
    """
    if weight == 0:
        return denoise

    def toward(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule(t)
        with torch.enable_grad():
            state = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(log_prob(state, t).sum(), state)
        return denoise(x, t) + (weight * sigma**2 / alpha).to(x) * gradient

    return toward
