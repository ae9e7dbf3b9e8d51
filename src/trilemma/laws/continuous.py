r"""Laws of flow matching: of solvers, divergences, pairings and the velocity.

The exact ground is Gaussian data y ~ N(m, S^2), coordinate by coordinate. Then y_t is normal with
mean t m and variance g(t)^2 = t^2 S^2 + (1 - t)^2, the velocity is

    v(y, t) = m + (t S^2 - (1 - t)) / g^2 (y - t m),

and the flow takes eps to y_t = t m + g(t) eps, so that y_1 = m + S eps. For what is not Gaussian,
data on two values: P(y = 1) = q, for which E[y | y_t] = tanh(t y_t / (1 - t)^2 + 1/2 ln(q / (1 -
q))). Means over eps are taken by Gauss-Hermite nodes. And for what is hard for a solver, data half
of which lie within a five-hundredth of one place: y ~ q N(m_1, s_1^2) + (1 - q) N(m_2, s_2^2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import permutations, product

import torch
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.noise import Noise
from trilemma.families import flow_matching as family
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.maths import minibatch_optimal_transport, ode
from trilemma.maths.diffusion import predictions
from trilemma.maths.distributions import log_normal
from trilemma.networks.layers import MLP

__all__ = ["CHECKS"]

FLOW = "lecture 5; arXiv:2210.02747"
CONTINUOUS = "lecture 5; arXiv:1806.07366"
TRACE = "lecture 5; arXiv:1810.01367"
PAIRS = "lecture 5; arXiv:2302.00482"
MEAN = torch.tensor([0.4, -0.7], dtype=torch.float64)
SPREAD = torch.tensor([0.5, 1.3], dtype=torch.float64)
SHARE = 0.3
HALVES = torch.tensor([0.5, 0.5], dtype=torch.float64)
CENTRES = torch.tensor([-0.9, 0.5], dtype=torch.float64)
WIDTHS = torch.tensor([0.002, 0.3], dtype=torch.float64)

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(y_t, t) -> dy/dt, both float64."""


def _largest(gap: Tensor) -> float:
    return float(gap.detach().abs().max())


def _typical(gap: Tensor) -> float:
    return float(gap.square().mean().sqrt())


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _points(n: int, d: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(n, d, generator=_generator(seed), dtype=torch.float64)


def _gaussian(y: Tensor, t: Tensor) -> Tensor:
    """Return the velocity of Gaussian data."""
    return MEAN + (t * SPREAD**2 - (1 - t)) / _width(t) ** 2 * (y - t * MEAN)


def _width(t: Tensor) -> Tensor:
    return (t**2 * SPREAD**2 + (1 - t) ** 2).sqrt()


def _two_values(y: Tensor, t: Tensor) -> Tensor:
    """Return the velocity of data on -1 and 1."""
    half = math.log(SHARE / (1 - SHARE)) / 2
    return ((t * y / (1 - t) ** 2 + half).tanh() - y) / (1 - t)


class _Perfect(nn.Module):
    """A perfect network: gives the F for which the model's velocity is a given one."""

    def __init__(self, velocity: Velocity, spread: float) -> None:
        super().__init__()
        self.velocity, self.spread = velocity, spread

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition | None) -> Tensor:
        t, noise = (log_snr[:, None] / 2).sigmoid(), (-log_snr[:, None] / 2).sigmoid()
        scale = (t**2 * self.spread**2 + noise**2).rsqrt()
        y = x / scale
        linear = (t * self.spread**2 - noise) * scale**2
        return (self.velocity(y, t) - linear * y) / (self.spread * scale)


class _Small(nn.Module):
    """A network with weights drawn at random."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = MLP(3, 2, width=16).double()
        draw = _generator()
        for parameter in self.parameters():
            noise = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
            parameter.data = 0.3 * noise

    def forward(self, x: Tensor, log_snr: Tensor, condition: Condition | None) -> Tensor:
        return self.layers(torch.cat([x, log_snr[:, None] / 8], dim=1))


def _model(velocity: Velocity = _gaussian, d: int = 2, steps: int = 20) -> family.FlowMatching:
    """Return the model of a known velocity, with a clock that goes to both ends."""
    network = _Perfect(velocity, 0.8)
    model = family.FlowMatching(
        network,
        (d,),
        preconditioning=family.Preconditioning(spread=0.8, finest=0.05),
        training=family.FlowMatchingTraining(times="uniform"),
        sampling=family.FlowMatchingSampling("rk4", steps),
        divergence=family.Divergence(tolerance=1e-6),
    )
    model.clock = (-70.0, 70.0)
    return model


class _FixedNoise(Noise):
    """Noise whose numbers are given, by the name of their use."""

    def __init__(self, **numbers: Tensor) -> None:
        rows = len(next(iter(numbers.values())))
        super().__init__(Noise.of(0, rows).blocks)
        self.numbers, self.name = numbers, ""

    def named(self, name: str) -> _FixedNoise:
        """Return the numbers of one use."""
        noise = _FixedNoise(**self.numbers)
        noise.name = name
        return noise

    def normal(self, *shape: int) -> Tensor:
        """Return what was given."""
        return self.numbers[self.name].view(-1, *shape)

    uniform = normal


def _hermite(n: int = 60) -> tuple[Tensor, Tensor]:
    """Return nodes and weights of means over N(0, 1), from the recurrence's eigenvalues."""
    off_diagonal = torch.arange(1, n, dtype=torch.float64).sqrt()
    nodes, vectors = torch.linalg.eigh(torch.diag(off_diagonal, 1) + torch.diag(off_diagonal, -1))
    return nodes, vectors[0] ** 2


# Solvers


def _pendulum(t: Tensor, state: ode.State) -> ode.State:
    """A slope that is neither linear nor the same at all times."""
    angle, speed = state[0].unbind(1)
    return (torch.stack([speed, -angle.sin() + 0.3 * (2 * t).cos()], dim=1),)


def _after(method: str, steps: int, end: float = 3.0) -> Tensor:
    """Return the state that began at (1, 0.2), at a later time."""
    begin = (torch.tensor([[1.0, 0.2]], dtype=torch.float64),)
    times = torch.linspace(0, end, steps + 1).double()
    *_, (y,) = ode.fixed(_pendulum, begin, times, ode.SOLVERS[method])
    return y


@states("Hairer, Nørsett & Wanner 1993, section II.1")
@torch.no_grad()
def orders() -> list[Law]:
    """Each solver's error falls as the power of the step that it promises."""
    truth = _after("dopri5", 300)
    laws = []
    for name, method in ode.SOLVERS.items():
        coarse_error, fine_error = ((_after(name, n) - truth).norm() for n in (32, 64))
        measured = float((coarse_error / fine_error).log2())
        source = "Hairer, Nørsett & Wanner 1993, section II.1"
        laws.append(equal(f"order of convergence of {name}", source, measured, method.order, 0.35))
    return laws


@states("Dormand & Prince 1980; Hairer, Nørsett & Wanner 1993, section II.4")
@torch.no_grad()
def chosen_steps() -> list[Law]:
    """The adaptive solver keeps its tolerance, and treats each row by itself."""
    begin = torch.tensor([[1.0, 0.2], [0.1, 0.0], [-2.0, 1.0]], dtype=torch.float64)
    times = torch.tensor([0.0, 1.0, 3.0])
    solution = ode.adaptive(_pendulum, (begin,), times, relative=1e-6, absolute=1e-6)
    single_solution = ode.adaptive(_pendulum, (begin[:1],), times, relative=1e-6, absolute=1e-6)
    gap = _largest(solution.states[-1][0][:1] - _after("dopri5", 300))
    row_gap = max(
        _largest(a[0][:1] - b[0])
        for a, b in zip(solution.states, single_solution.states, strict=True)
    )
    interpolation_gap = _largest(solution.states[0][0][:1] - _after("dopri5", 100, 1.0))
    source = "Dormand & Prince 1980; Hairer, Nørsett & Wanner 1993, section II.4"
    return [
        at_most("adaptive dopri5: error <= 20 times the tolerance", source, gap, 2e-5),
        at_most("adaptive dopri5: error between steps", source, interpolation_gap, 1e-3),
        equal("adaptive dopri5: a row alone = the row among others", source, row_gap, 0, 1e-12),
    ]


# The divergence


def _swirl(y: Tensor) -> Tensor:
    """Return a map of R^4 whose Jacobian is full and not symmetric."""
    mix = torch.randn(4, 4, generator=_generator(3), dtype=torch.float64)
    return (y @ mix).tanh() + y * y.roll(1, 1)


def _jacobians(y: Tensor) -> Tensor:
    rows = [torch.autograd.functional.jacobian(_swirl, row[None])[0, :, 0] for row in y]  # pyright: ignore
    return torch.stack(rows)


@states(TRACE)
def traces() -> list[Law]:
    """The exact trace, and the mean and the spread of Hutchinson's over all 16 probes."""
    y = _points(5, 4)
    jacobians = _jacobians(y)
    trace = jacobians.diagonal(dim1=1, dim2=2).sum(1)
    _, exact = ode.exact_trace(_swirl, y)
    signs = torch.tensor(list(product((-1.0, 1.0), repeat=4)), dtype=torch.float64)
    probes = signs[:, None].expand(16, 5, 4)
    _, estimates = ode.hutchinson(_swirl, y, probes)
    sym = jacobians + jacobians.mT
    off_diagonal = sym.square().sum((1, 2)) - sym.diagonal(dim1=1, dim2=2).square().sum(1)
    variance = estimates.var(1, unbiased=False)
    subsets = estimates[:, torch.randint(16, (4000, 8), generator=_generator(4))]
    stated_variance = ode.standard_error(subsets.flatten(0, 1)).square().mean()
    return [
        equal(
            "exact divergence = trace of autograd's Jacobian",
            TRACE,
            _largest(exact[:, 0] - trace),
            0,
            1e-10,
        ),
        equal(
            "Hutchinson: mean of r^T J r over all probes = trace",
            TRACE,
            _largest(estimates.mean(1) - trace),
            0,
            1e-10,
        ),
        equal(
            "Hutchinson: variance of r^T J r = 1/2 sum_{i != j} (J_ij + J_ji)^2",
            TRACE,
            _largest(variance / (off_diagonal / 2) - 1),
            0,
            1e-10,
        ),
        equal(
            "Hutchinson: the stated error of 8 probes has the square Var / 8",
            TRACE,
            float(stated_variance / (variance.mean() / 8)),
            1,
            0.02,
        ),
    ]


# The velocity


@states("arXiv:2206.00364, table 1")
def parameterisation() -> list[Law]:
    """The model's velocity is (E[y | y_t] - y_t) / (1 - t) of the preconditioned estimate."""
    model = family.FlowMatching(_Small(), (2,), preconditioning=family.Preconditioning(spread=0.8))
    model.clock = (-70.0, 70.0)
    y, t = _points(9), torch.linspace(0.05, 0.95, 9).double()
    alpha, sigma = t[:, None], 1 - t[:, None]
    edm = predictions.Edm(0.8)
    network_output = model.network(edm.scale(alpha, sigma) * y, 2 * (t / (1 - t)).log(), None)
    clean = edm.denoised(network_output, y, alpha, sigma)
    gap = _largest(model.velocity(y, t) - (clean - y) / sigma)
    return [
        equal("velocity = (E[y | y_t] - y_t) / (1 - t)", "arXiv:2206.00364, table 1", gap, 0, 1e-9)
    ]


@states(FLOW)
def minimiser() -> list[Law]:
    """At v = E[y - eps | y_t] the cost has no slope, and is the variance that is left."""
    nodes, weights = _hermite()
    rows, time = len(nodes), 0.55
    y = torch.cat([torch.ones(rows, 1), -torch.ones(rows, 1)]).double()
    weights = torch.cat([SHARE * weights, (1 - SHARE) * weights])
    t = torch.full((2 * rows,), time, dtype=torch.float64)
    eps = nodes.repeat(2)
    noise = _FixedNoise(time=t, noise=eps)
    directions = [lambda y: y, lambda y: y**2, torch.sin, torch.ones_like]
    coefficients = torch.zeros(len(directions), dtype=torch.float64, requires_grad=True)

    def disturbed(y: Tensor, t: Tensor) -> Tensor:
        perturbation = [a * g(y) for a, g in zip(coefficients, directions, strict=True)]
        return _two_values(y, t) + torch.stack(perturbation).sum(0)

    model = _model(disturbed, 1)
    model.clock = (-70.0, 70.0)
    costs, _ = model.cost(y, condition=None, noise=noise)
    value = (costs * weights).sum()
    (gradient,) = torch.autograd.grad(value, coefficients)
    y_t = (1 - time) * eps[:, None] + time * y
    velocity = _two_values(y_t, torch.tensor(time, dtype=torch.float64))
    residual_variance = (((y - eps[:, None]) ** 2 - velocity**2)[:, 0] * weights).sum()
    return [
        equal(
            "flow matching: no slope at v = E[y - eps | y_t]", FLOW, _largest(gradient), 0, 1e-6
        ),
        equal(
            "flow matching: least cost = E|y - eps|^2 - E|v|^2",
            FLOW,
            float(value.detach()),
            float(residual_variance),
            1e-6,
        ),
    ]


@states(CONTINUOUS, FLOW)
@torch.no_grad()
def continuity() -> list[Law]:
    """Along a flow ln p_t changes by -div v; at its end stand the data."""
    model, eps = _model(steps=30), _points(6)
    zeros = torch.zeros_like(eps)
    field = ode.with_divergence(lambda t, y: model.velocity(y, t), ode.exact_trace)
    state = (eps, log_normal(eps, zeros, zeros).sum(1, keepdim=True))
    times = torch.linspace(0, 1, 31).double()
    gaps = []
    trajectory = ode.fixed(field, state, times, ode.SOLVERS["rk4"])
    for t, (y, log_p) in zip(times[1:], trajectory, strict=True):
        log_variance = 2 * _width(t).log().expand_as(y)
        exact = log_normal(y, (t * MEAN).expand_as(y), log_variance).sum(1)
        gaps.append(_largest(log_p[:, 0] - exact))
    samples = model.draw(6, noise=_FixedNoise(state=eps))
    density = model.log_density(samples)
    variance = 2 * SPREAD.log().expand_as(samples)
    exact = log_normal(samples, MEAN.expand_as(samples), variance).sum(1)
    return [
        equal(
            "d/dt ln p_t along the flow = -div v (largest gap of ln p_t on the way)",
            CONTINUOUS,
            max(gaps),
            0,
            1e-5,
        ),
        equal(
            "the flow of Gaussian data takes eps to m + S eps",
            FLOW,
            _largest(samples - (MEAN + SPREAD * eps)),
            0,
            1e-5,
        ),
        equal(
            "ln p by the flow = ln N(y; m, S^2)", CONTINUOUS, _largest(density - exact), 0, 1e-4
        ),
    ]


@states(CONTINUOUS)
@torch.no_grad()
def mass() -> list[Law]:
    """The density of any network's flow integrates to one."""
    model = family.FlowMatching(
        _Small(), (2,), preconditioning=family.Preconditioning(finest=0.05)
    )
    line = torch.linspace(-7, 7, 49, dtype=torch.float64)
    log_p = model.log_density(torch.cartesian_prod(line, line))
    total = float(log_p.exp().sum() * (line[1] - line[0]) ** 2)
    return [equal("the density of a network's flow integrates to 1", CONTINUOUS, total, 1, 2e-3)]


def _spike(y: Tensor, t: Tensor) -> Tensor:
    """Return the velocity of data half of which lie at one place, coordinate by coordinate."""
    variance = t[..., None] ** 2 * WIDTHS**2 + (1 - t[..., None]) ** 2
    offsets = y[..., None] - t[..., None] * CENTRES
    weight = (HALVES.log() - variance.log() / 2 - offsets**2 / variance / 2).softmax(-1)
    coefficient = (t[..., None] * WIDTHS**2 - (1 - t[..., None])) / variance
    return (weight * (CENTRES + coefficient * offsets)).sum(-1)


def _spiked(y: Tensor) -> Tensor:
    """Return ln p of such data."""
    log_terms = log_normal(y[..., None], CENTRES, 2 * WIDTHS.log()) + HALVES.log()
    return log_terms.logsumexp(-1).sum(1)


@states(CONTINUOUS, TRACE)
@torch.no_grad()
def density() -> list[Law]:
    """With the steps that each row chooses by itself, ln p of known data is what it is."""
    model = family.FlowMatching(
        _Perfect(_spike, 0.8), (2,), preconditioning=family.Preconditioning(spread=0.8)
    )
    model.clock = (-70.0, 70.0)
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    y = torch.cat([CENTRES + WIDTHS * z, (CENTRES + WIDTHS * z).flip(1)])
    exact, noise = _spiked(y), Noise.of(0, len(y))
    log_density = model.log_density(y)
    model.probes = 2  # the Jacobian is diagonal: an estimate of its trace has no spread
    estimated = model.log_density(y, noise=noise)
    small = family.FlowMatching(
        _Small(),
        (2,),
        preconditioning=family.Preconditioning(finest=0.05),
        divergence=family.Divergence(probes=2),
    )
    points = _points(64)
    batch_log_density = small.log_density(points, noise=Noise.of(1, 64))
    rows_log_density = small.log_density(points[5:7], noise=Noise.of(1, 64)[5:7])
    copies = points[:1].expand(4000, 2)
    probe_estimates = small.log_density(copies, noise=Noise.of(2, 4000))
    small.probes = 0
    bias = float(probe_estimates.mean() - small.log_density(points[:1])[0])
    return [
        equal(
            "ln p by the flow of spiked data", CONTINUOUS, _typical(log_density - exact), 0, 0.05
        ),
        equal("ln p by probes of spiked data", TRACE, _typical(estimated - exact), 0, 0.05),
        equal(
            "ln p by probes, in mean = ln p by the exact divergence",
            TRACE,
            bias,
            0,
            4 * float(probe_estimates.std()) / math.sqrt(4000) + 5e-3,
        ),
        equal(
            "ln p by the flow: a row alone",
            CONTINUOUS,
            _largest(batch_log_density[5:7] - rows_log_density),
            0,
            1e-9,
        ),
    ]


# Pairs


@states(PAIRS)
def pairing() -> list[Law]:
    """The pairing is a permutation, the best of all, and keeps to its kinds."""
    a, b = _points(6), _points(6, seed=2)
    cost = minibatch_optimal_transport.square_distance(a, b)
    best = min(sum(float(cost[i, j]) for i, j in enumerate(p)) for p in permutations(range(6)))
    assignment = minibatch_optimal_transport.paired(a, b)
    assignment_cost = float((a - b[assignment]).square().sum())
    x, y = _points(100), 2 * _points(100, seed=2) + 1
    pairs = minibatch_optimal_transport.paired(x, y)
    independent_cost, paired_cost = (float((x - o).square().sum()) for o in (y, y[pairs]))
    kinds = torch.arange(100) % 3
    strayed = kinds[minibatch_optimal_transport.paired(x, y, kinds)] != kinds
    missing = 100 - len(pairs.unique())
    return [
        equal("pairing: cost = least of all permutations", PAIRS, assignment_cost, best, 1e-9),
        equal("pairing: a permutation (points left out)", PAIRS, missing, 0, 0),
        at_most(
            "pairing: cost / that of independent pairs", PAIRS, paired_cost / independent_cost, 0.9
        ),
        equal("pairing: pairs of two kinds", PAIRS, int(strayed.sum()), 0, 0),
    ]


CHECKS: Sequence[Check] = (
    orders,
    chosen_steps,
    traces,
    parameterisation,
    minimiser,
    continuity,
    mass,
    density,
    pairing,
)
