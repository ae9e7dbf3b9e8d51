"""Graph sets: the numbers of their papers, their rules, their split."""

from __future__ import annotations

import hashlib
from collections import Counter

import networkx as nx
import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.core.graph import adjacency, edges, graph, reordered, sizes, stacked
from trilemma.data import ego, graph_rules, graphs
from trilemma.data.sources import load
from trilemma.maths.graphs.bfs_orders import breadth_first, windows
from trilemma.maths.graphs.weisfeiler_lehman import colour_hash

PUBLISHED = {
    "grid": (100, 100, 361, 180, 684),
    "ladder": (101, 200, 400, 298, 598),
    "community-small": (100, 12, 20, 12, 100),
    "community": (510, 60, 160, 200, 2100),
    "barabasi-albert": (500, 100, 199, 384, 780),
}
"""Graphs, least and most nodes, bounds of their edges."""
LEARNT = {
    "grid": "bb56cf6455c72d0d",
    "ladder": "dd8091bb8af22b7b",
    "community-small": "92e5cc3e2319e9d6",
    "community": "a4d47660a0392b56",
    "barabasi-albert": "7e5f00d97785a358",
}
"""sha256 of the training graphs before any test graph was drawn."""
CITESEER = ego.citeseer()
"""Where this machine has the network; tests themselves run with an empty cache."""
SMALL_SETS = ("grid", "ladder", "community-small")
"""Sets of which a fifth is fewer than 50 graphs."""


def of(network) -> torch.Tensor:
    network = nx.convert_node_labels_to_integers(network)
    return graph(len(network), list(network.edges))


@pytest.fixture(scope="module")
def sets():
    return {name: load(name) for name in PUBLISHED}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_those_of_the_paper(name, sets):
    data, (count, least, most, low, many) = sets[name], PUBLISHED[name]
    x = torch.cat([data.train.x, data.test.x])
    n, e = sizes(x), adjacency(x).sum((1, 2), dtype=torch.int64) // 2
    assert least <= int(n.min()) <= int(n.max()) <= most
    assert low <= int(e.min()) <= int(e.max()) <= many
    test_count = -(-count // 5)
    assert len(data.train) == count - test_count
    assert len(data.test) == max(test_count, 50)
    assert data.domain.shape == (most, most)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_made_graphs_are_the_papers(name):
    count, least, most, *_ = PUBLISHED[name]
    n = [len(x) for x in graphs.GRAPHS[name].graphs(None)]
    assert (len(n), min(n), max(n)) == (count, least, most)


@pytest.mark.parametrize("name", PUBLISHED)
def test_training_graphs_are_those_of_the_published_set(name, sets):
    graph_bytes = sets[name].train.x.contiguous().numpy().tobytes()
    assert hashlib.sha256(graph_bytes).hexdigest()[:16] == LEARNT[name]


@pytest.mark.parametrize("name", SMALL_SETS)
def test_a_set_of_a_hundred_is_tested_by_fifty_graphs(name, sets):
    notes = " ".join(sets[name].notes)
    test_count = -(-PUBLISHED[name][0] // 5)
    assert f"as many as published: {PUBLISHED[name][0]}" in notes
    assert f"a fifth for testing: 80 and {test_count}" in notes
    assert f"these {test_count}, which are too few to tell models apart" in notes
    assert "scores rest on few" not in notes


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - set(SMALL_SETS)))
def test_a_published_fifth_of_fifty_or_more_is_the_test_split(name, sets):
    assert "too few" not in " ".join(sets[name].notes)
    both = colour_hash(torch.cat([sets[name].train.x, sets[name].test.x])).tolist()
    hashes = colour_hash(stacked(graphs.GRAPHS[name].graphs(None))).tolist()
    assert sorted(both) == sorted(hashes)


def test_fresh_communities_stand_beside_the_held_out_fifth(sets):
    test = sets["community-small"].test.x
    hashes = colour_hash(stacked(graphs.GRAPHS["community-small"].graphs(None))).tolist()
    is_published = [c in hashes for c in colour_hash(test).tolist()]
    assert all(is_published[:20])
    assert sum(is_published[20:]) <= 3  # by chance only: small graphs repeat themselves
    assert "beside these 20" in " ".join(sets["community-small"].notes)
    assert set(sizes(test[20:]).tolist()) == {12, 14, 16, 18, 20}


@pytest.mark.parametrize("size", [8, 11])
def test_fresh_communities_have_the_size_that_is_asked_for(size):
    data = load("community-small", size=size)
    assert (len(data.train), len(data.test)) == (80, 50)
    assert sizes(data.test.x).double().median() == size // 2 * 2
    assert "published" not in " ".join(data.notes)


@pytest.mark.parametrize(("name", "kinds"), [("grid", 55), ("ladder", 101)])
def test_listed_sets_are_tested_by_draws_from_the_whole_list(name, kinds, sets):
    data = sets[name]
    listed = Counter(colour_hash(stacked(graphs.GRAPHS[name].graphs(None))).tolist())
    learnt = set(colour_hash(data.train.x).tolist())
    tests = colour_hash(data.test.x).tolist()
    assert len(listed) == kinds
    assert set(tests) <= set(listed)
    assert len(set(tests)) < len(tests)  # with replacement
    met = sum(c in learnt for c in tests)
    assert f"as is meant {met} of 50 are" in " ".join(data.notes)
    # As many as a draw with the same probability of each of the list meets, give or take.
    share = sum(listed[c] for c in learnt) / sum(listed.values())
    assert abs(met - 50 * share) < 3.5 * (50 * share * (1 - share)) ** 0.5


def test_what_is_given_has_no_fresh_graphs():
    data = graphs.of_networks([nx.gnm_random_graph(6 + k, 8, seed=k) for k in range(30)])
    assert (len(data.train), len(data.test)) == (24, 6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_graph_keeps_its_rule(name, sets):
    data = sets[name]
    holds = torch.cat([data.rule.holds(data.train.x), data.rule.holds(data.test.x)])
    assert holds.double().mean() >= (0.95 if name.startswith("community") else 1)


@pytest.mark.parametrize("name", ["community", "community-small", "barabasi-albert"])
def test_no_two_communities_are_alike_by_their_seed(name, sets):
    x = sets[name].train.x
    assert len(set(colour_hash(x).tolist())) > 0.95 * len(x)


def test_reach_holds_nearly_all_orders_of_training_graphs(sets):
    data = sets["grid"]
    y = reordered(data.train.x, breadth_first(data.train.x, torch.rand(80, 361)))
    assert int(windows(y).max()) <= data.domain.reach < 361


def test_a_set_is_the_same_whenever_it_is_made():
    assert load("community-small").fingerprint == load("community-small").fingerprint


def test_split_and_hash_do_not_know_the_order_of_nodes(sets):
    x = sets["community-small"].train.x
    order = torch.rand(x.shape[:2]).argsort(1)
    is_node = sizes(x)[:, None] > torch.arange(20)
    keys = torch.where(is_node, torch.rand(x.shape[:2]), 2.0)
    moved = reordered(x, keys.argsort(1))
    assert not torch.equal(moved, x)
    assert torch.equal(colour_hash(moved), colour_hash(x))
    assert torch.equal(colour_hash(stacked(list(x), 30)), colour_hash(x))
    assert len(order) == len(x)


def test_hash_tells_what_degrees_do_not():
    two, one = of(nx.disjoint_union(nx.path_graph(3), nx.cycle_graph(4))), of(nx.path_graph(7))
    degrees = [adjacency(x).sum(0).sort().values for x in (two, one)]
    assert torch.equal(*degrees)
    assert colour_hash(two[None]) != colour_hash(one[None])
    tail = (
        of(nx.lollipop_graph(3, 3)),
        of(nx.Graph([(0, 1), (1, 2), (2, 0), (0, 3), (3, 4), (1, 5)])),
    )
    assert colour_hash(tail[0][None]) != colour_hash(tail[1][None])


class TestRules:
    def test_grids_in_any_order_are_grids(self):
        for rows, columns in ((2, 2), (2, 5), (3, 3), (4, 7)):
            x = graphs.grid(rows, columns)[None]
            moved = reordered(x, torch.randperm(rows * columns)[None])
            assert graph_rules.GRID.holds(moved).all()
            assert graph_rules.LADDER.holds(moved).item() == (min(rows, columns) == 2)

    @pytest.mark.parametrize(
        "other",
        [
            nx.grid_2d_graph(4, 5, periodic=True),
            nx.grid_2d_graph(4, 5, periodic=(True, False)),
            nx.path_graph(6),
            nx.cycle_graph(8),
            nx.disjoint_union(nx.grid_2d_graph(2, 3), nx.grid_2d_graph(2, 3)),
            nx.compose(nx.grid_2d_graph(4, 5), nx.Graph([((0, 0), (1, 1))])),
            nx.compose(nx.grid_2d_graph(4, 5), nx.Graph([((0, 0), "tail")])),
            nx.complete_graph(4),
            nx.empty_graph(1),
        ],
        ids=lambda g: f"{len(g)}-{g.number_of_edges()}",
    )
    def test_what_is_no_grid_is_none(self, other):
        assert not graph_rules.GRID.holds(of(other)[None]).any()

    @pytest.mark.parametrize("edge", range(0, 31, 6))
    def test_a_grid_that_lacks_an_edge_is_none(self, edge):
        x = graphs.grid(4, 5)
        a, b = edges(x)[edge].tolist()
        x[a, b] = x[b, a] = 0
        assert not graph_rules.GRID.holds(x[None]).any()

    def test_communities_are_no_random_graphs(self, sets):
        x = sets["community"].test.x
        draw = torch.Generator().manual_seed(0)
        n = sizes(x)
        share = adjacency(x).sum((1, 2)) / (n * (n - 1))
        chosen = (torch.rand(x.shape, generator=draw) < share[:, None, None]).triu(1)
        is_node = x.diagonal(dim1=1, dim2=2).bool()
        other = (chosen | chosen.transpose(1, 2)) & is_node[:, None] & is_node[:, :, None]
        other = other.to(torch.uint8) | torch.diag_embed(is_node.to(torch.uint8))
        assert graph_rules.COMMUNITIES.holds(other).double().mean() < 0.05

    def test_one_piece(self):
        two = of(nx.disjoint_union(nx.path_graph(3), nx.path_graph(2)))
        assert not graph_rules.CONNECTED.holds(two[None]).any()
        assert graph_rules.CONNECTED.holds(of(nx.path_graph(5))[None]).all()


def test_generated_sets_come_in_other_sizes():
    data = load("barabasi-albert", size=20)
    n = sizes(data.train.x)
    assert set(n.tolist()) == {20}
    assert (adjacency(data.train.x).sum((1, 2)) // 2 == 36).all()


@pytest.mark.parametrize(("name", "size"), [("grid", 20), ("barabasi-albert", 3)])
def test_sizes_that_cannot_be_had_are_refused(name, size):
    with pytest.raises(BadInput, match="--size"):
        load(name, size=size)


def test_networks_make_a_set():
    data = graphs.of_networks([nx.gnm_random_graph(6 + k, 8, seed=k) for k in range(10)], "mine")
    assert (len(data.train), len(data.test), data.name) == (8, 2, "mine")


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ([nx.path_graph(3)], "holds 1 graph, and 5"),
        ([nx.path_graph(3)] * 4 + [nx.empty_graph(0)], "graph 5 of 'x' cannot be used: an empty"),
        ([nx.path_graph(3)] * 4 + [nx.empty_graph(1)], "a single node"),
        ([nx.path_graph(3)] * 5 + [nx.path_graph(2001)], "more than 2,000 nodes"),
    ],
)
def test_networks_that_make_none(networks, message):
    with pytest.raises(BadInput, match=message):
        graphs.of_networks(networks, "x")


class TestEgos:
    def test_are_those_of_a_search(self):
        network = nx.gnm_random_graph(40, 60, seed=1)
        plain = graphs.graph_files.of_network(network)
        for radius in (1, 2, 3):
            egos_found = ego.egos(plain, radius, 1, 40)
            expected = [nx.ego_graph(network, v, radius) for v in network]
            assert [len(x) for x in egos_found] == [len(g) for g in expected]
            assert [len(edges(x)) for x in egos_found] == [g.number_of_edges() for g in expected]

    @pytest.mark.skipif(CITESEER is None, reason="citeseer's network is not here")
    def test_of_citeseer_are_the_papers(self):
        plain = ego._largest_component(ego.read(CITESEER))
        n = torch.tensor([len(x) for x in ego.egos(plain, *ego.EGOS["ego"][:3])])
        assert plain.nodes == 2120
        assert (len(n), int(n.min()), int(n.max())) == (757, 50, 399)

    def test_without_citeseer_say_how(self, monkeypatch):
        monkeypatch.setattr(ego, "citeseer", lambda: None)
        with pytest.raises(BadInput, match="--ego-radius"):
            load("ego-small")


def test_regular_graphs_are_no_copies():
    """Colours alone take all 3-regular graphs of a size for one."""
    networks = [nx.random_regular_graph(3, 30, seed=seed) for seed in range(10)]
    data = graphs.of_networks(networks)
    assert not any("same as another" in note for note in data.notes)
    data = graphs.of_networks([*networks, nx.relabel_nodes(networks[0], lambda i: 29 - i)])
    assert "the same as another but for the order of nodes: 1" in data.notes
