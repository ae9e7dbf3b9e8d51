"""Canonical orders: equal matrices for graphs that are the same but for their nodes' order."""

from __future__ import annotations

import networkx as nx
import pytest
import torch

from trilemma.core.graph import graph, reordered, sizes, stacked
from trilemma.maths.graphs import canonical as module
from trilemma.maths.graphs.canonical import canonical


def tensor(g):
    g = nx.convert_node_labels_to_integers(g)
    return graph(len(g), list(g.edges()))


def shuffled(x, seed):
    draw = torch.Generator().manual_seed(seed)
    away = torch.arange(x.shape[1]) >= sizes(x)[:, None]
    return reordered(x, (torch.rand(x.shape[:2], generator=draw) + 2 * away).argsort(1))


GRAPHS = {
    "grid": nx.grid_2d_graph(5, 7),
    "ladder": nx.ladder_graph(20),
    "tree": nx.balanced_tree(3, 3),
    "star": nx.star_graph(12),
    "cliques": nx.disjoint_union(nx.complete_graph(6), nx.complete_graph(6)),
    "cycle": nx.cycle_graph(17),
    "bipartite": nx.complete_bipartite_graph(5, 5),
    "nothing joined": nx.empty_graph(9),
    "one node": nx.empty_graph(1),
    "Petersen": nx.petersen_graph(),
    "random": nx.gnp_random_graph(25, 0.2, seed=0),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_other_orders_become_the_same_matrix(name):
    x = tensor(GRAPHS[name])[None].expand(6, -1, -1)
    y = shuffled(torch.nn.functional.pad(x, (0, 3, 0, 3)), 0)
    order, hashes = canonical(y)
    assert (order.sort(1).values == torch.arange(y.shape[1])).all()
    ordered = reordered(y, order)
    assert (ordered == ordered[0]).all()
    assert torch.equal(sizes(ordered), sizes(y))
    assert len(hashes.unique()) == 1


def test_a_graph_does_not_depend_on_its_company():
    x = stacked([tensor(g) for g in GRAPHS.values()])
    order, hashes = canonical(x)
    for row, one in enumerate(x):
        alone, number = canonical(one[None])
        assert torch.equal(alone[0], order[row])
        assert number.item() == hashes[row]


def test_chunks_do_not_matter(monkeypatch):
    x = stacked([tensor(g) for g in GRAPHS.values()])
    right = canonical(x)
    monkeypatch.setattr(module, "AT_ONCE", 500)
    assert all(torch.equal(a, b) for a, b in zip(canonical(x), right, strict=True))


def test_refinement_sees_far():
    """A path with a spur near its middle: told apart only after many rounds."""
    paths = [nx.path_graph(41) for _ in range(2)]
    paths[0].add_edge(18, 41)
    paths[1].add_edge(19, 41)
    assert len(canonical(stacked([tensor(g) for g in paths]))[1].unique()) == 2


def test_all_graphs_of_up_to_six_nodes_have_their_own_form():
    atlas = [g for g in nx.graph_atlas_g() if 0 < len(g) < 7]
    x = stacked([tensor(g) for g in atlas])
    forms = reordered(x, canonical(x)[0]).flatten(1)
    assert len(forms.unique(dim=0)) == len(atlas) == 208
