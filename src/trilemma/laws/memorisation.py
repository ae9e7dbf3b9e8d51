r"""Laws of what is learned by heart: copies among samples, and members that can be told.

Where nobody copies, ratios of distances have a law that knows no density; chances are counted
again order by order, and areas pair by pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from trilemma.core.domain import Domain, Real
from trilemma.laws.law import Check, Law, at_most, equal, states
from trilemma.metrics import copy_evidence, copy_law, copy_search, membership

__all__ = ["CHECKS"]

YOON = "lecture §9; Yoon et al. 2023; Levina & Bickel 2004, §3"
DELONG = "lecture §9; DeLong et al. 1988, eqs. 1 and 3"
LEVINA = "lecture §9; Levina & Bickel 2004, §3; Hill 1975"
FISHER = "lecture §9; Fisher 1922; Meehan et al. 2020, §3"


def _uniform(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


@states(YOON)
def ratios_where_nobody_copies() -> list[Law]:
    """On a circle and on a torus a share 1 - (1 - t^d)⁷ of the ratios is below t."""
    laws = []
    for d in (1, 2):
        shares_below: dict[float, list[float]] = {0.2: [], 0.5: []}
        for seed in range(16):
            angles = 2 * math.pi * _uniform(900, d, seed=seed)
            x = torch.cat([angles.cos(), angles.sin()], 1)
            coordinates = copy_search.Coordinates(_same, _one_view)
            neighbours = copy_search.NeighbourSearch(x[:500], coordinates).nearest(x[500:])
            for t, shares in shares_below.items():
                shares.append((neighbours.ratio < t).double().mean().item())
        for t, shares in shares_below.items():
            values = torch.tensor(shares, dtype=torch.float64)
            error = values.std().item() / math.sqrt(len(values))
            laws.append(
                equal(
                    f"ratios below {t} of fresh points in {d} dimension{'s' * (d > 1)}",
                    YOON,
                    values.mean().item(),
                    1 - (1 - t**d) ** 7,
                    4 * error,
                )
            )
    return laws


def _same(x: Tensor) -> Tensor:
    return x


def _one_view(x: Tensor) -> Tensor:
    return x[:, None]


@states(YOON)
def ratios_of_copies() -> list[Law]:
    """Copies have ratio 0, shifted images too; what the training set has twice has 1."""
    x = torch.randint(
        256, (40, 1, 12, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    coordinates = copy_search.coordinates(Domain("image", (1, 12, 12), Real()), x)
    search = copy_search.NeighbourSearch(x, coordinates)
    moved = x.roll((1, -1), (2, 3))
    points = _uniform(40, 3, seed=1).float()
    with_repeats = torch.cat([points, points[:5]])
    repeat_coordinates = copy_search.coordinates(Domain("points", (3,), Real()), with_repeats)
    doubled = copy_search.NeighbourSearch(with_repeats, repeat_coordinates).nearest(points)
    return [
        equal("ratio of copied images", YOON, search.nearest(x).ratio.max().item(), 0, 0),
        equal("ratio of shifted images", YOON, search.nearest(moved).ratio.max().item(), 0, 0),
        equal("ratio of points that are there twice", YOON, doubled.ratio[:5].min().item(), 1, 0),
        equal("ratio of points that are there once", YOON, doubled.ratio[5:].max().item(), 0, 0),
    ]


@states(FISHER)
def chances_order_by_order() -> list[Law]:
    """The chance of k samples below the (a + 1)-th of the others, over all orders of both."""
    n, m = 5, 4
    worst = 0.0
    for a in range(m):
        below = []
        for other_positions in combinations(range(n + m), m):
            mark = other_positions[a]
            below.append(mark - a)
        tails = copy_evidence.tails(n, a, m)
        for k in range(n + 1):
            expected = sum(count >= k for count in below) / len(below)
            worst = max(worst, abs(tails[k].item() - expected))
    laws = [equal("chance of so many copies, counted over all orders", FISHER, worst, 0, 1e-12)]
    return [*laws, _bins_order_by_order()]


def _bins_order_by_order() -> Law:
    """With thresholds at several of the others, p again, over all orders of both."""
    n, m, marks = 5, 20, (0, 1)  # a sample is below the (mark + 1)-th of the others
    reference = copy_evidence.WeightedControls(
        torch.arange(1.0, m + 1).double() / 64, torch.arange(1.0, m + 1).double(), m
    )
    all_counts = [
        tuple(
            sum(position - i <= mark for i, position in enumerate(sample_positions))
            for mark in marks
        )
        for sample_positions in combinations(range(n + m), n)
    ]
    # Fisher's test at either threshold, counted as well.
    single_p = [
        {k: sum(counts[b] >= k for counts in all_counts) / len(all_counts) for k in range(n + 1)}
        for b in range(len(marks))
    ]

    def evidence(counts: Sequence[int]) -> float:
        return -sum(math.log(single_p[b][k]) for b, k in enumerate(counts))

    worst = 0.0
    for first, second in ((0, 1), (1, 1), (0, 2), (1, 2), (2, 2), (1, 3)):
        ratio = torch.tensor([0.5] * first + [1.5] * (second - first)).double() / 64
        p_value = copy_evidence.chance(ratio, n, copy_evidence.counted(reference, 1e-3))
        threshold = evidence((first, second)) - 1e-9
        expected = sum(evidence(counts) >= threshold for counts in all_counts) / len(all_counts)
        worst = max(worst, abs(p_value - expected))
    return at_most(
        "chance of so much evidence at two thresholds, counted over all orders",
        FISHER,
        worst,
        0,
        4 * math.sqrt(0.25 / 10_000),  # of as many draws
    )


@states(FISHER)
def shares_where_nobody_copies() -> list[Law]:
    """In cells of different rates, k / n is R in the mean, and alarms are rare."""
    rates, alarms, gaps = torch.tensor([0.02, 0.3]), 0, []
    trials, n, m = 150, 60, 120
    for seed in range(trials):
        draw = torch.Generator().manual_seed(seed)
        # The samples lie in the second cell nearly all, the others in the first.
        cells = (torch.rand(n, generator=draw) < 0.9).long()
        other_cells = (torch.rand(m, generator=draw) < 0.3).long()
        mine, theirs = (
            copy_evidence.Counted("", _ratios(rates[cell], draw), cell)
            for cell in (cells, other_cells)
        )
        reference = copy_evidence.weigh_controls(mine, [theirs])
        share = reference.below(0.1) / reference.count
        gaps.append((mine.near.ratio < 0.1).double().mean().item() - share)
        alarms += copy_evidence.find_copies(mine, [theirs]).alarm
    values = torch.tensor(gaps, dtype=torch.float64)
    error = values.std().item() / math.sqrt(trials)
    return [
        equal("share below a threshold beyond R", FISHER, values.mean().item(), 0, 4 * error),
        at_most(
            "alarms where nobody copies",
            FISHER,
            alarms / trials,
            0.05,
            3 * math.sqrt(0.05 * 0.95 / trials),
        ),
    ]


def _ratios(rate: Tensor, draw: torch.Generator) -> copy_search.Nearest:
    """Return ratios that lie below 0.1 with these chances, no two near to one example."""
    low = torch.rand(len(rate), generator=draw) < rate
    ratio = torch.rand(len(rate), generator=draw)
    return copy_search.Nearest(
        torch.where(low, 0.1 * ratio, 0.1 + 0.9 * ratio).double(), torch.arange(len(rate))
    )


@states(LEVINA)
def law_of_small_ratios() -> list[Law]:
    """Of ratios with the law, D is found with the deviation that is said, and alarms are rare."""
    trials, n, m, d, deep = 100, 1500, 1200, 6.0, 1e-3
    deviations, shares, alarms = [], [], 0
    for seed in range(trials):
        other_ratios, ratios = (
            _by_law(d, _uniform(k, seed=2 * seed + i)) for i, k in enumerate((m, n))
        )
        reference = copy_evidence.WeightedControls(
            other_ratios.sort().values, torch.arange(1.0, m + 1).double(), m
        )
        law = copy_law.fitted(reference.ratio, reference.upto, m)
        assert law is not None
        spread = math.sqrt(law.mass @ (law.grid - law.dimension) ** 2)
        deviations.append((law.dimension - d) / spread)
        shares.append(reference.count * law.share(float(_by_law(d, torch.tensor(deep)))))
        null = copy_evidence.lawful(reference, 1e-3)
        alarms += copy_evidence.chance(ratios, n, null) < 0.05
    error = torch.tensor(deviations, dtype=torch.float64)
    below = torch.tensor(shares, dtype=torch.float64)
    return [
        equal(
            "dimension of ratios with the law, in deviations",
            LEVINA,
            error.mean().item(),
            0,
            4 / math.sqrt(trials),
        ),
        equal(
            "variance of the dimension, over what is said of it",
            LEVINA,
            error.var().item(),
            1,
            4 * math.sqrt(2 / trials),
        ),
        equal(
            "examples below a ratio that one in a thousand has",
            LEVINA,
            below.mean().item(),
            m * deep,
            0.05 * m * deep + 4 * below.std().item() / math.sqrt(trials),
        ),
        at_most(
            "alarms by the law where nobody copies",
            LEVINA,
            alarms / trials,
            0.05,
            3 * math.sqrt(0.05 * 0.95 / trials),
        ),
    ]


def _by_law(d: float, below: Tensor) -> Tensor:
    """Return ratios below which these shares lie in d dimensions."""
    return (1 - (1 - below) ** (1 / 7)) ** (1 / d)


@states(DELONG)
def areas_pair_by_pair() -> list[Law]:
    """The area is the share of pairs in the right order, ties half; turned about, the rest."""
    draw = torch.Generator().manual_seed(0)
    train = torch.randint(6, (41,), generator=draw).double() + 1
    test = torch.randint(6, (30,), generator=draw).double()
    pairs = [1.0 * (x > y) + 0.5 * (x == y) for x in train.tolist() for y in test.tolist()]
    area = membership.auc(train, test)
    return [
        equal(
            "area under the curve, counted over all pairs with ties",
            DELONG,
            area,
            sum(pairs) / len(pairs),
            1e-12,
        ),
        equal(
            "areas of members and of the others, which sum to one",
            DELONG,
            area + membership.auc(test, train),
            1,
            1e-12,
        ),
    ]


@states(DELONG)
def areas_of_gaussians() -> list[Law]:
    """Scores a standard deviation apart have the area Phi(1 / sqrt 2), and DeLong's variance."""
    trials, m, n = 400, 40, 25
    draw = torch.Generator().manual_seed(0)
    areas, variances = [], []
    for _ in range(trials):
        train = torch.randn(m, generator=draw, dtype=torch.float64) + 1
        test = torch.randn(n, generator=draw, dtype=torch.float64)
        area = membership.auc(train, test)
        areas.append(area)
        variances.append(area * (1 - area) / membership.auc_trials(train, test).n)
    area_values, variance = torch.tensor(areas).double(), torch.tensor(variances).double()
    error = area_values.std().item() / math.sqrt(trials)
    ratio = variance.mean().item() / area_values.var().item()
    return [
        equal(
            "area of Gaussian scores that lie a deviation apart",
            DELONG,
            area_values.mean().item(),
            (1 + math.erf(0.5)) / 2,
            4 * error,
        ),
        # A variance over trials is known to within sqrt(2 / trials).
        equal(
            "DeLong's variance over that of fresh scores",
            DELONG,
            ratio,
            1,
            3 * math.sqrt(2 / trials),
        ),
    ]


CHECKS: Sequence[Check] = (
    ratios_where_nobody_copies,
    ratios_of_copies,
    chances_order_by_order,
    shares_where_nobody_copies,
    law_of_small_ratios,
    areas_pair_by_pair,
    areas_of_gaussians,
)
