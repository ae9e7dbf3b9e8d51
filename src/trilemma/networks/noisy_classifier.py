"""A classifier of noisy examples, given the noise level: (x_t, log-SNR) -> logits.

Its gradient with respect to x_t is what classifier guidance adds to a denoiser. Images go through
residual blocks at falling resolution and are averaged over their places; points, through a
perceptron. Every block is conditioned on the noise level, as in the denoisers.

References:
    Diffusion Models Beat GANs on Image Synthesis, Dhariwal & Nichol, 2021 (arXiv:2105.05233).
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.networks.layers import MLP, LogSnrEmbedding
from trilemma.networks.unet import UNetBlock

__all__ = ["NoisyClassifier"]


class NoisyClassifier(nn.Module):
    """Noisy examples to logits.

    Arguments:
        shape: Of an example, (C, H, W) or (D,).
        classes: How many classes.
        width: Channels at the finest resolution, or units of a layer.

    >>> import torch
    >>> NoisyClassifier((1, 8, 8), 3, width=16)(torch.zeros(5, 1, 8, 8), torch.zeros(5)).shape
    torch.Size([5, 3])
    """

    def __init__(self, shape: tuple[int, ...], classes: int, *, width: int = 32) -> None:
        super().__init__()
        self.noise_level = LogSnrEmbedding(2 * width)
        self.points: MLP | None = None
        self.blocks = nn.ModuleList()
        if len(shape) == 1:
            self.points = MLP(shape[0], classes, width=4 * width, depth=3, condition=2 * width)
            return
        self.enter = nn.Conv2d(shape[0], width, 3, stride=2 if min(shape[1:]) >= 16 else 1)
        self.blocks.extend(UNetBlock(w, 2 * w, 2 * width) for w in (width, 2 * width))
        self.leave = nn.Linear(4 * width, classes)

    def forward(
        self, x: Float[Tensor, "B ..."], log_snr: Float[Tensor, " B"]
    ) -> Float[Tensor, "B K"]:
        """Return the logits of noisy examples, scaled."""
        e = F.silu(self.noise_level(log_snr))
        if self.points is not None:
            return self.points(x, e)
        h = self.enter(x)
        for block in self.blocks:
            h = F.avg_pool2d(cast(UNetBlock, block)(h, e), 2)
        return self.leave(F.silu(h).mean((2, 3)))
