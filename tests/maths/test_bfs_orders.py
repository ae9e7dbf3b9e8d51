"""Breadth-first orders, beside a plain search."""

from __future__ import annotations

from collections import deque

import networkx as nx
import pytest
import torch

from trilemma.core.graph import edges, graph, reordered, sizes, stacked
from trilemma.maths.graphs.bfs_orders import (
    breadth_first,
    is_breadth_first,
    log_chance,
    parents,
    widest,
    windows,
)


def searched(joined: nx.Graph, u: list[float]) -> list[int]:
    """Search with a queue: starts and children by u."""
    order: list[int] = []
    for start in sorted(joined, key=u.__getitem__):
        if start in order:
            continue
        order.append(start)
        queue = deque([start])
        while queue:
            children = [v for v in joined[queue.popleft()] if v not in order]
            children.sort(key=u.__getitem__)
            order += children
            queue += children
    return order


CASES = {
    "path": nx.path_graph(9),
    "grid": nx.convert_node_labels_to_integers(nx.grid_2d_graph(5, 7)),
    "random": nx.gnp_random_graph(30, 0.1, seed=3),
    "without edges": nx.empty_graph(4),
    "two components": nx.disjoint_union(nx.cycle_graph(5), nx.star_graph(6)),
    "one node": nx.empty_graph(1),
}


@pytest.mark.parametrize("name", CASES)
def test_order_is_that_of_a_queue(name):
    joined = CASES[name]
    draw = torch.Generator().manual_seed(1)
    x = graph(len(joined), list(joined.edges), 40).expand(8, 40, 40)
    u = torch.rand(8, 40, generator=draw)
    orders = breadth_first(x, u)
    for row, ranks in zip(orders.tolist(), u.tolist(), strict=True):
        assert row[: len(joined)] == searched(joined, ranks)
        assert sorted(row) == list(range(40))
    y = reordered(x, orders)
    assert is_breadth_first(y).all()
    assert torch.equal(sizes(y), sizes(x))


def test_graphs_of_all_sizes_are_ordered_together():
    many = stacked([graph(len(g), list(g.edges)) for g in CASES.values()])
    u = torch.rand(len(many), many.shape[-1], generator=torch.Generator().manual_seed(0))
    together = breadth_first(many, u)
    for i in range(len(many)):
        assert torch.equal(breadth_first(many[i : i + 1], u[i : i + 1])[0], together[i])


def test_windows_hold_all_earlier_neighbours_and_begin_at_a_parent():
    x = graph(30, list(CASES["random"].edges), 30)[None]
    y = reordered(x, breadth_first(x, torch.rand(1, 30)))
    window, parent = windows(y)[0], parents(y)[0]
    for i, j in edges(y[0]).tolist():
        assert j - i <= window[j]
    assert all(window[i] == i - parent[i - 1] for i in range(1, 30))


def test_the_widest_window_is_that_of_the_reordered_graphs():
    many = stacked([graph(len(g), list(g.edges)) for g in CASES.values()])
    for seed in range(20):
        u = torch.rand(len(many), many.shape[-1], generator=torch.Generator().manual_seed(seed))
        for some, numbers in [(many, u), *((many[i : i + 1], u[i : i + 1]) for i in range(4))]:
            orders = windows(reordered(some, breadth_first(some, numbers)))
            assert widest(some, numbers) == int(orders.max())
    assert widest(many[:0], u[:0]) == 0


def test_chances_of_all_orders_sum_to_one():
    x = graph(6, [(0, 1), (0, 2), (2, 3), (4, 5)])[None]
    draw = torch.Generator().manual_seed(0)
    many = x.expand(5000, 6, 6)
    orders = breadth_first(many, torch.rand(5000, 6, generator=draw))
    ways = torch.tensor(sorted(set(map(tuple, orders.tolist()))))
    total = log_chance(reordered(x.expand(len(ways), 6, 6), ways)).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-9)
