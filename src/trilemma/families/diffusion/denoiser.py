r"""A denoiser: a network, and what it says of x given x_t.

Between the network and everything else stands the clean estimate xhat = E[x | x_t]: training,
samplers, bound and flow know neither what the network predicts nor what it is shown.

Where x_t is nearly all noise, an estimate by way of the noise would be anything at all. Data with
a range hold it back: estimates are cut. Data without one are standardised, and above the noise
level `prediction.faint` their mean, 0, is the estimate; it costs the bound D / (2 faint^2) nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import nearest
from trilemma.families.diffusion.bound import VARIANCES
from trilemma.families.diffusion.options import ForwardProcess
from trilemma.maths.broadcasting import per_row
from trilemma.maths.diffusion.fourier_features import waves
from trilemma.maths.diffusion.predictions import Prediction
from trilemma.maths.diffusion.samplers import Denoise

__all__ = ["ConditionedDenoiser", "Denoiser", "Guided"]


@dataclass(frozen=True)
class Denoiser:
    """What a network's answers mean.

    Arguments:
        network: (x [B, C, …] scaled, log-SNR [B], condition) to [B, C, …]; waves are further
            channels of x, and a learned variance as many more of what it gives.
        process: What it undoes.
        prediction: What the network's output means.
        frequencies: Of the waves that the network is shown beside x.
        variance: Of a step back, one of `VARIANCES`; 'learned' is the network's own.
        is_cut: Whether clean estimates are cut to [-1, 1]; None: where data are levels.

    Raises:
        BadInput: The variance is not known.
    """

    network: nn.Module
    process: ForwardProcess
    prediction: Prediction
    frequencies: Sequence[float] = ()
    variance: str = "posterior"
    is_cut: bool | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown variance."""
        if self.variance not in VARIANCES:
            raise nearest("variance", self.variance, VARIANCES)

    def over(self, domain: Domain) -> Denoiser:
        """Return the denoiser of data of a domain: of levels, whose range is known, it is cut."""
        is_cut = isinstance(domain.values, Levels) if self.is_cut is None else self.is_cut
        return replace(self, is_cut=is_cut)

    def estimate(
        self, x: Float[Tensor, "B ..."], t: Tensor, condition: Condition | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the clean estimate, uncut, and v in (0, 1) of a learned variance."""
        alpha, sigma = (per_row(number, x) for number in self.process.schedule(t))
        output, v = self.output(x, t, condition)
        clean = self.prediction.denoised(output, x, alpha, sigma)
        if not self.is_cut:
            clean = torch.where(sigma > self.prediction.faint * alpha, 0.0, clean)
        return clean, v

    def output(
        self, x: Float[Tensor, "B ..."], t: Tensor, condition: Condition | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return what the network predicts, and v of a learned variance."""
        alpha, sigma = self.process.schedule(t)
        inputs = self.prediction.scale(per_row(alpha, x), per_row(sigma, x)) * x
        if self.frequencies:
            noise_level = (sigma / alpha).expand(len(x))
            inputs = torch.cat(
                [inputs, *waves(x / per_row(alpha, x), noise_level, self.frequencies)], dim=1
            )
        output = self.network(inputs, self.clock(t, len(x)), condition).float()
        if self.variance != "learned":
            return output, None
        output, v = output.chunk(2, dim=1)
        return output, v.sigmoid()

    def clock(self, t: Tensor, count: int) -> Float[Tensor, " B"]:
        """Return the log-SNR of each row, the only clock that a network is shown."""
        return self.process.schedule.log_snr(t).clamp(-30, 30).float().expand(count)

    def cut(self, clean: Tensor) -> Tensor:
        """Cut clean estimates to the data's range, where they have one."""
        return clean.clamp(-1, 1) if self.is_cut else clean


class ConditionedDenoiser:
    """A denoiser with a fixed condition; it remembers v of a learned variance."""

    def __init__(self, denoiser: Denoiser, condition: Condition | None) -> None:
        self.denoiser, self.condition = denoiser, condition
        self.v: Tensor | None = None

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the clean estimate, uncut."""
        clean, self.v = self.denoiser.estimate(x, t, self.condition)
        return clean


class Guided:
    """A denoiser made of denoisers; v is that of the last of them that was asked."""

    def __init__(self, denoise: Denoise, parts: Sequence[ConditionedDenoiser]) -> None:
        self.denoise, self.parts = denoise, parts

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the guided estimate, uncut."""
        for part in self.parts:
            part.v = None
        return self.denoise(x, t)

    @property
    def v(self) -> Tensor | None:
        """Return v of the conditional denoiser where it was asked, else of the other."""
        return next((part.v for part in reversed(self.parts) if part.v is not None), None)
