"""Statistics of graphs, held against networkx."""

from __future__ import annotations

from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
import torch

from trilemma.core.graph import graph, stacked
from trilemma.maths.graphs.graphlets import orbits
from trilemma.metrics import graph_statistics as module
from trilemma.metrics.graph_statistics import statistics

GRAPHS = [
    nx.gnp_random_graph(12, 0.3, seed=0),
    nx.gnp_random_graph(9, 0.8, seed=1),
    nx.convert_node_labels_to_integers(nx.grid_2d_graph(3, 4)),
    nx.star_graph(6),
    nx.complete_graph(5),
    nx.empty_graph(3),
    nx.disjoint_union(nx.cycle_graph(3), nx.empty_graph(2)),
    nx.empty_graph(1),
]


@pytest.fixture(scope="module")
def computed():
    return statistics(stacked([graph(len(g), list(g.edges())) for g in GRAPHS]))


@pytest.mark.parametrize("row", range(len(GRAPHS)))
def test_networkx_says_the_same(computed, row):
    g = GRAPHS[row]
    degree = np.bincount([d for _, d in g.degree()], minlength=12) / len(g)
    clustering, _ = np.histogram(list(nx.clustering(g).values()), bins=100, range=(0.0, 1.0))
    eigenvalues = np.linalg.eigvalsh(laplacian(g))
    spectrum, _ = np.histogram(np.clip(eigenvalues, 0, 2), bins=200, range=(-1e-5, 2))
    assert torch.allclose(computed.degree[row], torch.tensor(degree))
    assert torch.allclose(computed.clustering[row], torch.tensor(clustering / len(g)))
    assert torch.allclose(computed.spectral[row], torch.tensor(spectrum / len(g)))
    assert (computed.nodes[row], computed.edges[row]) == (len(g), g.size())


def laplacian(g):
    a = nx.to_numpy_array(g)
    d = a.sum(1)
    scale = 1 / np.sqrt(np.maximum(d, 1))
    return np.diag((d > 0).astype(float)) - scale[:, None] * a * scale


def test_orbits_are_a_mean_over_nodes(computed):
    assert computed.orbit[3].tolist() == pytest.approx(
        [12 / 7, 30 / 7, 15 / 7, 0, 0, 0, 60 / 7, 20 / 7, 0, 0, 0, 0, 0, 0, 0]
    )


def test_clustering_at_the_edge_of_a_bin():
    """Of 300 pairs 87 are joined: bin 29, though 100 times 0.29 is below 29 in floating point."""
    assert int(100 * 0.29) == 28
    pairs = [(i, j) for i in range(25) for j in range(i)][:87]
    x = graph(26, [(25, leaf) for leaf in range(25)] + pairs)
    counts = orbits(x[None])[0]
    bins = [
        int(100 * Fraction(int(2 * t), int(d * (d - 1)))) if d > 1 else 0
        for d, t in counts[:, [0, 3]].tolist()
    ]
    expected = torch.bincount(torch.tensor(bins), minlength=101)[:100] / 26
    expected[99] += bins.count(100) / 26
    assert bins[25] == 29
    assert torch.allclose(statistics(x[None]).clustering[0], expected.double())


def test_graphs_without_nodes_are_measured_as_one_without_an_edge():
    nothing, one = statistics(torch.zeros(1, 4, 4, dtype=torch.uint8)), graph(1, [], 4)
    of = statistics(one[None])
    for name in ("degree", "clustering", "orbit", "spectral"):
        assert torch.equal(getattr(nothing, name), getattr(of, name))
    assert nothing.nodes.item() == 0
    assert nothing.spectral[0, 0] == 1


def test_chunks_do_not_matter(computed, monkeypatch):
    monkeypatch.setattr(module, "ENTRIES", 150)
    progress = []
    repeated = statistics(
        stacked([graph(len(g), list(g.edges())) for g in GRAPHS]), each=progress.append
    )
    for name in ("degree", "clustering", "orbit", "spectral", "nodes", "edges"):
        assert torch.equal(getattr(repeated, name), getattr(computed, name))
    assert progress[-1] == len(GRAPHS)
    assert len(progress) > 1


def test_rows_can_be_taken(computed):
    part = computed[torch.tensor([2, 0])]
    assert len(part) == 2
    assert torch.equal(part.orbit[1], computed.orbit[0])
    assert len(computed[:3]) == 3
