"""Where nodes are drawn: a grid looks like a grid, and what belongs together stands together."""

from __future__ import annotations

import networkx as nx
import pytest
import torch

from trilemma.core.graph import edges, graph, reordered
from trilemma.pictures import layout as module
from trilemma.pictures.layout import hops, layout


def of(network):
    relabelled = nx.convert_node_labels_to_integers(network)
    return graph(len(relabelled), list(relabelled.edges))


def lengths(x, at):
    ends = at[edges(x)]
    return (ends[:, 0] - ends[:, 1]).norm(dim=1)


@pytest.mark.parametrize(
    "network",
    [
        nx.grid_2d_graph(3, 5),
        nx.star_graph(6),
        nx.disjoint_union(nx.path_graph(4), nx.cycle_graph(5)),
    ],
)
def test_hops_are_those_of_a_search(network):
    x, expected = (
        of(network),
        dict(nx.all_pairs_shortest_path_length(nx.convert_node_labels_to_integers(network))),
    )
    far = hops(x)
    for a in range(len(far)):
        for b in range(len(far)):
            assert far[a, b] == expected[a].get(b, float("inf"))


def test_a_grid_looks_like_a_grid():
    x = of(nx.grid_2d_graph(19, 19))
    at = layout(x)
    joined = lengths(x, at)
    assert joined.max() < 1.35 * joined.min()
    apart = torch.cdist(at, at) + 9 * torch.eye(len(at))
    assert apart.min() > 0.8 * joined.mean()  # no node on another
    tall, wide = sorted((at.amax(0) - at.amin(0)).tolist())
    assert tall > 0.95 * wide


def test_a_long_grid_lies_on_its_side_and_does_not_tilt():
    at = layout(of(nx.grid_2d_graph(4, 12)))
    wide, high = (at.amax(0) - at.amin(0)).tolist()
    assert wide / high == pytest.approx(11 / 3, rel=0.2)
    assert (at[:, 1].sort().values.diff() > 0.5).sum() == 3  # four rows


def test_a_ladder_is_wound_and_still_one():
    x = of(nx.ladder_graph(120))
    at = layout(x)
    wide, high = (at.amax(0) - at.amin(0)).tolist()
    assert max(wide, high) < 40  # straight, it is 119 long
    joined = lengths(x, at)
    assert joined.max() < 2.0 * joined.min()
    apart = torch.cdist(at, at) + 9 * torch.eye(len(at))
    assert apart.min() > 0.5 * joined.mean()


def test_two_communities_are_two_clusters():
    network = nx.disjoint_union(nx.complete_graph(9), nx.complete_graph(9))
    network.add_edge(0, 9)
    at = layout(of(network))
    one, two = at[:9], at[9:]
    between = (one.mean(0) - two.mean(0)).norm()
    assert between > 1.5 * max(torch.cdist(one, one).max(), torch.cdist(two, two).max()) / 2
    assert (torch.cdist(at, at)[:9, 9:] > 0.5).all()


def test_components_stand_side_by_side():
    at = layout(of(nx.disjoint_union(nx.grid_2d_graph(3, 3), nx.cycle_graph(7))))
    one, two = at[:9], at[9:]
    gaps = torch.maximum(two.amin(0) - one.amax(0), one.amin(0) - two.amax(0))
    assert gaps.max() > 1


def test_the_order_of_the_nodes_changes_no_distance():
    x = of(nx.grid_2d_graph(5, 6))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(2))
    at, reordered_layout = layout(x), layout(reordered(x[None], order[None])[0])
    apart = torch.cdist(at, at)[order][:, order]
    assert (torch.cdist(reordered_layout, reordered_layout) - apart).abs().max() < 0.1
    assert torch.equal(layout(x), at)  # nothing is drawn by chance


def test_little_and_nothing_are_laid_out():
    assert layout(torch.zeros(3, 3, dtype=torch.uint8)).shape == (0, 2)
    assert layout(graph(1, [], limit=4)).shape == (1, 2)
    alone = layout(graph(5, []))
    assert (torch.cdist(alone, alone) + 9 * torch.eye(5)).min() > 1


def test_large_graphs_are_laid_out_by_iteration_as_well(monkeypatch):
    x = of(nx.grid_2d_graph(9, 13))
    exact = layout(x)
    monkeypatch.setattr(module, "EXACT", 10)
    near = layout(x)
    assert (torch.cdist(near, near) - torch.cdist(exact, exact)).abs().max() < 0.5
