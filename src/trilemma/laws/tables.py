r"""Laws of the measures of tables: what they must say of tables whose truth is known.

Distributions are laid out by their quantiles and by whole counts, so that what is measured of
rows is what holds of the distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trilemma.core.domain import Column, Columns, Domain
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.metrics import (
    column_rules,
    column_trends,
    detection,
    held_out,
    table_mixture,
    utility,
)

__all__ = ["CHECKS"]

PATKI = "lecture §9; Patki et al. 2016; Hanley & McNeil 1982"
MASSEY = "lecture §9; Massey 1951; Patki et al. 2016"
ESTEBAN = "lecture §9; Esteban et al. 2017, §4.2"
RULES = "lecture §9; what holds in every row"
DEMPSTER = "lecture §5; Dempster, Laird & Rubin 1977, theorem 1"


def _quantiles(n: int) -> Tensor:
    """Return n values that lie as a standard normal does."""
    return torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@states(PATKI)
def detection_of_shifted_normals() -> list[Law]:
    """By classifiers of two normals δ apart the score is 2 - 2 Φ(δ / √2), from 1 to 0."""
    laws, n = [], 600
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    for name, fit, tolerance in (
        ("logistic regression", held_out.without_squares, 0.05),
        ("boosted trees", held_out.trees, 0.12),
    ):
        for shift in (0.0, 1.0, 2.0, 20.0):
            x = (_quantiles(n)[order] + shift)[:, None]
            areas = detection.fold_areas(
                x, _quantiles(n)[:, None], torch.arange(2 * n), classifier=fit, seed=0
            ).areas
            exact = math.erfc(shift / 2)  # 2 - 2 Φ(δ / √2)
            laws.append(
                equal(
                    f"detection by {name} of normals {shift:g} deviations apart",
                    PATKI,
                    detection.detection_score(areas),
                    exact,
                    tolerance,
                )
            )
    return laws


@states(MASSEY)
def shapes_of_known_columns() -> list[Law]:
    """Uniforms s apart are s apart by their distribution functions, and shares by their sum."""
    grid = torch.arange(1000, dtype=torch.float64)[:, None] / 1000
    shifts = torch.tensor([0.0, 0.1, 0.35, 2.0], dtype=torch.float64)
    distances = column_trends.ks_distances(grid + shifts, grid.expand(-1, len(shifts)))
    laws = [
        equal(f"KS distance of uniforms {s:g} apart", MASSEY, d, min(s, 1), 1.1e-3)
        for s, d in zip(shifts.tolist(), distances.tolist(), strict=True)
    ]
    p = torch.tensor([0.0] * 5 + [1.0] * 3 + [2.0] * 2)
    q = torch.tensor([0.0] * 2 + [1.0] * 3 + [3.0] * 5)
    laws.append(
        equal(
            "total variation of shares .5 .3 .2 0 and .2 .3 0 .5",
            MASSEY,
            column_trends.total_variation(p, q),
            0.5,
            1e-12,
        )
    )
    return laws


@states(MASSEY)
def trends_of_known_pairs() -> list[Law]:
    """Of correlations half the difference counts, of two coins what both together show."""
    basis = torch.linalg.qr(_normal(500, 3) - _normal(500, 3).mean(0)).Q
    x, e = basis[:, 0], basis[:, 1]

    def correlated(r: float) -> Tensor:
        return torch.stack([x, r * x + math.sqrt(1 - r * r) * e], 1)

    coins = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(25, 1)
    equal_coins = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(50, 1)
    codes = torch.tensor([0.0, 1.0])
    no_bins, two_coins = (
        column_trends.PairBins(torch.tensor([flag, flag]), frequent, edges)
        for flag, frequent, edges in (
            (False, {}, {0: codes, 1: codes}),
            (True, {0: codes, 1: codes}, {}),
        )
    )
    numbers = column_trends.pair_trends(correlated(0.8), correlated(-0.4), no_bins)[0, 1]
    names = column_trends.pair_trends(coins, equal_coins, two_coins)[0, 1]
    thirds = torch.cat([torch.zeros(300), torch.ones(300)])
    values = torch.arange(600, dtype=torch.float32)
    mixed = torch.stack([values, thirds], 1)
    bins = column_trends.PairBins.of(mixed, torch.tensor([False, True]), {1: codes})
    upside_down = torch.stack([values, 1 - thirds], 1)
    return [
        equal("trend of correlations .8 and -.4", MASSEY, numbers.item(), 0.4, 1e-9),
        equal("trend of independent and of equal coins", MASSEY, names.item(), 0.5, 1e-7),
        equal(
            "trend of a number with a name, and with the other name",
            MASSEY,
            column_trends.pair_trends(mixed, upside_down, bins)[0, 1].item(),
            0,
            2e-2,
        ),
    ]


@states(ESTEBAN)
def utility_of_known_tables() -> list[Law]:
    """XOR is learned wholly, independent columns teach nothing, noise leaves what it leaves."""
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randint(2, (2, 800), generator=draw).float()
    xor = torch.stack([a, b, (a != b).float()], 1)
    shuffled = torch.stack([a, b, xor[torch.randperm(800, generator=draw), 2]], 1)
    names = torch.ones(3, dtype=torch.bool)
    target = utility.Target(2, 2)
    learned, nothing = (
        utility.skill(utility.predict(rows, xor[:300], target, names)) for rows in (xor, shuffled)
    )
    x, noise = _normal(6000, seed=1), _normal(6000, seed=2)
    line = torch.stack([x, x + 0.5 * noise], 1)
    numbers = torch.zeros(2, dtype=torch.bool)
    of_line = utility.skill(
        utility.predict(line[:4000], line[4000:], utility.Target(1, 0), numbers)
    )
    # 9 of 10 frequent rows and 3 of 5 rare ones are right: a balanced accuracy of 3/4.
    truth = torch.cat([torch.zeros(10), torch.ones(5)]).double()
    right = torch.tensor([True] * 9 + [False] + [True] * 3 + [False] * 2)
    balanced = utility.balanced_skill(right, truth, torch.ones(1, 15, dtype=torch.float64))
    constant = utility.Prediction(utility.Target(1, 0), line[:, 1].mean().expand(6000), line[:, 1])
    return [
        equal("skill that is learned from XOR", ESTEBAN, learned, 1, 1e-9),
        equal("skill that is learned from shuffled XOR", ESTEBAN, nothing, 0, 0.2),
        equal("R² of a line with noise of half its deviation", ESTEBAN, of_line, 0.8, 0.04),
        equal("balanced skill of 9 in 10 and 3 in 5", ESTEBAN, balanced.item(), 0.5, 1e-12),
        equal("R² of the mean", ESTEBAN, utility.skill(constant), 0, 1e-12),
    ]


RULED = Domain(
    "points",
    (5,),
    Columns(
        (
            Column(),
            Column(),
            Column("whole", count=200),
            Column("whole", count=200),
            Column("category", count=3, categories=("a", "b", "c")),
        )
    ),
    columns=("log", "exp", "start", "end", "name"),
)


def _ruled(n: int, seed: int) -> Tensor:
    """Return rows with a function and an order."""
    draw = np.random.default_rng(seed)
    log, start = draw.normal(size=n), draw.integers(0, 100, n)
    columns = log, np.exp(log), start, start + draw.integers(0, 100, n), draw.integers(0, 3, n)
    return torch.from_numpy(np.stack(columns, 1)).float()


@states(RULES)
def rules_of_a_known_table() -> list[Law]:
    """The function and the order are found, nothing else, and rows that break them count."""
    rules = column_rules.rules_of(_ruled(3000, 0), _ruled(300, 1), RULED, 0)
    fresh, broken = _ruled(1000, 2), _ruled(3000, 0)[:1000]
    broken = broken[broken[:, 0].argsort()]
    broken[:500, 1] = math.exp(2)
    broken[:250, 3] = broken[:250, 2] - 1
    # A half breaks one of two rules, and a quarter the other besides.
    values = [column_rules.kept_share(rules, x).mean().item() for x in (fresh, broken)]
    draw = np.random.default_rng(3)
    independent = torch.from_numpy(draw.permuted(_ruled(3000, 0).numpy(), axis=0))
    none = column_rules.rules_of(independent, independent[:300], RULED, 0)
    return [
        equal("rules of a table with a function and an order", RULES, len(rules), 2, 0),
        equal("rules of independent columns", RULES, len(none), 0, 0),
        equal("share of rules that fresh rows keep", RULES, values[0], 1, 1e-9),
        equal("share of rules where 3 of 8 are broken", RULES, values[1], 0.625, 1e-9),
    ]


COUNTED = Domain(
    "points",
    (3,),
    Columns(
        (
            Column("whole", low=-2, count=5),
            Column("category", count=3, categories=("a", "b", "c")),
            Column("whole", count=4),
        )
    ),
    columns=("x", "name", "y"),
)


@states(DEMPSTER)
def mixture_of_a_known_table() -> list[Law]:
    """Its likelihood never falls, cells add up to one, and two clusters are found."""
    draw = np.random.default_rng(0)
    cluster = (np.arange(900) < 300).astype(float)
    x = np.where(cluster, 2, -2) + draw.integers(0, 2, 900) * np.where(cluster, -1, 1)
    rows = np.stack([x, np.where(cluster, 2, draw.integers(0, 2, 900)), 3 * cluster], 1)
    train = torch.from_numpy(rows).float()
    mixture = table_mixture.fit_mixture(COUNTED, train)
    falls = [max(a - b, 0.0) for a, b in zip(mixture.history, mixture.history[1:], strict=False)]
    cells = torch.cartesian_prod(torch.arange(-2.0, 3), torch.arange(3.0), torch.arange(4.0))
    pair = table_mixture.fit_mixture(COUNTED, train, components=2)
    total = mixture.log_prob(cells).exp().sum().item()
    small = int(pair.weight.argmin())
    mean = pair.encoding.mean[0] + pair.encoding.deviation[0] * pair.mean[small, 0]
    drawn_share = (mixture.sample(20_000, 0)[:, 1] == 2).double().mean().item()
    return [
        at_most("nats by which a round falls", DEMPSTER, max(falls), 0, 1e-7),
        equal("probabilities of all cells", DEMPSTER, total, 1, 1e-9),
        equal("weight of a third of the rows", DEMPSTER, pair.weight[small].item(), 1 / 3, 2e-3),
        equal("mean of a third of the rows", DEMPSTER, mean.item(), rows[:300, 0].mean(), 0.02),
        equal("share of a name among rows of the mixture", DEMPSTER, drawn_share, 1 / 3, 0.015),
    ]


CHECKS: Sequence[Check] = (
    detection_of_shifted_normals,
    shapes_of_known_columns,
    trends_of_known_pairs,
    utility_of_known_tables,
    rules_of_a_known_table,
    mixture_of_a_known_table,
)
