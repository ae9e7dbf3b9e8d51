r"""What a diffusion is made of besides its network, each part as the papers have it.

    ForwardProcess     q(x_t | x) = N(alpha_t x, sigma_t^2 I) in a space, and the chain's length T
    DiffusionTraining  L = E_t E_eps [w(t) ||x - xhat(x_t, t)||^2]: how t is drawn, and w(t)
    DiffusionSampling  the way from x_1 to x_0: sampler, steps, grid, temperature, guidance

Sampling alone may be changed after training, by `Diffusion.adjusted`.

References:
    Variational Diffusion Models, Kingma, Salimans, Poole & Ho, 2021 (arXiv:2107.00630).
    Elucidating the Design Space of Diffusion-Based Generative Models, Karras, Aittala, Aila &
    Laine, 2022 (arXiv:2206.00364), table 1: sampling and training, apart.
    Efficient Diffusion Training via Min-SNR Weighting Strategy, Hang et al., 2023
    (arXiv:2303.09556).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trilemma.core.errors import BadInput, nearest
from trilemma.maths.diffusion import training_times
from trilemma.maths.diffusion.samplers import SAMPLERS, Sampler
from trilemma.maths.diffusion.sampling_grids import GRIDS, LEVELS
from trilemma.maths.diffusion.schedules import Schedule
from trilemma.maths.diffusion.spaces import Euclidean, Space

__all__ = [
    "WEIGHTINGS",
    "DiffusionSampling",
    "DiffusionTraining",
    "ForwardProcess",
    "named_sampler",
    "refuse_dropout",
    "refuse_guidance",
    "refuse_steps",
    "refuse_temperature",
]

WEIGHTINGS = ("own", "noise", "bound", "min-snr")
"""Weights of the loss: of what the network predicts; of the noise (L_simple); nats of the bound;
of the noise, at most m."""

UNTIMED = 1000
"""Steps of the bound, and cells of the weights, where training is in continuous time."""


@dataclass(frozen=True)
class ForwardProcess:
    """How data are exchanged for noise: x_t = alpha_t x + sigma_t eps.

    Arguments:
        schedule: t to (alpha, sigma).
        chain: T, steps of the chain on which a denoiser is trained and bounded; 0: continuous
            time.
        space: Where eps lives.

    Raises:
        BadInput: The chain has a negative number of steps.
    """

    schedule: Schedule
    chain: int = 1000
    space: Space = field(default_factory=Euclidean)

    def __post_init__(self) -> None:
        """Refuse a chain that is none."""
        if self.chain < 0:
            raise BadInput(
                f"a chain of {self.chain} steps was given; a chain has 1 step or more (0: "
                "continuous time)."
            )

    @property
    def bound_steps(self) -> int:
        """Return T, or the steps of the bound of a process in continuous time."""
        return self.chain or UNTIMED


@dataclass(frozen=True)
class DiffusionTraining:
    """The loss: which noise levels training sees how often, and what an error there weighs.

    Arguments:
        times: How t is drawn, one of `maths.diffusion.training_times.TIMES`.
        weighting: w(t), one of `WEIGHTINGS`.
        max_snr: m of 'min-snr', the SNR above which it ceases to weigh more; 5 in its paper.
        label_dropout: Share of training examples whose condition is hidden.

    Raises:
        BadInput: A name is not known, or the share is none.
    """

    times: str = "uniform"
    weighting: str = "own"
    max_snr: float = 5.0
    label_dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.times not in training_times.TIMES:
            raise nearest("times", self.times, training_times.TIMES)
        if self.weighting not in WEIGHTINGS:
            raise nearest("weighting", self.weighting, WEIGHTINGS)
        refuse_dropout(self.label_dropout)


@dataclass(frozen=True)
class DiffusionSampling:
    """The way from noise to data, which any trained model may take: its options at the call.

    Arguments:
        sampler: A name in `SAMPLERS`, or a sampler with settings of its own.
        steps: Steps of the way.
        grid: How they are spaced, one of `GRIDS`; 'auto' takes the sampler's own.
        eta: Fresh noise that a sampler that is named puts back: DDIM's eta, the churn of others.
        noise_range: The largest and the smallest noise level sigma / alpha, on grids that are
            spaced by it.
        temperature: Of the noise: below 1 samples are nearer to the mean of what may be, and less
            various.
        guidance: w, weight of the condition: 1 obeys, more exaggerates, 0 ignores.
        guidance_over: Times (from, to) between which guidance acts.

    Raises:
        BadInput: A name is not known, or a number is out of its range.
    """

    sampler: str | Sampler = "ddim"
    steps: int = 50
    grid: str = "auto"
    eta: float = 0.0
    noise_range: tuple[float, float] = LEVELS
    temperature: float = 1.0
    guidance: float = 1.0
    guidance_over: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        named_sampler(self.sampler, self.eta)
        refuse_steps(self.steps)
        if self.grid not in ("auto", *GRIDS):
            raise nearest("grid", self.grid, ("auto", *GRIDS))
        refuse_temperature(self.temperature)
        low, high = self.guidance_over
        if not 0 <= low < high <= 1:
            raise BadInput(
                f"guidance over {low:g} to {high:g} was asked for; give times from 0 to 1, "
                "the first below the second."
            )


def named_sampler(sampler: str | Sampler, eta: float = 0.0) -> Sampler:
    """Return a sampler by its name; one that is given stays as it is.

    Arguments:
        sampler: A name in `SAMPLERS`, or a sampler.
        eta: How much fresh noise it puts back on the way: DDIM's eta, the churn of others.

    Raises:
        BadInput: The name is not known, or the sampler puts back none, or has its own settings.
    """
    if not isinstance(sampler, str):
        if eta:
            raise BadInput(f"eta {eta:g} was given beside {sampler}; give it a sampler's name.")
        return sampler
    if sampler not in SAMPLERS:
        raise nearest("sampler", sampler, SAMPLERS)
    kind = SAMPLERS[sampler]
    if kind.fresh:
        return kind(**{kind.fresh: eta})
    if eta:
        able = [key for key, entry in SAMPLERS.items() if entry.fresh]
        raise BadInput(
            f"--eta {eta:g} was given for {sampler}, which has no such choice; "
            f"{', '.join(able[:-1])} and {able[-1]} put noise back."
        )
    return kind()


def refuse_steps(steps: int, chain: int = 0) -> None:
    """Refuse to sample in no steps, or in more than those of the chain that was trained."""
    if steps < 1:
        raise BadInput(f"{steps} sample steps were given; sampling takes 1 or more.")
    if chain and steps > chain:
        raise BadInput(
            f"{steps} sample steps were asked of a chain of {chain}; give "
            f"{chain} or fewer, or train with --chain 0, in continuous time."
        )


def refuse_dropout(share: float) -> None:
    """Refuse a label dropout that is no share."""
    if not 0 <= share <= 1:
        raise BadInput(f"label dropout {share:g} was given; it is a share, 0 to 1.")


def refuse_temperature(temperature: float) -> None:
    """Refuse a temperature at which nothing is drawn, or nothing but noise."""
    if not 0 <= temperature <= 2:
        raise BadInput(f"--temperature {temperature:g} was given; it takes 0 to 2.")


def refuse_guidance(
    guidance: float, *, conditional: bool, dropout: float, classifier_free: bool = True
) -> None:
    """Refuse guidance where there is nothing to be guided by.

    Arguments:
        guidance: Its weight.
        conditional: Whether the model is conditioned on something.
        dropout: Share of training examples whose condition is hidden.
        classifier_free: Whether the denoiser's own condition guides, not a classifier.
    """
    if guidance == 1:
        return
    if not conditional:
        raise BadInput(
            f"guidance {guidance:g} was given for data without classes or captions; leave it out."
        )
    if classifier_free and dropout == 0:
        raise BadInput(
            f"guidance {guidance:g} compares with an unconditional model, and "
            "label dropout 0 trains none; give --label-dropout 0.1 or --guidance 1."
        )
