r"""Laws of energy-based models: chains, partition functions, and both ways of training.

The exact ground is Gaussian. On E = k y^2 / 2 the variances at which Langevin's chains rest are
known, and followed without a draw: the second moment of a linear step is a number's recursion.
MALA's rule is checked where no draw is needed either, on pairs of states. Annealed importance
sampling is run, small, on energies whose Z is a formula or a sum over a grid; its estimates are
random, so that what is stated leaves room for four of their standard errors. How often the
interval of both holds ln Z is counted over groups of the chains of one run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trilemma.core.batch import Examples
from trilemma.core.domain import Domain, Real
from trilemma.core.noise import Noise
from trilemma.core.partition import LogPartition
from trilemma.families.energy import Contrastive, Matched
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.maths import ais, langevin
from trilemma.networks.energy import PointEnergy

__all__ = ["CHECKS"]

PLANE = Domain("points", (2,), Real())
TEMPERATURES, CHAINS = 80, 200
GROUPS, GROUP = 400, 32
"""Repetitions in which an interval is counted, and chains of each."""
LECTURE = "lecture §5"


class _Quadratic(nn.Module):
    """f(y) = (k - 1) ||y||^2 / 2 + b . y, so that E = k ||y||^2 / 2 + b . y."""

    def __init__(self, k: float) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.tensor(k, dtype=torch.float64))
        self.b = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self, y: Tensor) -> Tensor:
        return (self.k - 1) / 2 * y.square().sum(1) + y @ self.b


class _Gaussian(nn.Module):
    """The f of score matching at which E is that of N(0, (c + sigma^2) I)."""

    def __init__(self, c: float) -> None:
        super().__init__()
        self.precision = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        self.c = c

    def forward(self, scaled: Tensor, log_snr: Tensor) -> Tensor:
        variance = (-log_snr).exp()
        square = (1 + variance) * scaled.square().sum(1)
        coefficient = self.precision / (self.c + variance) - 1 / (1 + variance)
        return variance.sqrt() * square * coefficient / 2


def _draws(seed: int, n: int = CHAINS, *shape: int) -> tuple[langevin.Draw, langevin.Draw]:
    draw = torch.Generator().manual_seed(seed)
    return (
        lambda: torch.randn(n, *(shape or (2,)), generator=draw, dtype=torch.float64),
        lambda: torch.rand(n, generator=draw, dtype=torch.float64),
    )


def _wavy(y: Tensor) -> Tensor:
    """An energy of two coordinates that is no quadratic."""
    return y.square().sum(1) / 2 + torch.sin(2 * y[:, 0]) * torch.cos(y[:, 1])


@states("lecture §5; Roberts & Tweedie 1996")
def ula_bias() -> list[Law]:
    """The second moment of ULA on E = k y^2 / 2, from step to step, until it rests."""
    k, eta, variance = 2.0, 0.3, 0.1

    def step(y: float, xi: float) -> float:
        position = torch.tensor([[y]], dtype=torch.float64)
        noise = torch.tensor([[xi]], dtype=torch.float64)
        return float(
            langevin.ula(lambda z: k * z.square().sum(1) / 2, position, eta, lambda: noise)
        )

    decay, noise_gain = step(1.0, 0.0), step(0.0, 1.0)  # the step is linear in y and xi
    for _ in range(200):
        variance = decay**2 * variance + noise_gain**2
    return [
        equal(
            "ULA on E = k y^2 / 2 rests at the variance (1/k) / (1 - eta k / 2)",
            f"{LECTURE}; Roberts & Tweedie 1996",
            variance,
            1 / (k * (1 - eta * k / 2)),
            1e-9,
        )
    ]


@states("lecture §5; Roberts & Tweedie 1996")
def mala_unbiased() -> list[Law]:
    """MALA from exact draws of a quadratic and with a large step: the variance stays."""
    k, eta, n = 2.0, 0.5, 20_000
    normal, uniform = _draws(0, n, 1)
    y, share = langevin.mala(
        lambda z: k * z.square().sum(1) / 2, normal() / math.sqrt(k), eta, normal, uniform, steps=8
    )
    return [
        equal(
            "MALA on E = k y^2 / 2 keeps the variance 1/k, where ULA's is doubled",
            f"{LECTURE}; Roberts & Tweedie 1996",
            float(y.square().mean()),
            1 / k,
            4 * math.sqrt(2 / n) / k,
        ),
        at_most(
            "and does move: share of proposals that are left",
            f"{LECTURE}; Roberts & Tweedie 1996",
            1 - float(share.mean()),
            0.5,
        ),
    ]


@states("lecture §5; Metropolis et al. 1953, Hastings 1970")
def detailed_balance() -> list[Law]:
    """MALA's ratio, both ways between pairs of states, and against densities written out."""
    normal, _ = _draws(1)
    eta, first, second = (
        0.2,
        langevin.evaluate(_wavy, normal()),
        langevin.evaluate(_wavy, normal()),
    )
    forward_ratio, backward_ratio = (
        langevin.log_ratio(first, second, eta),
        langevin.log_ratio(second, first, eta),
    )

    def log_q(end: langevin.ChainState, start: langevin.ChainState) -> Tensor:
        mean = start.y - eta * start.gradient
        return torch.distributions.Normal(mean, math.sqrt(2 * eta)).log_prob(end.y).sum(1)

    exact = first.energy - second.energy + log_q(first, second) - log_q(second, first)
    source = f"{LECTURE}; Metropolis et al. 1953, Hastings 1970"
    return [
        equal(
            "ln ratio from y to y' = -(ln ratio from y' to y)",
            source,
            float((forward_ratio + backward_ratio).abs().max()),
            0,
            1e-9,
        ),
        equal(
            "ln ratio = ln p(y') q(y|y') - ln p(y) q(y'|y)",
            source,
            float((forward_ratio - exact).abs().max()),
            0,
            1e-9,
        ),
    ]


@states("lecture §5; Neal 2001; Grosse, Ghahramani & Adams 2015")
def partition_of_a_quadratic() -> list[Law]:
    """Z = (2 pi / k)^(D/2), from both sides, the reverse chains begun at exact draws."""
    k, dims = 4.0, 5
    base = ais.Gaussian(torch.zeros(dims).double(), torch.ones(dims).double())

    def energy(y: Tensor) -> Tensor:
        return k * y.square().sum(1) / 2

    exact = dims / 2 * math.log(2 * math.pi / k)
    plan = ais.pilot(energy, base, TEMPERATURES // 2, *_draws(2, 32, dims))
    normal, uniform = _draws(3, CHAINS, dims)
    up = ais.forward(energy, base, plan, normal, uniform)
    down = ais.reverse(energy, base, plan, normal() / math.sqrt(k), normal, uniform)
    return _both_ways("a quadratic, (2 pi / k)^(D/2)", up, down, exact)


@states("lecture §5; Neal 2001; Grosse, Ghahramani & Adams 2015")
def partition_of_a_mixture() -> list[Law]:
    """Z of three Gaussians of unlike weights that sum to 5."""
    centres = torch.tensor([[1.5, 0.0], [-1.0, 1.0], [0.0, -1.5]], dtype=torch.float64)
    weights = torch.tensor([2.5, 1.5, 1.0], dtype=torch.float64)
    width = 0.5
    base = ais.Gaussian(torch.zeros(2).double(), 1.5 * torch.ones(2).double())

    def energy(y: Tensor) -> Tensor:
        square = (y[:, None] - centres).square().sum(2) / (2 * width**2)
        return -(weights.log() - square - math.log(2 * math.pi * width**2)).logsumexp(1)

    plan = ais.pilot(energy, base, TEMPERATURES, *_draws(4, 32))
    normal, uniform = _draws(5)
    up = ais.forward(energy, base, plan, normal, uniform)
    which = torch.multinomial(
        weights, CHAINS, replacement=True, generator=torch.Generator().manual_seed(6)
    )
    exact_draws = centres[which] + width * normal()
    down = ais.reverse(energy, base, plan, exact_draws, normal, uniform)
    return _both_ways("a mixture, the sum of its weights", up, down, math.log(5))


@states("lecture §5; Neal 2001")
def every_temperature_counts() -> list[Law]:
    """E = E_0 + c: whatever the chains do, every weight is -c, if no temperature is left out."""
    rise = 3.0
    base = ais.Gaussian(torch.zeros(2).double(), torch.ones(2).double())
    plan = ais.AnnealingPlan([0.0, 0.3, 0.4, 0.8, 1.0], [0.1] * 5)

    def energy(y: Tensor) -> Tensor:
        return base.evaluate(y).energy + rise

    normal, uniform = _draws(10, 8)
    up = ais.forward(energy, base, plan, normal, uniform)
    down = ais.reverse(energy, base, plan, normal(), normal, uniform)
    source = f"{LECTURE}; Neal 2001"
    return [
        equal(
            "an energy raised by c: ln w = -c of every chain, forward",
            source,
            float((up.log_weights + rise).abs().max()),
            0,
            1e-12,
        ),
        equal(
            "an energy raised by c: ln w' = c of every chain, reverse",
            source,
            float((down.log_weights - rise).abs().max()),
            0,
            1e-12,
        ),
    ]


@states("lecture §5; Grosse, Ghahramani & Adams 2015")
def interval_of_a_quartic_well() -> list[Law]:
    """How often the 95 % interval holds ln Z of two unlike wells, a sum over a grid."""
    base = ais.Gaussian(torch.zeros(1).double(), torch.ones(1).double())

    def energy(y: Tensor) -> Tensor:
        return ((y.square() - 1).square() * 2 + 0.3 * y).sum(1)

    grid = torch.linspace(-4, 4, 4001, dtype=torch.float64)
    log_density = -energy(grid[:, None])
    exact = float(log_density.logsumexp(0)) + math.log(float(grid[1] - grid[0]))
    n = GROUPS * GROUP
    plan = ais.pilot(energy, base, 8, *_draws(11, 64, 1))
    normal, uniform = _draws(12, n, 1)
    forward_run = ais.forward(energy, base, plan, normal, uniform)
    indices = torch.searchsorted(log_density.softmax(0).cumsum(0), uniform()).clamp(
        max=len(grid) - 1
    )
    reverse_run = ais.reverse(energy, base, plan, grid[indices, None], normal, uniform)
    groups = zip(
        forward_run.log_weights.split(GROUP), reverse_run.log_weights.split(GROUP), strict=True
    )
    estimates = [_sandwich(forward, reverse) for forward, reverse in groups]
    intervals = [ln_z.interval() for ln_z in estimates]
    missed = sum(not low <= exact <= high for low, high in intervals) / GROUPS
    source = f"{LECTURE}; Grosse, Ghahramani & Adams 2015"
    return [
        at_most("share of 95 % intervals of AIS that leave ln Z out", source, missed, 0.08),
        at_most(
            "share of sound runs of AIS whose two sides are said to cross",
            source,
            sum(ln_z.crosses for ln_z in estimates) / GROUPS,
            0.01,
        ),
        at_most(
            "the interval of AIS is not reversed: largest low - high",
            source,
            max(low - high for low, high in intervals),
            0,
        ),
    ]


def _sandwich(forth: Tensor, back: Tensor) -> LogPartition:
    return LogPartition(
        ais.log_mean_exp(forth),
        -ais.log_mean_exp(back),
        ais.log_mean_error(forth),
        ais.log_mean_error(back),
    )


@states("lecture §5; the delta method")
def error_of_a_log_mean() -> list[Law]:
    """Half of the weights 1 and half 3: mean 2, variance n / (n - 1), whatever their scale."""
    n = 50
    log_weights = torch.tensor([0.0, math.log(3)], dtype=torch.float64).repeat(n // 2) - 700
    return [
        equal(
            "standard error of ln mean w = deviation of w over (mean of w, root of n)",
            f"{LECTURE}; the delta method",
            ais.log_mean_error(log_weights),
            math.sqrt(n / (n - 1)) / (2 * math.sqrt(n)),
            1e-9,
        )
    ]


def _both_ways(name: str, up: ais.Annealed, down: ais.Annealed, exact: float) -> list[Law]:
    """State that both estimates are right, and on which sides they lie."""
    source = f"{LECTURE}; Neal 2001; Grosse, Ghahramani & Adams 2015"
    low = ais.log_mean_exp(up.log_weights)
    high = -ais.log_mean_exp(down.log_weights)

    def room(run: ais.Annealed) -> float:
        n = len(run.log_weights)
        return 4 / math.sqrt(n) * math.sqrt(max(n / ais.effective_size(run.log_weights), 1) - 1)

    return [
        equal(f"forward annealing gives ln Z of {name}", source, low, exact, room(up) + 1e-3),
        equal(f"reverse annealing gives ln Z of {name}", source, high, exact, room(down) + 1e-3),
        at_most(
            f"mean ln w <= ln Z <= -mean ln w' for {name}",
            source,
            max(float(up.log_weights.mean()) - exact, exact + float(down.log_weights.mean())),
            0,
        ),
    ]


def _network_energy() -> Contrastive:
    """Return an untrained perceptron's energy of the plane, made wavy."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = PointEnergy(2, width=16, depth=2)
        nn.init.normal_(network.last.weight, std=2.0)
        model = Contrastive(network, PLANE, chains=64, sigma=0.05, step_size=0.05)
    model.spread.fill_(1.3)
    return model.adjusted(steps=20, ais_steps=100).double()


@states("lecture §5; Neal 2001")
@torch.no_grad()
def partition_against_a_grid() -> list[Law]:
    """`log_partition` and `energy` of a network's energy against the sum over a grid."""
    model = _network_energy()
    ln_z = model.log_partition(noise=_Double.of(0, 128))
    side = torch.linspace(-9, 9, 181, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    exact = float((-model.energy(grid.double())).logsumexp(0)) + 2 * math.log(side[1] - side[0])
    source = f"{LECTURE}; Neal 2001"
    return [
        equal("forward annealing = the grid's ln Z, a network", source, ln_z.lower, exact, 0.05),
        equal("reverse annealing = the grid's ln Z, a network", source, ln_z.upper, exact, 0.05),
    ]


class _Double(Noise):
    """Noise in float64."""

    def normal(self, *shape: int) -> Tensor:
        return super().normal(*shape).double()

    def uniform(self, *shape: int) -> Tensor:
        return super().uniform(*shape).double()

    def named(self, name: str) -> Noise:
        return _Double(super().named(name).blocks)


@states("lecture §5; Hinton 2002")
def contrastive_gradient() -> list[Law]:
    """Chains that are the model's own draws: the loss's slope is that of -ln p, in mean.

    On E = k y^2 / 2 + b y the negatives are the points mean ± sqrt(2) e_j / sqrt(k), which have
    the moments of the model exactly.
    """
    k, n = 1.7, 4
    quadratic = _Quadratic(k)
    model = Contrastive(
        quadratic, PLANE, chains=n, chain_steps=0, restart=0.0, sigma=0.0, regulariser=0.0
    ).double()
    cross = math.sqrt(2 / k) * torch.eye(2, dtype=torch.float64)
    model.chains.copy_(torch.cat([cross, -cross]))
    x = torch.tensor([[0.4, 1.0], [-0.3, 2.0], [1.1, 0.2], [0.0, -0.7]])
    loss = model.loss(Examples(x=x, noise=Noise.of(0, n)))
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss.value, parameters)
    precision, b = quadratic.k, quadratic.b
    log_z = torch.log(2 * math.pi / precision) + b.square().sum() / (2 * precision)
    likelihood = (model.standard_energy(x.double()) + log_z).mean()
    exact = torch.autograd.grad(likelihood, parameters)
    gap = max(float((a - e).abs().max()) for a, e in zip(gradients, exact, strict=True))
    return [
        equal(
            "the contrastive gradient at exact negatives = the gradient of -ln p",
            f"{LECTURE}; Hinton 2002",
            gap,
            0,
            1e-6,
        )
    ]


@states("lecture §5; Vincent 2011, equation 11")
def denoising_minimum() -> list[Law]:
    """On Gaussian data the smoothed score is best: the loss does not slope there, and is known."""
    c, sigma, n = 0.6, 0.5, 512
    model = Matched(_Gaussian(c), PLANE, sigma=sigma).double()
    u, eps = _moments(n)
    losses = model.mismatch(math.sqrt(c) * u, torch.full((n,), sigma).double(), eps)
    (gradient,) = torch.autograd.grad(losses.mean(), [model.network.precision], retain_graph=True)  # type: ignore[union-attr]
    noisy = math.sqrt(c) * u + sigma * eps
    score = langevin.evaluate(
        lambda v: model.levelled_energy(v, torch.full((n,), sigma).double()), noisy
    ).gradient
    source = f"{LECTURE}; Vincent 2011, equation 11"
    return [
        equal(
            "denoising score matching does not slope at the smoothed score",
            source,
            gradient,
            0,
            1e-6,
        ),
        equal(
            "and its least value is c / (c + sigma^2), of 1 without a model",
            source,
            float(losses.mean().detach()),
            c / (c + sigma**2),
            1e-6,
        ),
        equal(
            "the energy's slope there is y / (c + sigma^2)",
            source,
            float((score - noisy / (c + sigma**2)).abs().max()),
            0,
            1e-6,
        ),
    ]


def _moments(n: int) -> tuple[Tensor, Tensor]:
    """Return two sets of numbers [n, 2] with exactly the second moments of N(0, I)."""
    draw = torch.Generator().manual_seed(8)
    samples = torch.randn(n, 4, generator=draw, dtype=torch.float64)
    white = torch.linalg.qr(samples)[0] * math.sqrt(n)
    return white[:, :2], white[:, 2:]


@states("lecture §5; Robbins 1956, Miyasawa 1961")
@torch.no_grad()
def denoised_mean() -> list[Law]:
    """For p = N(0, c I) smoothed by sigma the mean of u is c / (c + sigma^2) u~."""
    c, sigma = 0.8, 0.4
    model = Contrastive(_Quadratic(1 / (c + sigma**2)), PLANE, chains=4, sigma=sigma).double()
    normal, _ = _draws(9)
    y = normal()
    gap = (model.denoised(y) - c / (c + sigma**2) * y).abs().max()
    return [
        equal(
            "E[u | u + sigma eps] = u~ - sigma^2 grad E(u~) on a Gaussian",
            f"{LECTURE}; Robbins 1956, Miyasawa 1961",
            float(gap),
            0,
            1e-9,
        )
    ]


CHECKS: Sequence[Check] = (
    ula_bias,
    mala_unbiased,
    detailed_balance,
    partition_of_a_quadratic,
    partition_of_a_mixture,
    partition_against_a_grid,
    every_temperature_counts,
    interval_of_a_quartic_well,
    error_of_a_log_mean,
    contrastive_gradient,
    denoising_minimum,
    denoised_mean,
)
