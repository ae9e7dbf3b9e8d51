r"""Laws of the measures of graphs: discrepancies, statistics, counts of places, isomorphism.

What is computed in closed form is done again by hand: histograms' distance by matching points in
their order, places of small graphs by looking at every subgraph of up to four nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from trilemma.core.graph import adjacency, edges, graph, reordered, sizes, stacked
from trilemma.laws.law import Check, Law, equal, states
from trilemma.maths.graphs import graphlets as places
from trilemma.maths.graphs import isomorphism
from trilemma.metrics import graph_statistics, mmd

__all__ = ["CHECKS"]

GRETTON = "lecture §9; Gretton et al. 2012, eqs. 3 and 5"
YOU = "lecture §9; You et al. 2018, section 4.3"
PRZULJ = "lecture §9; Milenković & Pržulj 2008, figure 1"
CHUNG = "lecture §9; Chung 1997, lemma 1.7"
MCKAY = "lecture §9; McKay 1981"

KERNELS = (
    mmd.Kernel("emd", 1.0),
    mmd.Kernel("emd", 0.1, 0.01),
    mmd.Kernel("tv", 1.0),
    mmd.Kernel("gaussian", 30.0),
)


def _random(count: int, n: int, *, seed: int, limit: int | None = None) -> Tensor:
    """Return graphs of up to n nodes whose pairs are joined with different chances."""
    draw = torch.Generator().manual_seed(seed)
    graph_list = []
    for _ in range(count):
        nodes = int(torch.randint(1, n + 1, (), generator=draw))
        chance = torch.rand((), generator=draw)
        graph_list.append(
            graph(nodes, (torch.rand(nodes, nodes, generator=draw) < chance).nonzero())
        )
    return stacked(graph_list, limit or n)


def _shuffled(x: Tensor, seed: int) -> Tensor:
    """Put the nodes of each graph into another order."""
    draw = torch.Generator().manual_seed(seed)
    is_padding = torch.arange(x.shape[1]) >= sizes(x)[:, None]
    return reordered(x, (torch.rand(x.shape[:2], generator=draw) + 2 * is_padding).argsort(1))


def _histograms(count: int, bins: int, points: int, *, seed: int) -> Tensor:
    """Return histograms of so many points each."""
    draw = torch.Generator().manual_seed(seed)
    chances = torch.rand(count, bins, generator=draw)
    samples = chances.multinomial(points, replacement=True, generator=draw)
    return torch.nn.functional.one_hot(samples, bins).sum(1).double() / points


@states(GRETTON)
def discrepancy_of_sets() -> list[Law]:
    """It is zero of equal sets, in any order, and positive of different ones."""
    x, y = _histograms(30, 40, 50, seed=0), _histograms(20, 40, 5, seed=1)
    laws = []
    for kernel in KERNELS:
        equal_sets, different_sets = mmd.mmd(x, x.flip(0), kernel), mmd.mmd(x, y, kernel)
        laws += [
            equal(f"discrepancy of equal sets, {kernel}", GRETTON, equal_sets, 0, 1e-12),
            equal(
                f"discrepancy of different sets, {kernel}",
                GRETTON,
                float(different_sets > 0),
                1,
                0,
            ),
        ]
    return laws


@states(GRETTON)
def statistics_of_discrepancy() -> list[Law]:
    """V and U differ by the pairs of a row with itself, and U has mean zero at any n."""
    x, y = _histograms(12, 40, 20, seed=0), _histograms(9, 40, 5, seed=1)
    laws = []
    for kernel in KERNELS:
        v, u = mmd.mmd(x, y, kernel), mmd.mmd(x, y, kernel, unbiased=True)
        diagonal = sum((1 - _off_diagonal(kernel(z, z))) / len(z) for z in (x, y))
        laws.append(
            equal(
                f"V = U + (1 - u_x) / n + (1 - u_y) / m, {kernel}", GRETTON, v, u + diagonal, 1e-12
            )
        )
    estimates = torch.tensor(
        [
            mmd.mmd(z[:6], z[6:], mmd.Kernel("tv", 0.3), unbiased=True)
            for z in _histograms(400 * 12, 5, 4, seed=2).split(12)
        ]
    ).double()
    error = estimates.std().item() / math.sqrt(len(estimates))
    mean = estimates.mean().item()
    laws.append(equal("U-statistic is unbiased at n = 6", GRETTON, mean, 0, 4 * error))
    return laws


def _off_diagonal(k: Tensor) -> float:
    n = len(k)
    return (sum(k[i, j].item() for i in range(n) for j in range(n) if i != j)) / (n * (n - 1))


@states(YOU)
def distance_of_histograms() -> list[Law]:
    """The closed form of the earth mover's distance equals matching points in their order."""
    points, bins = 60, 25
    x, y = (_histograms(8, bins, points, seed=seed) for seed in (0, 1))
    closed = mmd.distances(x, y, "emd")
    positions = torch.arange(bins).double()
    first, second = (
        torch.stack([positions.repeat_interleave((row * points).round().long()) for row in z])
        for z in (x, y)
    )
    matched = (first[:, None] - second[None]).abs().mean(2)
    shares = torch.minimum(x[:, None], y[None]).sum(2)
    variation = mmd.distances(x, y, "tv")
    worst = (closed - matched).abs().max().item()
    overlap = (variation - (1 - shares)).abs().max().item()
    return [
        equal("earth mover's distance equals sorted matching", YOU, worst, 0, 1e-12),
        equal("total variation is what two histograms do not share", YOU, overlap, 0, 1e-12),
    ]


@states(PRZULJ)
def places_by_hand() -> list[Law]:
    """Counts of all 15 places equal those of looking at every subgraph, on small graphs."""
    x = _random(24, 8, seed=0)
    counts = places.orbits(x)
    by_hand = torch.stack([_looked_at(one) for one in x])
    worst = (counts - by_hand).abs().amax((0, 1))
    names = ("an edge", "a path of three", "a path of three", "a triangle")
    names += ("a path of four",) * 2 + ("a star",) * 2 + ("a square",)
    names += ("a triangle with a tail",) * 3 + ("a square with a diagonal",) * 2
    names += ("four nodes all joined",)
    return [
        equal(f"place {i} in {name}, counted in closed form", PRZULJ, worst[i].item(), 0, 0)
        for i, name in enumerate(names)
    ]


def _looked_at(x: Tensor) -> Tensor:
    """Count places by looking at every subgraph of two to four nodes."""
    counts = torch.zeros(len(x), 1 + max(ORBIT.values()), dtype=torch.float64)
    a = adjacency(x)
    for size in (2, 3, 4):
        for chosen in combinations(range(int(sizes(x))), size):
            subgraph = a[list(chosen)][:, list(chosen)].long()
            degrees = subgraph.sum(1).tolist()
            if bool(subgraph.double().add(torch.eye(size)).matrix_power(size).gt(0).all()):
                for node, degree in zip(chosen, degrees, strict=True):
                    counts[node, ORBIT[tuple(sorted(degrees)), degree]] += 1
    return counts


ORBIT = {
    ((1, 1), 1): 0,
    ((1, 1, 2), 1): 1,
    ((1, 1, 2), 2): 2,
    ((2, 2, 2), 2): 3,
    ((1, 1, 2, 2), 1): 4,
    ((1, 1, 2, 2), 2): 5,
    ((1, 1, 1, 3), 1): 6,
    ((1, 1, 1, 3), 3): 7,
    ((2, 2, 2, 2), 2): 8,
    ((1, 2, 2, 3), 1): 9,
    ((1, 2, 2, 3), 2): 10,
    ((1, 2, 2, 3), 3): 11,
    ((2, 2, 3, 3), 2): 12,
    ((2, 2, 3, 3), 3): 13,
    ((3, 3, 3, 3), 3): 14,
}
"""Place by all degrees of a connected graph of up to four nodes and by a node's own."""


@states(PRZULJ)
def sums_over_places() -> list[Law]:
    """Summed over a graph's nodes, places count its subgraphs from each of their nodes."""
    x = _random(30, 40, seed=1)
    total = places.orbits(x).sum(1)
    a = adjacency(x).double()
    num_edges = torch.tensor([len(edges(one)) for one in x]).double()
    walks = torch.linalg.matrix_power(a, 3).diagonal(dim1=1, dim2=2).sum(1)
    laws = [_zero("sum of place 0 is twice the edges", total[:, 0] - 2 * num_edges)]
    laws.append(_zero("sum of place 3 is half the closed walks of three", total[:, 3] - walks / 2))
    for one, partner, times in (
        (1, 2, 2),
        (4, 5, 1),
        (6, 7, 3),
        (9, 11, 1),
        (10, 11, 2),
        (12, 13, 1),
    ):
        gap = total[:, one] - times * total[:, partner]
        laws.append(_zero(f"place {one} is as frequent as place {partner}, times {times}", gap))
    return laws


def _zero(name: str, gap: Tensor) -> Law:
    return equal(name, PRZULJ, gap.abs().max().item(), 0, 0)


@states(YOU)
def statistics_know_no_order() -> list[Law]:
    """All statistics are the same in any order of the nodes, and with any padding."""
    x = _random(40, 14, seed=2)
    reference = graph_statistics.statistics(x)
    variants = {
        "in another order": _shuffled(x, 0),
        "with padding": torch.nn.functional.pad(x, (0, 5, 0, 5)),
    }
    laws = []
    for how, variant in variants.items():
        statistics = graph_statistics.statistics(variant)
        for name in ("degree", "clustering", "orbit", "spectral"):
            a, b = getattr(reference, name), getattr(statistics, name)
            b, beyond = b[:, : a.shape[1]], b[:, a.shape[1] :]
            gap = (a - b).abs().max().item() + beyond.abs().sum().item()
            laws.append(equal(f"{name} of graphs {how}", YOU, gap, 0, 1e-12))
    return laws


@states(YOU, CHUNG)
def known_statistics() -> list[Law]:
    """Shares sum to one; spectra of the complete graph and of the square are known."""
    x = _random(20, 9, seed=3)
    statistics = graph_statistics.statistics(x)
    laws = [
        equal(
            f"shares of {name} sum to one",
            YOU,
            _worst(getattr(statistics, name).sum(1) - 1),
            0,
            1e-12,
        )
        for name in ("degree", "clustering", "spectral")
    ]
    complete = graph_statistics.spectra(graph(5, list(combinations(range(5), 2)))[None])[0]
    square = graph_statistics.spectra(graph(4, [(0, 1), (1, 2), (2, 3), (3, 0)])[None])[0]
    expected = torch.tensor([0, 5 / 4, 5 / 4, 5 / 4, 5 / 4]).double()
    two_parts = torch.tensor([0.0, 1, 1, 2]).double()
    laws.append(
        equal("spectrum of five nodes all joined", CHUNG, _worst(complete - expected), 0, 1e-7)
    )
    laws.append(equal("spectrum of a square", CHUNG, _worst(square - two_parts), 0, 1e-7))
    return laws


def _worst(gap: Tensor) -> float:
    return gap.abs().max().item()


@states(MCKAY, "Bollobás 1982: nearly all have no symmetry; McKay 1981")
def isomorphism_is_exact() -> list[Law]:
    """Other orders are the same graph; graphs that refinement cannot tell apart are not."""
    x = _random(40, 9, seed=4)
    classes = isomorphism.IsomorphismClasses()
    original_classes, shuffled_classes = classes.of(x), classes.of(_shuffled(x, 1))
    moved = sum(
        label != shuffled_label
        for label, shuffled_label in zip(original_classes, shuffled_classes, strict=True)
    )
    hexagon = graph(6, [(i, (i + 1) % 6) for i in range(6)])
    triangles = graph(6, [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)])
    pair = isomorphism.IsomorphismClasses().of(stacked([hexagon, triangles]))
    every = stacked([graph(4, list(chosen)) for chosen in _edge_sets(4)])
    count = len(set(isomorphism.IsomorphismClasses().of(every)))
    cubic = stacked([_cubic(30, seed) for seed in range(6)])
    cubic_classes = isomorphism.IsomorphismClasses().of(torch.cat([cubic, _shuffled(cubic, 2)]))
    return [
        equal("graphs in another order are of another class", MCKAY, moved, 0, 0),
        equal("classes of a hexagon and of two triangles", MCKAY, len(set(pair)), 2, 0),
        equal("classes among all 64 graphs of four labelled nodes", MCKAY, count, 11, 0),
        equal(
            "classes of six random 3-regular graphs of 30 nodes, each in two orders",
            "Bollobás 1982: nearly all have no symmetry; McKay 1981",
            len(set(cubic_classes)),
            6,
            0,
        ),
        equal(
            "of which another order changes",
            MCKAY,
            sum(a != b for a, b in _halves(cubic_classes)),
            0,
            0,
        ),
    ]


def _halves(numbers: list[int]) -> list[tuple[int, int]]:
    half = len(numbers) // 2
    return list(zip(numbers[:half], numbers[half:], strict=True))


def _cubic(n: int, seed: int) -> Tensor:
    """Draw a 3-regular graph: three ends of edges at each node, paired until it is simple."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        ends = torch.randperm(3 * n, generator=draw).view(-1, 2) // 3
        x = graph(n, ends)
        if int(x.sum()) == 4 * n:
            return x


def _edge_sets(n: int) -> list[tuple[tuple[int, int], ...]]:
    pairs = list(combinations(range(n), 2))
    return [chosen for k in range(len(pairs) + 1) for chosen in combinations(pairs, k)]


CHECKS: Sequence[Check] = (
    discrepancy_of_sets,
    statistics_of_discrepancy,
    distance_of_histograms,
    places_by_hand,
    sums_over_places,
    statistics_know_no_order,
    known_statistics,
    isomorphism_is_exact,
)
