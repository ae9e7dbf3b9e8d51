"""Kinds of graphs, held against networkx."""

from __future__ import annotations

import networkx as nx
import pytest
import torch

from trilemma.core.graph import graph, reordered, sizes, stacked
from trilemma.metrics import isomorphism
from trilemma.metrics.isomorphism import Kinds


def tensors(graphs, limit=None):
    plain = [nx.convert_node_labels_to_integers(g) for g in graphs]
    return stacked([graph(len(g), list(g.edges())) for g in plain], limit)


def shuffled(x, seed):
    draw = torch.Generator().manual_seed(seed)
    away = torch.arange(x.shape[1]) >= sizes(x)[:, None]
    return reordered(x, (torch.rand(x.shape[:2], generator=draw) + 2 * away).argsort(1))


def test_the_atlas():
    x = tensors([g for g in nx.graph_atlas_g() if len(g)])
    kinds = Kinds()
    found = kinds.of(x)
    assert found == list(range(1252))
    assert kinds.of(shuffled(x, 0)) == found


def test_regular_graphs_that_refinement_does_not_tell_apart():
    prism = nx.circular_ladder_graph(3)
    alike = [prism, nx.complete_bipartite_graph(3, 3), nx.Graph(prism)]
    assert Kinds().of(tensors(alike)) == [0, 1, 0]
    # Strongly regular graphs of 16 nodes, the hardest pair of their size.
    rook = nx.line_graph(nx.complete_bipartite_graph(4, 4))
    steps = [(0, 1), (1, 0), (1, 1)]
    shrikhande = nx.Graph(
        ((i, j), ((i + a) % 4, (j + b) % 4)) for i in range(4) for j in range(4) for a, b in steps
    )
    x = tensors([rook, shrikhande])
    assert Kinds().of(torch.cat([x, shuffled(x, 1)])) == [0, 1, 0, 1]


def test_large_symmetric_graphs_are_not_searched(monkeypatch):
    monkeypatch.setattr(
        isomorphism, "_same", lambda x, y: pytest.fail("was compared node by node")
    )
    x = tensors([nx.grid_2d_graph(9, 11), nx.ladder_graph(50), nx.star_graph(98)])
    kinds = Kinds()
    assert kinds.of(torch.cat([x, shuffled(x, 0), shuffled(x, 1)])) == [0, 1, 2] * 3


def test_padding_is_no_node():
    kinds = Kinds()
    assert kinds.of(tensors([nx.path_graph(4)])) == kinds.of(tensors([nx.path_graph(4)], limit=9))
    assert kinds.of(tensors([nx.empty_graph(5), nx.empty_graph(4)])) == [1, 2]


def test_graphs_without_nodes():
    assert Kinds().of(torch.zeros(2, 3, 3, dtype=torch.uint8)) == [0, 0]
