"""Counts of places in graphs of up to four nodes, held against looking at every subgraph."""

from __future__ import annotations

from itertools import combinations

import networkx as nx
import pytest
import torch

from trilemma.core.graph import graph, reordered, stacked
from trilemma.maths.graphs import graphlets as module
from trilemma.maths.graphs.graphlets import by_size, orbits

KINDS = [
    (nx.path_graph(2), {0: 0, 1: 0}),
    (nx.path_graph(3), {0: 1, 1: 2, 2: 1}),
    (nx.complete_graph(3), dict.fromkeys(range(3), 3)),
    (nx.path_graph(4), {0: 4, 1: 5, 2: 5, 3: 4}),
    (nx.star_graph(3), {0: 7, 1: 6, 2: 6, 3: 6}),
    (nx.cycle_graph(4), dict.fromkeys(range(4), 8)),
    (nx.lollipop_graph(3, 1), {0: 10, 1: 10, 2: 11, 3: 9}),
    (nx.Graph([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]), {0: 13, 1: 12, 2: 13, 3: 12}),
    (nx.complete_graph(4), dict.fromkeys(range(4), 14)),
]
"""Every connected graph of two to four nodes, and the places of its nodes."""


def tensor(g):
    g = nx.convert_node_labels_to_integers(g)
    return graph(len(g), list(g.edges()))


def looked_at(g):
    """Count places by isomorphisms of every connected subgraph."""
    g = nx.convert_node_labels_to_integers(g)
    counts = torch.zeros(len(g), 15, dtype=torch.float64)
    for size in (2, 3, 4):
        for chosen in combinations(range(len(g)), size):
            part = g.subgraph(chosen)
            if not nx.is_connected(part):
                continue
            for kind, orbit in KINDS:
                if (len(kind), kind.size()) == (len(part), part.size()):
                    mapping = nx.vf2pp_isomorphism(part, kind)
                    if mapping is not None:
                        for node, like in mapping.items():
                            counts[node, orbit[like]] += 1
    return counts


def by_degrees(g):
    """Count places by the degrees within every connected subgraph, which is quicker."""
    degree_orbits = {}
    for kind, orbit in KINDS:
        for node in kind:
            degree_orbits[tuple(sorted(d for _, d in kind.degree())), kind.degree(node)] = orbit[
                node
            ]
    a = nx.to_numpy_array(g, dtype=int)
    counts = torch.zeros(len(g), 15, dtype=torch.float64)
    for size in (2, 3, 4):
        for chosen in combinations(range(len(g)), size):
            degrees = a[list(chosen)][:, list(chosen)].sum(1).tolist()
            key = tuple(sorted(degrees))
            # No graph of up to four nodes that falls apart has a connected one's degrees.
            for node, degree in zip(chosen, degrees, strict=True):
                if (key, degree) in degree_orbits:
                    counts[node, degree_orbits[key, degree]] += 1
    return counts


def test_all_graphs_of_up_to_seven_nodes():
    atlas = [g for g in nx.graph_atlas_g() if len(g)]
    computed = orbits(stacked([tensor(g) for g in atlas]))
    assert len(atlas) == 1252
    for g, counts in zip(atlas, computed, strict=True):
        assert torch.equal(counts[: len(g)], by_degrees(g)), g.edges()
        assert not counts[len(g) :].any()


@pytest.mark.parametrize("chance", [0.15, 0.5, 0.9])
def test_by_isomorphism(chance):
    g = nx.gnp_random_graph(10, chance, seed=1)
    assert torch.equal(orbits(tensor(g)[None])[0], looked_at(g))


@pytest.mark.parametrize("chance", [0.1, 0.6])
def test_graphs_too_large_for_all_pairs(chance, monkeypatch):
    g = nx.gnp_random_graph(16, chance, seed=2)
    monkeypatch.setattr(module, "SMALL", 4)
    monkeypatch.setattr(module, "LISTED", 40)
    assert torch.equal(orbits(tensor(g)[None])[0], by_degrees(g))


def test_complete_graph_of_many_nodes():
    n = 70
    counts = orbits(torch.ones(1, n, n, dtype=torch.uint8))[0]
    expected = torch.zeros(15, dtype=torch.float64)
    expected[[0, 3, 14]] = torch.tensor(
        [n - 1, (n - 1) * (n - 2) // 2, (n - 1) * (n - 2) * (n - 3) // 6], dtype=torch.float64
    )
    assert torch.equal(counts, expected.expand(n, 15))


def test_numbers_beyond_single_precision():
    """A star of 600: a leaf's fork counts, 177,906, summed over leaves leave float32 behind."""
    n = 600
    counts = orbits(tensor(nx.star_graph(n))[None])[0]
    assert counts[0, 7] == n * (n - 1) * (n - 2) / 6 > 2**24
    assert counts[0, 2] == n * (n - 1) / 2
    assert (counts[1:, 6] == (n - 1) * (n - 2) / 2).all()


def test_chunks_and_order_do_not_matter(monkeypatch):
    x = stacked([tensor(nx.gnp_random_graph(n, 0.4, seed=n)) for n in (3, 12, 7, 1, 9)], 15)
    right = orbits(x)
    monkeypatch.setattr(module, "ENTRIES", 100)
    assert torch.equal(orbits(x), right)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(orbits(reordered(x[1:2, :12, :12], order[None]))[0], right[1, :12][order])


def test_given_graphs_stay_as_they_are():
    x = tensor(nx.complete_graph(4))[None]
    before = x.clone()
    orbits(x)
    assert torch.equal(x, before)


def test_nothing_and_empty_graphs():
    assert orbits(torch.zeros(0, 4, 4, dtype=torch.uint8)).shape == (0, 4, 15)
    assert not orbits(torch.zeros(2, 4, 4, dtype=torch.uint8)).any()


def test_by_size_goes_through_all_once():
    x = stacked([tensor(nx.empty_graph(n)) for n in (2, 9, 4, 9, 1)])
    parts = list(by_size(x, 81))
    assert [n for _, n in parts] == [9, 9, 4]
    assert sorted(torch.cat([rows for rows, _ in parts]).tolist()) == [0, 1, 2, 3, 4]
