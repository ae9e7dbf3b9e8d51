r"""The probability flow of a diffusion: the same marginals without randomness, and their density.

With len = sqrt(alpha^2 + sigma^2), the angle phi = atan2(sigma, alpha) and u = x_t / len, states
lie on u = cos(phi) x + sin(phi) eps, and with xhat the clean estimate and ehat = (u - cos(phi)
xhat) / sin(phi) they follow

    du / dphi = cos(phi) ehat - sin(phi) xhat = (cos(phi) u - xhat) / sin(phi).

Solved from data to noise, it gives an example its code; back again, the example of a code. Along
the way the density obeys d ln p / dphi = - div du/dphi. For a state u at the finest noise phi_1

    ln p(u) = ln N(u(end); 0, I) + integral of div du/dphi from phi_1 to the end,

and data, of which x_1 = alpha_1 x + sigma_1 eps is a noisy view, are bounded as a whole by

    ln p(x) >= E_q(x_1|x) [ln p(x_1) - ln q(x_1 | x) + ln p(x | x_1)]

with the last step p(x | x_1) of the variational bound, cut into bins where data are levels.

The solver of a density (`integrate_flow`, of any flow) chooses the steps of each example by
itself, by the error of u and of ln p together, so that an example's likelihood does not depend on
its batch. u alone would not do: it moves smoothly where its divergence does not, and ln p comes
out too large.

References:
    Score-Based Generative Modeling through Stochastic Differential Equations, Song,
    Sohl-Dickstein, Kingma, Kumar, Ermon & Poole, 2021 (arXiv:2011.13456), section 4.3.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.maths import ode
from trilemma.maths.broadcasting import per_row
from trilemma.maths.diffusion.schedules import Schedule
from trilemma.maths.distributions import log_normal, per_example

__all__ = ["PROBED", "TOLERANCE", "ProbabilityFlow", "integrate_flow"]

TOLERANCE = 3e-4
"""Root mean square of a step's error in u and in ln p / D: below .005 bits a dimension in all."""
MOST_CALLS = 2000
"""Evaluations for one batch, beyond which a likelihood is given up."""
PROBED = 16
"""Coordinates above which the divergence is estimated by a probe instead of computed."""


def integrate_flow(
    velocity: ode.Velocity,
    y: Float[Tensor, "B ..."],
    ends: Float[Tensor, "2"],
    noise: Noise,
    *,
    probes: int,
    tolerance: float = TOLERANCE,
) -> tuple[Float[Tensor, "B ..."], Float[Tensor, "B K"]]:
    """Return where a flow carries y, and what ln p gains on the way: - integral of div velocity.

    By dopri5, its steps chosen for each row by the error of y and, as much as all coordinates
    together, of ln p / D. A row keeps its probes all the way: drawn anew for each evaluation they
    would spread less, but their spread would pass for an error of the steps.

    Arguments:
        velocity: v, (time, [B] float64; y) -> dy/dtime.
        y: Where the rows begin.
        ends: The times from which and to which they are carried.
        noise: B rows, draws the probes.
        probes: K of Hutchinson's estimate, a column each; 0 computes the divergence, K = 1.
        tolerance: Of a step.

    Raises:
        BadInput: Some rows have not arrived after `MOST_CALLS` evaluations.
    """
    dimensions, shape = y[0].numel(), y.shape[1:]
    signs = 2 * noise.named("probes").integers(2, probes, *shape).movedim(1, 0).to(y) - 1

    def trace(f: Callable[[Tensor], Tensor], y: Tensor) -> tuple[Tensor, Tensor]:
        return ode.hutchinson(f, y, signs) if probes else ode.exact_trace(f, y)

    field = ode.with_divergence(velocity, trace)

    def joined(time: Tensor, state: ode.State) -> ode.State:
        """Let y and, D times, ln p / D decide on the step together."""
        dy, log_prob_gain = field(time, (state[0][:, :dimensions].unflatten(1, shape), state[1]))
        log_prob_share = log_prob_gain.mean(1, keepdim=True).expand(-1, dimensions) / dimensions
        return torch.cat([dy.flatten(1), log_prob_share], 1), log_prob_gain

    start = torch.cat([y.flatten(1), torch.zeros_like(y.flatten(1))], 1)
    try:
        solution = ode.adaptive(
            joined,
            (start, y.new_zeros(len(y), max(1, probes))),
            ends,
            relative=tolerance,
            absolute=tolerance,
            most=MOST_CALLS,
        )
    except ode.TooManyCalls as error:
        raise BadInput(f"the likelihood by an ODE was given up: {error}") from None
    state, log_prob_gain = solution.states[-1]
    return state[:, :dimensions].unflatten(1, shape), log_prob_gain


@dataclass(frozen=True)
class ProbabilityFlow:
    """The flow of one denoiser.

    Arguments:
        denoise: (x_t, t) -> the clean estimate, scaled.
        schedule: t to (alpha, sigma).
        finest: log-SNR of the end at the data.
        steps: Steps of the solver, half of them even in phi and half in ln(1 + SNR).
        solver: One of `ode.SOLVERS`.
    """

    denoise: Callable[[Tensor, Tensor], Tensor]
    schedule: Schedule
    finest: float
    steps: int = 20
    solver: str = "heun"

    def noise_of(self, y: Tensor) -> Tensor:
        """Return the codes of scaled data: states at t = 1, over len."""
        return self._solved(self._field(), (y,), self.angles())[0]

    def data_of(self, z: Tensor) -> Tensor:
        """Return the scaled data of codes."""
        angles = self.angles()
        u = self._solved(self._field(), (z,), angles.flip(0))[0]
        return u / math.cos(float(angles[0]))

    def log_prob(self, x_1: Tensor, noise: Noise) -> Float[Tensor, " B"]:
        """Return ln p of states at the finest noise; estimated above `PROBED` coordinates."""
        angles, dimensions = self.angles(), x_1[0].numel()
        first, last = (self._length(a) for a in (angles[0], angles[-1]))
        probes = 0 if dimensions <= PROBED else 1
        u, log_prob_gain = integrate_flow(
            self._velocity, x_1 / first, angles[[0, -1]], noise, probes=probes
        )
        spread = torch.full_like(u, -2 * math.log(last))
        end = per_example(log_normal(u, torch.zeros_like(u), spread))
        return end - log_prob_gain[:, 0] - dimensions * math.log(first)

    def angles(self) -> Float[Tensor, " n"]:
        """Return phi from the finest noise to the end, float64."""
        end = float(self.schedule.log_snr(torch.ones((), dtype=torch.float64)))
        dense = torch.linspace(self.finest, end, 4001, dtype=torch.float64)
        angle = torch.atan((-dense / 2).exp())
        information = -torch.nn.functional.softplus(dense)
        a, b = ((c - c[0]) / (c[-1] - c[0]) for c in (angle, information))
        coordinate = (a + b) / 2
        targets = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        i = torch.searchsorted(coordinate, targets).clamp(1, len(coordinate) - 1)
        fraction = (targets - coordinate[i - 1]) / (coordinate[i] - coordinate[i - 1])
        return torch.lerp(angle[i - 1], angle[i], fraction)

    # What it is made of

    def _length(self, angle: Tensor) -> float:
        alpha, sigma = self.schedule(self._time(angle))
        return float(torch.hypot(alpha, sigma))

    def _time(self, angle: Tensor) -> Tensor:
        return _time_at(self.schedule, float(angle))

    def _velocity(self, phi: Float[Tensor, " B"], u: Tensor) -> Tensor:
        """Return du / dphi, each row at its own angle."""
        angle = phi.double()
        if bool((angle == angle[0]).all()):  # of a grid that is the same for all
            t = self._time(angle[0]).expand(len(angle))
        else:
            t = self.schedule.time_of(-2 * angle.tan().log())
        length = torch.hypot(*self.schedule(t))
        clean = self.denoise(u * per_row(length, u), t)
        return (per_row(angle.cos(), u) * u - clean) / per_row(angle.sin(), u)

    def _field(self) -> ode.Field:
        return lambda phi, state: (self._velocity(phi, state[0]),)

    def _solved(self, field: ode.Field, state: ode.State, angles: Tensor) -> ode.State:
        return deque(ode.fixed(field, state, angles, ode.SOLVERS[self.solver]), maxlen=1).pop()


@lru_cache(maxsize=4096)
def _time_at(schedule: Schedule, angle: float) -> Tensor:
    """Return the time at which a schedule has an angle; a solver asks for few, again and again."""
    return schedule.time_of(torch.tensor(-2 * math.log(math.tan(angle)), dtype=torch.float64))
