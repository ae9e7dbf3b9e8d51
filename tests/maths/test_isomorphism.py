"""Isomorphism classes of graphs, held against networkx."""

from __future__ import annotations

import itertools
import time

import networkx as nx
import pytest
import torch

from trilemma.core.graph import graph, reordered, sizes, stacked
from trilemma.maths.graphs import isomorphism
from trilemma.maths.graphs.isomorphism import IsomorphismClasses


def tensors(graphs, limit=None):
    plain = [nx.convert_node_labels_to_integers(g) for g in graphs]
    return stacked([graph(len(g), list(g.edges())) for g in plain], limit)


def shuffled(x, seed):
    draw = torch.Generator().manual_seed(seed)
    away = torch.arange(x.shape[1]) >= sizes(x)[:, None]
    return reordered(x, (torch.rand(x.shape[:2], generator=draw) + 2 * away).argsort(1))


def test_the_atlas():
    x = tensors([g for g in nx.graph_atlas_g() if len(g)])
    classes = IsomorphismClasses()
    result = classes.of(x)
    assert result == list(range(1252))
    assert classes.of(shuffled(x, 0)) == result


def test_regular_graphs_that_refinement_does_not_tell_apart():
    prism = nx.circular_ladder_graph(3)
    alike = [prism, nx.complete_bipartite_graph(3, 3), nx.Graph(prism)]
    assert IsomorphismClasses().of(tensors(alike)) == [0, 1, 0]
    # Strongly regular graphs of 16 nodes, the hardest pair of their size.
    rook = nx.line_graph(nx.complete_bipartite_graph(4, 4))
    steps = [(0, 1), (1, 0), (1, 1)]
    shrikhande = nx.Graph(
        ((i, j), ((i + a) % 4, (j + b) % 4)) for i in range(4) for j in range(4) for a, b in steps
    )
    x = tensors([rook, shrikhande])
    assert IsomorphismClasses().of(torch.cat([x, shuffled(x, 1)])) == [0, 1, 0, 1]


def test_large_symmetric_graphs_are_not_searched(monkeypatch):
    monkeypatch.setattr(isomorphism._Search, "run", lambda self: pytest.fail("was searched"))
    x = tensors([nx.grid_2d_graph(9, 11), nx.ladder_graph(50), nx.star_graph(98)])
    classes = IsomorphismClasses()
    assert classes.of(torch.cat([x, shuffled(x, 0), shuffled(x, 1)])) == [0, 1, 2] * 3


def test_padding_is_no_node():
    classes = IsomorphismClasses()
    assert classes.of(tensors([nx.path_graph(4)])) == classes.of(
        tensors([nx.path_graph(4)], limit=9)
    )
    assert classes.of(tensors([nx.empty_graph(5), nx.empty_graph(4)])) == [1, 2]


def test_graphs_without_nodes():
    assert IsomorphismClasses().of(torch.zeros(2, 3, 3, dtype=torch.uint8)) == [0, 0]


def regular(count, n=30):
    return tensors([nx.random_regular_graph(3, n, seed=seed) for seed in range(count)])


def test_random_regular_graphs_differ_and_their_copies_are_found():
    x = regular(64)
    classes = IsomorphismClasses()
    start = time.process_time()
    assert classes.of(x) == list(range(64))
    # A third of a second on a quiet core.
    assert time.process_time() - start < 2
    assert classes.of(shuffled(x, 0)) == list(range(64))
    assert classes.undecided == 0


def furer(base, twisted):
    """The graph of Cai, Fürer and Immerman over a base, one edge of which may be twisted."""
    g, edges = nx.Graph(), [tuple(sorted(e)) for e in base.edges()]
    for v in base:
        mine = [e for e in edges if v in e]
        even = [s for k in range(0, len(mine) + 1, 2) for s in itertools.combinations(mine, k)]
        g.add_edges_from(((v, s), (v, e, e in s)) for s in even for e in mine)
    for u, v in edges:
        crossed = twisted and (u, v) == edges[0]
        g.add_edges_from(((u, (u, v), b), (v, (u, v), b != crossed)) for b in (False, True))
    return g


def test_pairs_of_cai_furer_and_immerman():
    x = tensors([furer(nx.complete_graph(4), twisted) for twisted in (False, True)])
    classes = IsomorphismClasses()
    assert classes.of(torch.cat([x, shuffled(x, 0)])) == [0, 1, 0, 1]
    assert classes.undecided == 0


@pytest.mark.parametrize("limits", [{"budget": 8}, {"total": 8}])
def test_what_the_budget_does_not_decide_is_undecided_and_no_copy(limits):
    x = tensors([furer(nx.complete_graph(4), twisted) for twisted in (False, True)])
    classes = IsomorphismClasses(**limits)
    assert classes.of(x) == [0, 1]
    assert classes.undecided == 1


def test_a_search_can_be_stopped():
    class Stopped(Exception):
        pass

    calls = []

    def check():
        calls.append(time.perf_counter())
        if len(calls) > 200:
            raise Stopped

    x = tensors([furer(nx.petersen_graph(), twisted) for twisted in (False, True)])
    with pytest.raises(Stopped):
        IsomorphismClasses().of(x, check)
    assert max(b - a for a, b in itertools.pairwise(calls)) < 1
