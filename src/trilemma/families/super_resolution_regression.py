r"""Super-resolution by least squares: what SR3 is compared with.

    L = E ||r - f(u)||^2 per coordinate,   least where f(u) = E[r | y]

The rest r, the bicubic image u and the small image y are those of
`families.diffusion.super_resolution`; f is the same network, given zeros for r_t and one noise
level, so that it costs the same and learns in the same time. Its answer is the mean of all large
images that go with y, which no other answer beats in PSNR, and which is blurred: where y leaves a
choice, it takes the middle.

References:
    | Image Super-Resolution via Iterative Refinement (Saharia, Ho, Chan, Salimans, Fleet &
      Norouzi, 2021, arXiv:2104.07636), section 4: the regression baseline
    | The Perception-Distortion Tradeoff (Blau & Michaeli, 2018, arXiv:1711.06077)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from trilemma.core.adjusting import replaced_options, with_sampling
from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain
from trilemma.core.model import Loss, Model, Objective
from trilemma.core.noise import Noise
from trilemma.families.diffusion.super_resolution import Pairing, sampling_inputs

__all__ = ["Regression"]

LEVEL = -20.0
"""The network's log-SNR: all noise and no signal."""


@dataclass(frozen=True)
class RegressionSampling:
    """What may be chosen at the call.

    Arguments:
        consistent: Whether the large image, reduced, gives the small one again.
    """

    consistent: bool = True


class Regression(Model[Examples, Tensor]):
    """A network that gives the mean of all large images that go with a small one.

    Arguments:
        network: (zeros [B, C, H, W], log-SNR [B], condition with its image) to [B, C, H, W].
        pairing: Large images and small ones.
        prompts: Gives small images for samples without a condition.
        sampling: Its option at the call; `RegressionSampling()` if none is given.
    """

    def __init__(
        self,
        network: nn.Module,
        pairing: Pairing,
        *,
        prompts: nn.Module,
        sampling: RegressionSampling | None = None,
    ) -> None:
        super().__init__()
        self.network, self.pairing, self.prompts = network, pairing, prompts
        self.sampling = sampling or RegressionSampling()

    def adjusted(self, **options: Any) -> Self:  # noqa: ANN401
        """Return a view of the same weights that enlarges with other options.

        Arguments:
            options: Fields of `RegressionSampling`.

        Raises:
            BadInput: There is no such option.
        """
        return with_sampling(self, replaced_options(self.sampling, options))

    @property
    def domain(self) -> Domain:
        """Return where the large images lie."""
        return self.pairing.domain

    @property
    def scale(self) -> int:
        """Return how many times as long the sides become."""
        return self.pairing.scale

    def objectives(self) -> Sequence[Objective[Examples]]:
        """Return the one player."""
        return [Objective("regressor", self.loss, list(self.network.parameters()))]

    def loss(self, batch: Examples) -> Loss:
        """Return the mean square error of the rest, per coordinate."""
        assert batch.condition is not None
        assert batch.condition.image is not None
        small = batch.condition.image
        residual = self.pairing.residual(batch.x, small)
        return Loss((residual - self._mean(small, self.network)).square().mean())

    def _mean(self, small: Tensor, network: nn.Module) -> Tensor:
        """Return what the network takes E[r | y] for."""
        rows, channels, height, width = small.shape
        zeros = torch.zeros(
            rows, channels, height * self.scale, width * self.scale, device=small.device
        )
        level = torch.full((rows,), LEVEL, device=small.device)
        return network(zeros, level, Condition(image=small)).float()

    @torch.no_grad()
    def sample(
        self, n: int, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Tensor:
        """Return n large images in data units; chance chooses only among small images.

        Arguments:
            n: How many.
            condition: Their small images; None takes some of the training split.
            noise: n rows.
        """
        return self.restore(sampling_inputs(n, condition, noise, self.prompts)[2])

    def shrink(self, x: Tensor) -> Tensor:
        """Return the small images, [B, C, H / scale, W / scale], of large ones, data units."""
        return self.pairing.shrink(x)

    @torch.no_grad()
    def restore(
        self,
        small: Tensor,
        *,
        noise: Noise | None = None,
        network: nn.Module | None = None,
    ) -> Tensor:
        """Return the large image of each small one, data units, whatever the size.

        Arguments:
            small: [B, C, h, w], data units.
            noise: Not looked at: there is one answer.
            network: Used in place of the model's network, e.g. one that works in tiles.
        """
        residual = self._mean(small, network or self.network)
        residual = self.pairing.constrain(residual, small, consistent=self.sampling.consistent)
        return self.pairing.from_residual(residual, small)
