r"""Columns of whole numbers and categories: what is said of them is never above their entropy.

The table whose truth is known has three independent columns: a fair coin, {0, 1}; a category of
ten that are alike; and Poisson(3). Its rows have the mean log-probability

    E ln P = -(ln 2 + ln 10 + H(Poisson(3))),    H = lambda (1 - ln lambda) + E ln k!.

A density of the dequantised rows that is flat over every cell with the cell's probability attains
it, whatever place and width the columns are standardised by; one of another shape stays below by
what it loses, and no density, decoder or diffusion is above. The letter has a coordinate for each
name, of which standard normal numbers are a perfect density.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.domain import Column, Columns, Domain
from trilemma.core.noise import Noise
from trilemma.families.dequantised_density import (
    Continuous,
    OnLevels,
    Tightened,
    dequantised_density,
)
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.options import ForwardProcess
from trilemma.families.likelihood import GaussianLikelihood, Logistic
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.laws.oracles import mean_of_points
from trilemma.maths.diffusion import predictions, schedules

__all__ = ["CHECKS"]

WHERE = "Theis, van den Oord & Bethge 2016, 3.1"
DECODER = "lecture §3; Salimans et al. 2017, 2.1"
BOUND = "lecture §6; Ho, Jain & Abbeel 2020, 3.3"

LOW = torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64)
COUNT = (2, 10, 24)
"""Cells; what Poisson(3) has beyond 23 is less than 1e-13."""
RATE = 3.0
LOCATION = torch.tensor([0.7, 5.2, 3.4], dtype=torch.float64)
SPREAD = torch.tensor([0.5, 2.9, 1.8], dtype=torch.float64)
"""Place and width of each column when standardised: near its moments, and not equal to them."""
CHANCE = (
    torch.full((2,), 0.5, dtype=torch.float64),
    torch.full((10,), 0.1, dtype=torch.float64),
    torch.tensor(
        [math.exp(-RATE + k * math.log(RATE) - math.lgamma(k + 1)) for k in range(COUNT[2])],
        dtype=torch.float64,
    ),
)
TRUTH = -(
    math.log(2)
    + math.log(10)
    + RATE * (1 - math.log(RATE))
    + sum(float(CHANCE[2][k]) * math.lgamma(k + 1) for k in range(COUNT[2]))
)
"""-4.927 nats."""


def _columns() -> Columns:
    names = tuple("abcdefghij")
    standards = list(zip(LOCATION.tolist(), SPREAD.tolist(), strict=True))
    return Columns(
        (
            Column("whole", *standards[0], low=0, count=COUNT[0]),
            Column("category", *standards[1], low=0, count=COUNT[1], categories=names),
            Column("whole", *standards[2], low=0, count=COUNT[2]),
        )
    )


def _domain() -> Domain:
    return Domain("points", (3,), _columns(), columns=("coin", "letter", "calls"))


def _rows() -> tuple[Float[Tensor, "N D"], Float[Tensor, " N"]]:
    """Return all rows and their probabilities."""
    x = torch.tensor(list(itertools.product(*map(range, COUNT))))
    chance = torch.stack([CHANCE[d][x[:, d]] for d in range(3)]).prod(0)
    return x.float(), chance


class _Cells(Continuous):
    """The true probability of a cell times a profile in u; of letters standard normal numbers.

    Arguments:
        profile: ln of a density of u on [0, 1), the same in every cell of both columns.
    """

    def __init__(self, profile: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.profile = profile

    def log_density(
        self, y: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        total = _standard_normal(y[:, 1:-1].double())
        for d, at in ((0, 0), (2, -1)):
            v = LOCATION[d] + SPREAD[d] * y[:, at].double()
            cell = v.floor()
            total = total + CHANCE[d].log()[cell.long().clamp(0, COUNT[d] - 1)] + SPREAD[d].log()
            total = total + self.profile((v - cell).clamp(1e-9, 1))
        return total

    def cost(
        self, y: Tensor, *, condition: Condition | None, noise: Noise
    ) -> tuple[Float[Tensor, " B"], Mapping[str, Tensor]]:
        return -self.log_density(y), {}

    def draw(self, n: int, *, condition: Condition | None = None, noise: Noise) -> Tensor:
        u, letters = noise.uniform(4).double(), noise.normal(COUNT[1])
        parts = []
        for i, d in enumerate((0, 2)):
            cell = torch.searchsorted(CHANCE[d].cumsum(0), u[:, i].contiguous())
            parts.append(((cell + u[:, 2 + i] - LOCATION[d]) / SPREAD[d]).float()[:, None])
        return torch.cat([parts[0], letters, parts[1]], 1)


def _standard_normal(v: Tensor) -> Tensor:
    return (-0.5 * v.square() - 0.5 * math.log(2 * math.pi)).sum(1)


def _power(n: int) -> Callable[[Tensor], Tensor]:
    """Return ln of (n + 1) u^n: flat for n = 0, and the steeper the more; E ln = ln(n + 1) - n."""
    return lambda u: math.log(n + 1) + n * u.log()


def _over(profile: Callable[[Tensor], Tensor]) -> Tightened:
    model = dequantised_density(_Cells(profile), _domain())
    assert isinstance(model, Tightened)
    return model


def _mean(nats: Tensor, chance: Tensor) -> float:
    return float((nats.double() * chance).sum() / chance.sum())


@states(WHERE, "Burda, Grosse & Salakhutdinov 2016")
@torch.no_grad()
def attained() -> list[Law]:
    """The perfect density attains the entropy, and others lose what their shape costs."""
    x, chance = _rows()
    flat = _over(_power(0)).bound(x, noise=Noise.of(0, len(x)))
    repeated, repeated_chance = x.repeat(50, 1), chance.repeat(50)
    steep = _over(_power(1))
    bounds = [steep.bound(repeated, noise=Noise.of(i, len(repeated))) for i in range(1, 5)]
    mean_bound = torch.stack(bounds).mean(0)
    importance_bound = steep.importance_bound(repeated, 64, noise=Noise.of(2, len(repeated)))
    return [
        equal(
            "E of the bound of a perfect dequantised density = -entropy of the table, nats",
            WHERE,
            _mean(flat, chance),
            TRUTH,
            1e-5,
        ),
        equal(
            "and it is ln P(x) for every row (largest gap, nats)",
            WHERE,
            float((flat.double() - chance.log()).abs().max()),
            0,
            1e-4,
        ),
        equal(
            "one that is not flat over its cells loses E ln p(u) of each column",
            WHERE,
            _mean(mean_bound, repeated_chance),
            TRUTH + 2 * (math.log(2) - 1),
            0.02,
        ),
        at_most(
            "64 draws of u win it back, and nothing above",
            "Burda, Grosse & Salakhutdinov 2016",
            _mean(importance_bound, repeated_chance),
            TRUTH,
        ),
        at_most(
            "to within 0.05 nats",
            "Burda, Grosse & Salakhutdinov 2016",
            TRUTH,
            _mean(importance_bound, repeated_chance),
            0.05,
        ),
    ]


@states(WHERE)
@torch.no_grad()
def never_above() -> list[Law]:
    """Of what can be counted no draw says more than that it is certain."""
    x, chance = _rows()
    repeated, repeated_chance = x.repeat(50, 1), chance.repeat(50)
    bounds = []
    for n in (20, 60):
        model, noise = _over(_power(n)), Noise.of(n, len(repeated))
        bound = model.bound(repeated, noise=noise)
        importance_bound = model.importance_bound(repeated, 4, noise=noise)
        bounds.append((bound, importance_bound))
    return [
        at_most(
            "no bound of whole numbers and categories is above 0, however steep the model",
            WHERE,
            max(float(nats.max()) for pair in bounds for nats in pair),
            0,
        ),
        at_most(
            "and cut at 0 they are bounds as before: largest mean, nats",
            WHERE,
            max(_mean(nats, repeated_chance) for pair in bounds for nats in pair),
            TRUTH,
        ),
    ]


class _Mixed(Continuous):
    """The perfect density of a fair coin beside a real number around twice its value."""

    def log_density(
        self, y: Tensor, *, condition: Condition | None = None, noise: Noise | None = None
    ) -> Float[Tensor, " B"]:
        v = LOCATION[:2] + SPREAD[:2] * y.double()
        return _coin_and_real(v[:, 0].floor(), v[:, 1]) + SPREAD[:2].log().sum()

    def cost(
        self, y: Tensor, *, condition: Condition | None, noise: Noise
    ) -> tuple[Float[Tensor, " B"], Mapping[str, Tensor]]:
        return -self.log_density(y), {}

    def draw(self, n: int, *, condition: Condition | None = None, noise: Noise) -> Tensor:
        return noise.normal(2)


def _coin_and_real(coin: Tensor, real: Tensor) -> Tensor:
    """Return ln of 1/2 N(real; 2 coin, 0.6^2)."""
    z = (real - 2 * coin) / 0.6
    return math.log(0.5) - z.square() / 2 - math.log(0.6) - 0.5 * math.log(2 * math.pi)


@states(WHERE)
@torch.no_grad()
def mixed() -> list[Law]:
    """Real columns keep their density beside others that have probabilities."""
    standards = list(zip(LOCATION.tolist(), SPREAD.tolist(), strict=True))
    columns = Columns(
        (Column("whole", *standards[0], low=0, count=2), Column("real", *standards[1]))
    )
    model = dequantised_density(_Mixed(), Domain("points", (2,), columns))
    assert isinstance(model, OnLevels)
    x = torch.cartesian_prod(torch.tensor([0.0, 1.0]), torch.linspace(-2, 4, 25))
    bound = model.bound(x, noise=Noise.of(0, len(x)))
    exact = _coin_and_real(x[:, 0].double(), x[:, 1].double())
    restored = columns.quantise(columns.dequantise(x, Noise.of(1, len(x))))
    return [
        equal(
            "a perfect density of a coin beside a real number is ln P(k) + ln p(x | k)",
            WHERE,
            float((bound.double() - exact).abs().max()),
            0,
            1e-4,
        ),
        equal(
            "and a mixed row comes back from it (largest gap)",
            WHERE,
            float((restored - x).abs().max()),
            0,
            1e-5,
        ),
    ]


@states(WHERE)
@torch.no_grad()
def quantised_samples() -> list[Law]:
    """Every place of a cell is its number, and samples are rows of the table."""
    values, (x, _) = _columns(), _rows()
    share_lost = [
        float((values.quantise(values.in_bin(x, torch.full_like(x, u))) != x).float().mean())
        for u in (0.001, 0.25, 0.5, 0.999)
    ]
    far_off = torch.tensor([[-9.0], [30.0]]).expand(2, values.width)
    out_of_range = values.quantise(far_off)[:, [0, 2]].double()
    n = 20_000
    rows = _over(_power(0)).sample(n, noise=Noise.of(3, n)).long()
    gap = max(
        float((rows[:, d].bincount(minlength=COUNT[d]) / n - CHANCE[d]).abs().max())
        for d in range(3)
    )
    ends = torch.stack([LOW, LOW + torch.tensor(COUNT) - 1])[:, [0, 2]]
    return [
        equal("the number of any place of a cell (share lost)", WHERE, max(share_lost), 0, 0),
        equal(
            "the middle of a cell is its number's (largest gap)",
            WHERE,
            float((values.unscale(values.scale(x)) - x).abs().max()),
            0,
            0,
        ),
        equal(
            "what is drawn beyond the table ends at its last number (largest gap)",
            WHERE,
            float((out_of_range - ends).abs().max()),
            0,
            0,
        ),
        equal(
            "samples of a perfect density have the table's shares (largest gap)",
            WHERE,
            gap,
            0,
            4 * math.sqrt(0.25 / n),
        ),
    ]


@states(DECODER)
@torch.no_grad()
def decoded() -> list[Law]:
    """Decoders give each cell its integral, and all rows together one."""
    domain, (x, _) = _domain(), _rows()
    letters = torch.linspace(-0.5, 0.4, COUNT[1])
    mean = torch.cat([torch.tensor([0.4]), letters, torch.tensor([0.3])])[None]
    log_scale = torch.cat([torch.tensor([-0.7]), letters / 2, torch.tensor([-0.1])])[None]
    gaussian, logistic = GaussianLikelihood(domain, c=0.3), Logistic(domain)
    # The decoder's second half is its log-scale, less the 2 from which it starts.
    decoders = {
        "gaussian": (gaussian, mean),
        "logistic": (logistic, torch.cat([mean, log_scale + 2], 1)),
    }
    laws, row = [], torch.tensor([[1.0, 4.0, 5.0]])
    for name, (model, f) in decoders.items():
        total = model.log_prob(x, f.expand(len(x), -1)).double().exp().sum()
        by_hand = _decoded_by_hand(name, row[0].double(), mean[0].double(), log_scale[0].double())
        laws += [
            equal(
                f"P of all rows under a {name} decoder adds up to one",
                DECODER,
                float(total),
                1,
                1e-4,
            ),
            equal(
                f"ln P of a row under a {name} decoder, by its distribution function",
                DECODER,
                float(model.log_prob(row, f)),
                float(by_hand),
                1e-4,
            ),
        ]
    return laws


def _decoded_by_hand(name: str, row: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Return ln P of a row by distribution functions, and of a letter by densities."""
    scale = math.sqrt(0.3) * torch.ones(12) if name == "gaussian" else log_scale.exp()
    cdf = torch.special.ndtr if name == "gaussian" else torch.sigmoid
    total = torch.zeros((), dtype=torch.float64)
    for d, at in ((0, 0), (2, -1)):
        m, s = LOCATION[d] + SPREAD[d] * mean[at], SPREAD[d] * scale[at]
        upper = torch.ones(()) if d == 0 else cdf((row[d] + 1 - m) / s)  # the coin's last cell
        total = total + (upper - cdf((row[d] - m) / s)).log()
    stands = 2 * torch.eye(COUNT[1], dtype=torch.float64) - 1
    gap = (stands - mean[1:-1]) / scale[1:-1]
    density = -gap.square() / 2 if name == "gaussian" else -gap - 2 * torch.log1p((-gap).exp())
    return total + density.sum(1).log_softmax(0)[int(row[1])]


class _Exact(nn.Module):
    """A network that gives the posterior mean of the noise on the middles of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.extra = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, log_snr: Tensor, condition: object) -> Tensor:
        alpha, sigma = (torch.sigmoid(s * log_snr.double()).sqrt()[:, None] for s in (1, -1))
        y = x.double()
        centres = (torch.arange(COUNT[0]) + 0.5 - LOCATION[0]) / SPREAD[0]
        coin = mean_of_points(y[:, 0], centres, alpha[:, 0], sigma[:, 0])[:, None]
        stands = 2 * torch.eye(COUNT[1], dtype=torch.float64) - 1
        gap = (y[:, None, 1:] - alpha[:, None] * stands) / sigma[:, None]
        letters = (-gap.square().sum(2) / 2).softmax(1) @ stands
        clean = torch.cat([coin, letters], 1)
        return ((y - alpha * clean) / sigma).float() + self.extra * x


@states(BOUND, "arXiv:2011.13456, 4.3")
@torch.no_grad()
def diffused() -> list[Law]:
    """A diffusion's bound and its flow, of the exact denoiser of a coin and ten letters."""
    domain = Domain("points", (2,), Columns(_columns().columns[:2]))
    process = ForwardProcess(schedules.Linear(), chain=0)
    model = Diffusion(Denoiser(_Exact(), process, predictions.NoisePrediction()), domain)
    rows = torch.cartesian_prod(torch.arange(2.0), torch.arange(10.0))
    x = rows.repeat(100, 1)
    bound = model.bound(x, noise=Noise.of(0, len(x)), draws=32).double()
    solved = model.ode_log_prob(rows.repeat(4, 1), noise=Noise.of(1, 80)).double()
    truth = -math.log(20)
    slack = [2 * float(nats.std()) / math.sqrt(len(nats)) for nats in (bound, solved)]
    return [
        at_most(
            "bound of a diffusion of whole numbers and categories <= -entropy, nats",
            BOUND,
            float(bound.mean()),
            truth,
            slack[0],
        ),
        at_most(
            "and by little under it with the exact denoiser",
            BOUND,
            truth,
            float(bound.mean()),
            0.05 + slack[0],
        ),
        at_most("no term's sum says more than certainty", BOUND, float(bound.max()), 0),
        at_most(
            "the flow of the exact denoiser <= -entropy, nats",
            "arXiv:2011.13456, 4.3",
            float(solved.mean()),
            truth,
            0.01 + slack[1],
        ),
        at_most(
            "and by little under it too",
            "arXiv:2011.13456, 4.3",
            truth,
            float(solved.mean()),
            0.05 + slack[1],
        ),
    ]


CHECKS: Sequence[Check] = (attained, never_above, mixed, quantised_samples, decoded, diffused)
