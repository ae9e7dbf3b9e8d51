r"""Laws of the measures: what they must say where the answer is known.

Fréchet distances of Gaussians in closed form, distances of equal sets, the kernel distance's lack
of bias, neighbours of identical and of far sets, shares of good samples, bits per dimension of
uniform noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.laws.law import Check, Law, equal, states
from trilemma.metrics import (
    clipped,
    coverage,
    divergence,
    frechet,
    likelihood,
    nearest_training,
    neighbours,
    trivial_densities,
)
from trilemma.metrics import energy_distance as shape

__all__ = ["CHECKS"]

HEUSEL = "lecture §9; Heusel et al. 2017, eq. 6"
BINKOWSKI = "lecture §9; Bińkowski et al. 2018, eq. 4"
SZEKELY = "lecture §9; Székely & Rizzo 2013, eq. 2.5"
BONNEEL = "lecture §9; Bonneel et al. 2015, §3"
KYNKAANNIEMI = "lecture §9; Kynkäänniemi et al. 2019, eqs. 1–2"
NAEEM = "lecture §9; Naeem et al. 2020, eqs. 3–4"
SALVY = "Salvy et al. 2026, §4"
KULLBACK = "lecture §6; Kullback & Leibler 1951, eq. 2.3"
THEIS = "lecture §6; Theis et al. 2016, §3.1"


def _normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@states(HEUSEL)
def frechet_of_gaussians() -> list[Law]:
    """Compare with closed forms: commuting, not commuting, singular covariances."""
    mean = _normal(5)
    one, two = _normal(5).exp(), _normal(5, seed=1).exp()
    diagonal = (mean.square() + (one.sqrt() - two.sqrt()).square()).sum()
    commuting = frechet.frechet(
        frechet.Moments(mean, one.diag(), 99), frechet.Moments(mean * 0, two.diag(), 99)
    )

    a, b = _normal(2, 2), _normal(2, 2, seed=1)
    s, t = a @ a.T, b @ b.T
    # tr (S T)^½ = (tr ST + 2 (det ST)^½)^½ in two dimensions, by Cayley and Hamilton.
    root = ((s @ t).trace() + 2 * (s @ t).det().sqrt()).sqrt()
    zero = torch.zeros(2, dtype=torch.float64)
    twisted = frechet.frechet(frechet.Moments(zero, s, 99), frechet.Moments(zero, t, 99))

    v = _normal(2)
    line = torch.outer(v, v)
    # Against a covariance of rank one, tr (S v vᵀ)^½ = (vᵀ S v)^½.
    flat = s.trace() + line.trace() - 2 * (v @ s @ v).sqrt()
    singular = frechet.frechet(frechet.Moments(zero, s, 99), frechet.Moments(zero, line, 99))
    return [
        equal("Fréchet distance, diagonal Gaussians", HEUSEL, commuting, diagonal.item(), 1e-10),
        equal(
            "Fréchet distance, covariances that do not commute",
            HEUSEL,
            twisted,
            (s.trace() + t.trace() - 2 * root).item(),
            1e-10,
        ),
        equal("Fréchet distance, a singular covariance", HEUSEL, singular, flat.item(), 1e-7),
    ]


@states(HEUSEL)
def frechet_of_equal_sets() -> list[Law]:
    """A set is at distance zero from itself, and at |m|² from itself moved by m."""
    x = _normal(200, 16)
    return [
        equal("Fréchet distance of equal sets", HEUSEL, frechet.frechet_distance(x, x), 0, 1e-9),
        equal(
            "Fréchet distance of a set moved by m is |m|²",
            HEUSEL,
            frechet.frechet_distance(x + 3, x),
            9 * 16,
            1e-7,
        ),
    ]


@states(BINKOWSKI)
def kernel_is_unbiased() -> list[Law]:
    """The kernel distance of two samples of one distribution is zero in the mean, at any n."""
    values = [
        frechet.kernel_distance(_normal(8, 4, seed=2 * i), _normal(8, 4, seed=2 * i + 1))
        for i in range(400)
    ]
    distances = torch.tensor(values, dtype=torch.float64)
    error = distances.std().item() / math.sqrt(len(distances))
    return [
        equal(
            "kernel distance is unbiased at n = 8",
            BINKOWSKI,
            distances.mean().item(),
            0,
            4 * error,
        ),
    ]


@states(KYNKAANNIEMI, NAEEM)
def neighbours_of_known_sets() -> list[Law]:
    """Identical sets cover each other wholly, far sets not at all."""
    x = _normal(64, 8)
    identical, distant = coverage.manifold(x, x), coverage.manifold(x + 1000, x)
    laws = []
    for name, source in (
        ("precision", KYNKAANNIEMI),
        ("recall", KYNKAANNIEMI),
        ("coverage", NAEEM),
    ):
        laws += [
            equal(
                f"{name} of identical sets", source, getattr(identical, name).mean().item(), 1, 0
            ),
            equal(f"{name} of far sets", source, getattr(distant, name).mean().item(), 0, 0),
        ]
    # Each point lies in its own ball, and each ball holds its own point and 5 others.
    laws.append(
        equal("density of identical sets", NAEEM, identical.density.mean().item(), 6 / 5, 1e-12)
    )
    return laws


@states(SALVY)
def clipped_density_of_known_sets() -> list[Law]:
    """A line of points at whole numbers, samples beside its end, and one example far off."""
    line = torch.arange(20, dtype=torch.float64)[:, None]
    samples = torch.full((10, 1), -0.5, dtype=torch.float64)
    # Radii are 3 but at the ends, and hence their median. Within 3 of a point lie 6 others, of
    # the ends 3, 4 and 5; within 3 of -1/2 lie 3.
    normaliser = (16 + 2 * (3 + 4) / 5) / 20
    end_density = clipped.clipped_density(samples, line)
    half_density = clipped.clipped_density(torch.cat([samples, samples + 1e4]), line)
    lonely = torch.cat([line, line[:1] + 1e6])
    return [
        equal(
            "clipped density beside the end of a line",
            SALVY,
            end_density,
            3 / 5 / normaliser,
            1e-12,
        ),
        equal(
            "clipped density, half of the samples far off",
            SALVY,
            2 * half_density,
            end_density,
            1e-12,
        ),
        equal(
            "clipped density of samples in the ball of one example far off",
            SALVY,
            clipped.clipped_density(samples + 1e6 + 500, lonely),
            0,
            0,
        ),
    ]


@states(SALVY)
def clipped_coverage_of_known_shares() -> list[Law]:
    """The mean f is that over orders of examples and samples, and over draws; g undoes it."""
    n, count = 16, 24
    f = clipped.expected(count, n)

    def counted(m: int) -> float:
        """Return f(m) from the orders in which m samples and n - 1 examples come."""
        orders = math.comb(n - 1 + m, m)
        weights = [math.comb(j + 4, j) * math.comb(m - j + n - 6, m - j) for j in range(m + 1)]
        return sum(min(j, 5) * w for j, w in enumerate(weights)) / (5 * orders)

    gap = max(abs(f[m].item() - counted(m)) for m in range(count + 1))
    round_trip = [clipped.good(f[m].item(), f) - m / count for m in range(count + 1)]

    values = []
    for i in range(100):
        x, y = _normal(n, 3, seed=2 * i).exp(), _normal(count, 3, seed=2 * i + 1).exp()
        y[16:] += 1e4
        values.append(clipped.clip(coverage.manifold(y, x).ball_counts))
    scores = torch.tensor(values, dtype=torch.float64)
    error = scores.std().item() / math.sqrt(len(scores))
    return [
        equal("clipped coverage: f by the orders of the points", SALVY, gap, 0, 1e-12),
        equal("clipped coverage: g undoes f", SALVY, max(map(abs, round_trip)), 0, 1e-12),
        equal(
            "clipped coverage: 16 good samples of 24, in the mean over draws",
            SALVY,
            scores.mean().item(),
            counted(16),
            4 * error,
        ),
    ]


@states("lecture §9; memorisation")
def nearest_training_examples() -> list[Law]:
    """Copies have ratio 0; test examples in the place of samples have ratio 1."""
    train, test = _normal(100, 4), _normal(60, 4, seed=1)
    usual, _ = neighbours.nearest(test, train)
    copied, _ = neighbours.nearest(train[:30], train)
    source = "lecture §9; memorisation"
    return [
        equal(
            "nearest_train_ratio of copies",
            source,
            nearest_training.nearest_ratio(copied, usual),
            0,
            1e-6,
        ),
        equal(
            "nearest_train_ratio of test examples",
            source,
            nearest_training.nearest_ratio(usual, usual),
            1,
            0,
        ),
    ]


@states(SZEKELY, BONNEEL)
def shape_of_known_sets() -> list[Law]:
    """Point masses at distance r are 2 r apart; a set moved by m is |m| of each direction away."""
    near, far = torch.zeros(5, 3).double(), torch.full((4, 3), 2.0).double()
    x, m = _normal(50, 2), torch.tensor([3.0, 4.0], dtype=torch.float64)
    values = [
        shape.energy_distance(_normal(6, 2, seed=2 * i), _normal(9, 2, seed=2 * i + 1))
        for i in range(400)
    ]
    distances = torch.tensor(values, dtype=torch.float64)
    error = distances.std().item() / math.sqrt(len(distances))
    return [
        equal(
            "energy distance of two point masses",
            SZEKELY,
            shape.energy_distance(near, far),
            2 * math.sqrt(12),
            1e-9,
        ),
        equal(
            "energy distance is unbiased at n = 6, m = 9",
            SZEKELY,
            distances.mean().item(),
            0,
            4 * error,
        ),
        equal(
            "sliced Wasserstein of a set moved by m in the plane is |m| / √2",
            BONNEEL,
            shape.sliced_wasserstein(x + m, x),
            5 / math.sqrt(2),
            1e-9,
        ),
        equal(
            "sliced Wasserstein of a set and itself twice over",
            BONNEEL,
            shape.sliced_wasserstein(torch.cat([x, x]), x),
            0,
            1e-9,
        ),
    ]


@states(THEIS)
def bits_of_uniform_noise() -> list[Law]:
    """Uniform noise over L levels has log2 L bits per dimension: 8 for 256."""
    laws = []
    for count in (17, 256):
        nats = torch.full((4,), -64 * math.log(count), dtype=torch.float64)
        domain = Domain("image", (1, 8, 8), Levels(count))
        log_likelihood = likelihood.MeasuredLikelihood(nats, "exact", "ln p(x)")
        uniform = {"uniform": trivial_densities.uniform(64, count)}
        in_nats = likelihood.in_nats(log_likelihood, domain, baselines=uniform)
        bits = likelihood.in_bits(in_nats, "log_prob", domain)
        laws += [
            equal(
                f"bits per dimension of uniform noise, {count} levels",
                THEIS,
                bits.value,
                math.log2(count),
                1e-12,
            ),
            equal(
                f"bits per dimension of the uniform baseline, {count} levels",
                THEIS,
                bits.baselines["uniform"],
                math.log2(count),
                1e-12,
            ),
        ]
    return laws


@states(KULLBACK)
def divergence_of_gaussians() -> list[Law]:
    """KL(N(m, s²) ‖ N(0, 1)) = (m² + s² - 1) / 2 - ln s, over the quantiles of the first."""
    probabilities = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    laws = []
    for m, s in ((1.5, 1.0), (0.0, 0.5), (-1.0, 2.0)):
        model, truth = torch.distributions.Normal(m, s), torch.distributions.Normal(0.0, 1.0)
        x = m + s * torch.special.ndtri(probabilities)
        estimate = divergence.excess(model.log_prob(x), truth.log_prob(x)).mean().item()
        exact = (m * m + s * s - 1) / 2 - math.log(s)
        laws.append(equal(f"KL to the truth of N({m:g}, {s:g}²)", KULLBACK, estimate, exact, 2e-3))
    return laws


CHECKS: Sequence[Check] = (
    frechet_of_gaussians,
    frechet_of_equal_sets,
    kernel_is_unbiased,
    neighbours_of_known_sets,
    clipped_density_of_known_sets,
    clipped_coverage_of_known_shares,
    nearest_training_examples,
    shape_of_known_sets,
    bits_of_uniform_noise,
    divergence_of_gaussians,
)
