"""Critical fractions, beside a plain removal of nodes one by one."""

from __future__ import annotations

import networkx as nx
import pytest
import torch

from trilemma.core.graph import graph, stacked
from trilemma.maths.graphs.network_robustness import critical_fraction, orders, robustness


def removed(network, order):
    """Remove nodes until the rest falls apart."""
    remaining, n = network.copy(), len(network)
    for count, node in enumerate(order):
        if nx.number_connected_components(remaining) > 1:
            return count / n
        remaining.remove_node(node)
        if not len(remaining):
            break
    return 1.0


NETWORKS = [nx.gnm_random_graph(9, 14, seed=s) for s in range(12)]
NETWORKS += [nx.path_graph(5), nx.complete_graph(6), nx.star_graph(7), nx.empty_graph(1)]


@pytest.mark.parametrize("removal", ["random", "targeted"])
def test_fractions_are_those_of_plain_removal(removal):
    x = stacked([graph(len(g), list(g.edges)) for g in NETWORKS], 11)
    draw = torch.Generator().manual_seed(0)
    order = orders(x, torch.rand(len(x), 5, 11, generator=draw), removal)
    result = critical_fraction(x, order)
    for row, network, ways in zip(result, NETWORKS, order.tolist(), strict=True):
        for fraction, way in zip(row.tolist(), ways, strict=True):
            assert fraction == pytest.approx(removed(network, way[: len(network)]))


def test_targeted_orders_fall_by_degree():
    x = graph(8, list(nx.barabasi_albert_graph(8, 2, seed=1).edges))[None]
    order = orders(x, torch.rand(1, 9, 8), "targeted")[0]
    degree = x[0].sum(0)[order]
    assert (degree.int().diff(dim=1) <= 0).all()


def test_both_is_the_mean():
    x = graph(9, list(NETWORKS[3].edges))[None]
    u = torch.rand(1, 7, 9)
    parts = [robustness(x, u, kind) for kind in ("random", "targeted")]
    assert robustness(x, u, "both") == pytest.approx(sum(map(float, parts)) / 2)


def test_an_edge_never_makes_a_network_weaker_in_the_same_order():
    x = graph(9, list(NETWORKS[0].edges))[None]
    u, more = torch.rand(1, 32, 9), x.clone()
    a, b = (x[0] == 0).triu(1).nonzero()[0].tolist()
    more[0, a, b] = more[0, b, a] = 1
    order = orders(x, u, "random")
    assert (critical_fraction(more, order) >= critical_fraction(x, order)).all()
