"""Graphs that are written are read again, and what a form cannot say is refused."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.core.graph import graph, stacked
from trilemma.data.graph_files import dense, read_graphs
from trilemma.data.graph_writing import MANY, SINGLE, network, write

PATH = [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize("form", SINGLE)
def test_one_graph_comes_back(form, tmp_path):
    x = graph(4, PATH, limit=6)
    write(x[None], tmp_path / f"a{form}", form)
    (one,) = read_graphs(tmp_path / f"a{form}").graphs
    assert torch.equal(dense(one, 6), x)


@pytest.mark.parametrize("form", MANY)
def test_many_graphs_come_back_in_their_order(form, tmp_path):
    x = stacked([graph(4, PATH), graph(3, [(0, 2)]), graph(2, [])], limit=5)
    write(x, tmp_path / f"a{form}", form)
    read_back = read_graphs(tmp_path / f"a{form}").graphs
    assert torch.equal(stacked([dense(one) for one in read_back], 5), x)


@pytest.mark.parametrize("form", SINGLE)
def test_a_form_of_one_graph_refuses_several(form, tmp_path):
    x = graph(4, PATH)[None].repeat(3, 1, 1)
    with pytest.raises(BadInput, match=r"one graph, and 3 were asked for.*\.g6"):
        write(x, tmp_path / f"a{form}", form)
    assert not list(tmp_path.iterdir())


def test_a_list_of_edges_refuses_a_node_without_one(tmp_path):
    x = graph(4, [(0, 1), (1, 2)])
    with pytest.raises(BadInput, match="without an edge"):
        write(x[None], tmp_path / "a.edges", ".edges")
    write(x[None], tmp_path / "a.graphml", ".graphml")
    assert read_graphs(tmp_path / "a.graphml").graphs[0].nodes == 4


def test_a_network_has_the_nodes_and_edges():
    written = network(graph(3, [(0, 2)], limit=5))
    assert sorted(written.nodes) == [0, 1, 2]
    assert list(written.edges) == [(0, 2)]
