r"""Flow matching: learn the velocity that carries noise to data along straight lines.

Noise eps ~ N(0, I) at t = 0 and data y at t = 1 are joined by a line, and the network learns the
mean velocity of the lines that pass a place:

    y_t = (1 - t) eps + t y,    v(y_t, t) = E[y - eps | y_t],
    cost = 1/D ||v_theta(y_t, t) - (y - eps)||^2        (mean over the D coordinates)

Following dy/dt = v(y, t) from t = 0 to 1 turns N(0, I) into the data, whatever pairs eps with y as
long as eps alone is normal; and the same equation, followed back, gives the density

    ln p(y) = ln N(y_0; 0, I) - ∫_0^1 div v(y_t, t) dt.

Here is what keeps it accurate at the end of time, where a level of an image is a bin of width w
and the velocity is not known before the noise 1 - t is below w:

- *The network gives a standardised rest.* With s the spread of the data, r^-2 = t^2 s^2 + (1-t)^2,

      v = (t s^2 - (1 - t)) r^2 y_t + s r F(r y_t, log-SNR),

  which is (E[y | y_t] - y_t) / (1 - t) for Karras et al.'s clean estimate, with the division done
  by hand: finite at both ends, and F has a target of variance one at all times.
- *The clock is the log-SNR*, 2 ln(t / (1 - t)), cut where training has no examples any more.
- *Fine waves*, e^{-(w_k (1-t))^2 / 2} (sin, cos)(w_k y_t), beside y_t: half precision and smooth
  networks do not see a difference of w in a number near 1. The factor is that by which the noise
  blurs the wave, so that a network is not shown noise.
- *Times are drawn and steps are taken evenly in ln(1 - t + d)*: `refined`. The steps of a density
  are chosen for each example by itself, by the error of y and of ln p together: `integrate_flow`.

References:
    Flow Matching for Generative Modeling, Lipman, Chen, Ben-Hamu, Nickel & Le, 2022
    (arXiv:2210.02747).
    Flow Straight and Fast, Liu, Gong & Liu, 2022 (arXiv:2209.03003).
    Improving and generalizing flow-based generative models with minibatch optimal transport,
    Tong et al., 2023 (arXiv:2302.00482).
    Scaling Rectified Flow Transformers, Esser et al., 2024 (arXiv:2403.03206): logit-normal times.
    Variational Diffusion Models, Kingma, Salimans, Poole & Ho, 2021 (arXiv:2107.00630): waves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.adjusting import replaced_options, with_sampling
from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput, RanAway, nearest
from trilemma.core.noise import Noise
from trilemma.families.dequantised_density import Continuous
from trilemma.families.diffusion.options import refuse_dropout, refuse_guidance
from trilemma.families.diffusion.probability_flow import TOLERANCE, integrate_flow
from trilemma.maths import ode
from trilemma.maths.broadcasting import per_row
from trilemma.maths.diffusion.fourier_features import waves
from trilemma.maths.diffusion.guidance import guided
from trilemma.maths.distributions import log_normal, per_example
from trilemma.maths.minibatch_optimal_transport import paired

__all__ = [
    "PAIRINGS",
    "TIMES",
    "Divergence",
    "FlowMatching",
    "FlowMatchingSampling",
    "FlowMatchingTraining",
    "Preconditioning",
]

PAIRINGS = ("independent", "optimal-transport")
"""Which noise goes with which data in training."""

TIMES = ("likelihood", "uniform", "logit-normal")
"""How training times are drawn: half of them `refined` and half uniform, all uniform, or with
ln(t / (1 - t)) standard normal."""


@dataclass(frozen=True)
class Preconditioning:
    """What the network is shown, and by how much its answer is scaled.

    Arguments:
        spread: s, the root mean square of the data.
        finest: d, the noise beyond which nothing is left to be learnt about y.
        frequencies: w_k of the waves; each adds a sine and a cosine for every channel.
    """

    spread: float = 1.0
    finest: float = 2e-3
    frequencies: Sequence[float] = ()


@dataclass(frozen=True)
class FlowMatchingTraining:
    """The cost: which noise goes with which data, and how often each time is seen.

    Arguments:
        pairing: One of `PAIRINGS`. Optimal transport is among all rows of a batch, whoever is to
            compute them, and within classes, so that the noise of a class stays normal.
        times: One of `TIMES`.
        label_dropout: Share of training examples whose condition is hidden.

    Raises:
        BadInput: A name is not known, or the share is none.
    """

    pairing: str = "independent"
    times: str = "likelihood"
    label_dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.pairing not in PAIRINGS:
            raise nearest("pairing", self.pairing, PAIRINGS)
        if self.times not in TIMES:
            raise nearest("times", self.times, TIMES)
        refuse_dropout(self.label_dropout)


@dataclass(frozen=True)
class FlowMatchingSampling:
    """The way from noise to data: options at the call.

    Arguments:
        sampler: One of `ode.SOLVERS`.
        steps: Its steps; dopri5 chooses its own.
        guidance: Weight of the condition: 1 obeys, more exaggerates, 0 ignores.

    Raises:
        BadInput: The solver is not known, or there are no steps.
    """

    sampler: str = "heun"
    steps: int = 10
    guidance: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.sampler not in ode.SOLVERS:
            raise nearest("sampler", self.sampler, ode.SOLVERS)
        if self.steps < 1:
            raise BadInput(f"{self.steps} sample steps were given; give 1 step or more.")


@dataclass(frozen=True)
class Divergence:
    """How the divergence is integrated for a density.

    Arguments:
        probes: Of Hutchinson's estimate; 0 computes the divergence exactly, at D products.
        tolerance: Of a step of the solver.

    Raises:
        BadInput: There are fewer probes than none.
    """

    probes: int = 0
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.probes < 0:
            raise BadInput(f"{self.probes} probes were given; give 0 probes or more.")


class FlowMatching(Continuous):
    """A velocity and the flow along it.

    Arguments:
        network: (scaled y_t with waves as further channels, log-SNR [B], condition) to F in its
            first channels, as many as y has.
        shape: Shape of y.
        preconditioning: What the network is shown.
        training: The cost.
        sampling: The way from noise to data.
        divergence: How a density is computed.
        shares: Share of each class in the data, for samples of which no class is asked; empty
            without classes.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        *,
        preconditioning: Preconditioning | None = None,
        training: FlowMatchingTraining | None = None,
        sampling: FlowMatchingSampling | None = None,
        divergence: Divergence | None = None,
        shares: Sequence[float] = (),
    ) -> None:
        super().__init__()
        preconditioning = preconditioning or Preconditioning()
        divergence = divergence or Divergence()
        self.network, self.shape, self.shares = network, shape, tuple(shares)
        self.spread, self.finest = preconditioning.spread, preconditioning.finest
        self.frequencies = tuple(preconditioning.frequencies)
        self.training_options = training or FlowMatchingTraining()
        self.sampling = sampling or FlowMatchingSampling()
        self.probes, self.tolerance = divergence.probes, divergence.tolerance
        self.clock = _clock(self.training_options.times, self.finest)
        self.likelihood_by = "ODE, Hutchinson" if self.probes else "ODE"

    def adjusted(self, **options: Any) -> Self:  # noqa: ANN401
        """Return a view of the same weights that is followed with other options.

        Arguments:
            options: Fields of `FlowMatchingSampling`.

        Raises:
            BadInput: There is no such option, or its value makes no sense,
                or guidance has no unconditional model to compare with.
        """
        sampling = replaced_options(self.sampling, options)
        dropout = self.training_options.label_dropout
        refuse_guidance(sampling.guidance, conditional=True, dropout=dropout)
        return with_sampling(self, sampling)

    # The velocity

    def velocity(
        self, y: Float[Tensor, "B ..."], t: Float[Tensor, " B"], condition: Condition | None = None
    ) -> Float[Tensor, "B ..."]:
        """Return v(y_t, t).

        Arguments:
            y: States y_t.
            t: Times in [0, 1], one for all or one for each; float64 near 1.
            condition: What y is; None says nothing.
        """
        t = t.double().expand(len(y))
        noise = 1 - t
        log_snr = (2 * (t.log() - noise.log())).clamp(*self.clock)
        scale = (t**2 * self.spread**2 + noise**2).rsqrt()
        inputs = torch.cat([per_row(scale, y) * y, *waves(y, noise, self.frequencies)], dim=1)
        network_output = self.network(inputs, log_snr.to(y), condition)[:, : y.shape[1]].to(y)
        linear = (t * self.spread**2 - noise) * scale**2
        return per_row(linear, y) * y + per_row(self.spread * scale, y) * network_output

    # Training

    def cost(
        self, y: Tensor, *, condition: Condition | None, noise: Noise
    ) -> tuple[Float[Tensor, " B"], Mapping[str, Tensor]]:
        """Return the square error of the velocity, in mean over coordinates."""
        t = self._times(noise.named("time"))
        eps = noise.named("noise").normal(*y.shape[1:]).to(y)
        if condition is not None:
            condition = condition.partly_hidden(self.training_options.label_dropout, noise)
        t_rows = per_row(t, y)
        gap = self.velocity((1 - t_rows) * eps + t_rows * y, t, condition) - (y - eps)
        errors = gap.square().flatten(1).mean(1)
        return errors, {"velocity": errors.detach().mean()}

    def coupled(self, y: Tensor, label: Tensor | None, noise: Noise) -> Noise:
        """Return the noise in the order in which its rows are led to those of y, a whole batch."""
        if self.training_options.pairing == "independent":
            return noise
        eps = noise.named("noise").normal(*y.shape[1:]).to(y)
        return noise.reordered(paired(y, eps, label))

    def _times(self, noise: Noise) -> Float[Tensor, " B"]:
        """Draw a time for each row, float64."""
        if self.training_options.times == "logit-normal":
            return noise.normal().double().sigmoid()
        u = noise.uniform().double()
        if self.training_options.times == "uniform":
            return u
        return torch.where(u < 0.5, 2 * u, ode.refined(2 * u - 1, self.finest))

    # Sampling

    @torch.no_grad()
    def draw(self, n: int, *, condition: Condition | None = None, noise: Noise) -> Tensor:
        """Draw y, [n, *shape], by the flow from t = 0 to 1.

        Raises:
            RanAway: dopri5 did not arrive.
        """
        return self.path(n, frames=2, condition=condition, noise=noise)[-1]

    def resolve_condition(self, condition: Condition | None, noise: Noise) -> Condition | None:
        """Return what draws of a noise are of: the condition, or a class as the data have them."""
        if condition is None and self.shares:
            return Condition.sample(self.shares, noise.named("label"))
        return condition

    @torch.no_grad()
    def path(
        self, n: int, *, frames: int, condition: Condition | None = None, noise: Noise
    ) -> list[Tensor]:
        """Return about `frames` states on the way from noise to `draw`'s y."""
        condition = self.resolve_condition(condition, noise)
        state = noise.named("state").normal(*self.shape)
        if self.sampling.sampler == "dopri5":
            times = torch.linspace(0, 1, max(2, frames), device=state.device)
            return [state, *(y for (y,) in self._adaptive(state, condition, times))]
        count = max(2, min(frames, self.sampling.steps + 1))
        frame_indices = {round(i * self.sampling.steps / (count - 1)) for i in range(count)}
        times = ode.refined(
            torch.linspace(0, 1, self.sampling.steps + 1), max(self.finest, SAMPLED)
        )
        states = ode.fixed(
            self._field(condition), (state,), times, ode.SOLVERS[self.sampling.sampler]
        )
        initial = [state] if 0 in frame_indices else []
        return initial + [y for i, (y,) in enumerate(states, 1) if i in frame_indices]

    def _adaptive(
        self, state: Tensor, condition: Condition | None, times: Tensor
    ) -> Sequence[ode.State]:
        try:
            return ode.adaptive(
                self._field(condition),
                (state,),
                times,
                relative=SAMPLING,
                absolute=SAMPLING,
                most=CALLS,
            ).states
        except ode.TooManyCalls as problem:
            raise RanAway(
                f"the flow did not arrive: {problem} Train longer, or sample with "
                "--sampler heun, whose steps are fixed."
            ) from problem

    def _field(self, condition: Condition | None) -> ode.Field:
        """Return the guided velocity of samples."""

        def unconditional(y: Tensor, t: Tensor) -> Tensor:
            return self.velocity(y, t, None)

        def conditional(y: Tensor, t: Tensor) -> Tensor:
            return self.velocity(y, t, condition)

        velocity = (
            unconditional
            if condition is None
            else guided(conditional, unconditional, self.sampling.guidance)
        )
        return lambda t, state: (velocity(state[0], t),)

    # The density

    def log_density(
        self, y: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        """Return ln p(y) in nats, or by probes an unbiased estimate of it."""
        return self.estimates(y, condition=condition, noise=noise).mean(1)

    def log_density_with_error(
        self, y: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Return ln p(y) and its standard error over the probes: 0 if exact, unknown for one."""
        estimates = self.estimates(y, condition=condition, noise=noise)
        if not self.probes:
            return estimates[:, 0], torch.zeros_like(estimates[:, 0])
        return estimates.mean(1), ode.standard_error(estimates)

    @torch.no_grad()
    def estimates(
        self, y: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, "B K"]:
        """Return K estimates of ln p(y), one a probe; one if the divergence is exact.

        The equation is followed from y at t = 1 back to t = 0, in the time u of `ode.refined`. An
        evaluation is one pass forward and, for each probe, one back to y; a step takes six.

        Arguments:
            y: Scaled data.
            condition: What y is, for ln p(y | c).
            noise: Draws the probes; without, they are the same at each call.
        """

        def velocity(u: Tensor, y: Tensor) -> Tensor:
            v = self.velocity(y, ode.refined(u, self.finest), condition)
            return per_row(ode.refined_rate(u, self.finest), y) * v

        start, log_prob_change = integrate_flow(
            velocity,
            y,
            torch.tensor([1.0, 0.0], dtype=torch.float64),
            noise or Noise.of(0, len(y), y.device),
            probes=self.probes,
            tolerance=self.tolerance,
        )
        zeros = torch.zeros_like(start)
        return per_example(log_normal(start, zeros, zeros))[:, None] - log_prob_change


SAMPLED = 0.1
"""The distance from t = 1 at which a sampler's steps cease to shrink."""

SAMPLING, CALLS = 1e-3, 1000
"""Of the adaptive sampler: its tolerance, and the evaluations that it may take."""


def _clock(times: str, finest: float) -> tuple[float, float]:
    """Return the log-SNRs beyond which training has too few examples to tell times apart."""
    if times == "logit-normal":
        return -5.0, 5.0
    return 2 * math.log(0.01), -2 * math.log(finest if times == "likelihood" else 0.01)
