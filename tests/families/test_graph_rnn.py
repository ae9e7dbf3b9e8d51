"""GraphRNN: likelihood, draws, completion, and the way that a graph grows."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from trilemma.core.batch import Examples
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.graph import adjacency, edges, graph, reordered, sizes, stacked
from trilemma.core.noise import Noise
from trilemma.families.graph_rnn import AdjacencyRows, GraphRnn
from trilemma.maths.graphs.bfs_orders import breadth_first, is_breadth_first
from trilemma.networks.graph_rnn import IndependentLinks, LinkRecurrence, NodeRecurrence

NODES, REACH = 12, 7


def model_of(memory=4, hints=True, chained=True, scale=0.5):
    torch.manual_seed(0)
    nodes = NodeRecurrence(REACH, width=8, hidden=10, layers=2, memory=memory)
    links = LinkRecurrence(10, width=6, hidden=7, layers=2, hints=hints, memory=memory)
    if not chained:
        links = IndependentLinks(10, REACH)
    model = GraphRnn(nodes, links, Domain("graph", (NODES, NODES), Levels(2), reach=REACH))
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(scale * torch.randn_like(weight))
    return model.double()


FORMS = [(4, True, True), (0, False, True), (0, True, True), (4, False, True), (0, False, False)]


@pytest.fixture(scope="module")
def some():
    shapes = [
        graph(5, [(0, 1), (1, 2), (2, 3), (3, 4)]),
        graph(6, [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]),
        graph(7, [(0, 1), (1, 2), (2, 0), (3, 4)]),
        graph(1, []),
        graph(12, [(i, (i + 1) % 12) for i in range(12)]),
    ]
    return stacked(shapes, NODES)


@pytest.mark.parametrize("form", FORMS)
def test_one_graph_at_a_time_gives_the_same(form, some):
    model = model_of(*form)
    x = reordered(some, breadth_first(some, torch.rand(len(some), NODES)))
    together = model.ordered_log_prob(x)
    for i in range(len(x)):
        torch.testing.assert_close(model.ordered_log_prob(x[i : i + 1])[0], together[i])


@pytest.mark.parametrize("form", [form for form in FORMS if form[2]])
def test_edges_are_drawn_by_the_logits_of_the_likelihood(form, monkeypatch):
    """The likelihood sees the same networks, hints and memories as the drawing did."""
    model, rows, taught = model_of(*form), [], []
    draw, forward = model.links.draw, model.links.forward

    def drawing(h, window, chances, candidate_embedding, standing):
        bits = draw(h, window, chances, candidate_embedding, standing)
        rows.append((int(window), chances[0], bits[0].bool()))
        return bits

    monkeypatch.setattr(model.links, "draw", drawing)
    monkeypatch.setattr(
        model.links, "forward", lambda *arguments: taught.append(forward(*arguments)) or taught[-1]
    )
    cells = edges_drawn = seed = 0
    while cells < 300:
        rows.clear(), taught.clear()
        seed += 1
        with torch.no_grad():
            model.ordered_log_prob(model.sample(1, noise=Noise.of(seed, 1)))
        rows.sort(key=lambda row: -row[0])  # as the likelihood packs them
        cell = [(slot, i) for slot in range(rows[0][0]) for i in range(len(rows))]
        cell = [(slot, i) for slot, i in cell if slot < rows[i][0]]
        chances = torch.stack([rows[i][1][slot] for slot, i in cell])
        bits_drawn = torch.stack([rows[i][2][slot] for slot, i in cell])
        assert torch.equal(chances < taught[0].sigmoid(), bits_drawn)
        cells, edges_drawn = cells + len(bits_drawn), edges_drawn + int(bits_drawn.sum())
    assert 20 < edges_drawn < cells - 20


def test_independent_edges_are_drawn_by_the_logits_of_the_likelihood(monkeypatch):
    model, logits_seen = model_of(chained=False), []
    forward = model.links.forward
    monkeypatch.setattr(
        model.links, "forward", lambda h: logits_seen.append(forward(h)) or logits_seen[-1]
    )
    with torch.no_grad():
        x = next(
            x
            for x in (model.sample(1, noise=Noise.of(i, 1)) for i in range(50))
            if int(sizes(x)) > 4 or logits_seen.clear()
        )
        bits_drawn = torch.cat([logits.flatten() for logits in logits_seen]).sort().values
        logits_seen.clear()
        model.ordered_log_prob(x)
    taught = torch.cat([logits.flatten() for logits in logits_seen]).sort().values
    assert len(bits_drawn) > 3
    torch.testing.assert_close(bits_drawn, taught)


@pytest.mark.parametrize("form", FORMS)
def test_draws_are_simple_graphs_in_breadth_first_order(form):
    x = model_of(*form).sample(64, noise=Noise.of(1, 64))
    n = sizes(x)
    assert torch.equal(x, x.transpose(1, 2))
    assert int(x.max()) == 1
    is_node = torch.arange(NODES) < n[:, None]
    assert torch.equal(x.diagonal(dim1=1, dim2=2).bool(), is_node)
    assert not (adjacency(x) * ~(is_node[:, None] & is_node[:, :, None])).any()
    assert is_breadth_first(x).all()
    assert len(n.unique()) > 2
    assert torch.isfinite(model_of(*form).ordered_log_prob(x)).all()


def test_rows_hold_all_edges(some):
    x = reordered(some, breadth_first(some, torch.rand(len(some), NODES)))
    rows = AdjacencyRows.of(x, NODES - 1)
    assert torch.equal(rows.bits.sum((1, 2), dtype=torch.int64), adjacency(x).sum((1, 2)) // 2)
    assert not rows.dropped_edges.any()


def test_an_edge_beyond_reach_has_no_probability():
    far = graph(NODES, [(0, i) for i in range(1, NODES)])[None]  # a star: its last leaf is far
    assert float(model_of().ordered_log_prob(far)) == -math.inf


def test_a_loss_is_finite_where_edges_are_lost():
    far = graph(NODES, [(0, i) for i in range(1, NODES)])[None]
    model = model_of()
    loss = model.objectives()[0].loss(Examples(far, noise=Noise.of(0, 1)))
    assert torch.isfinite(loss.value)


def test_learns_one_graph():
    torch.manual_seed(0)
    model = model_of(scale=0.2).float()
    x = graph(8, [(i, (i + 1) % 8) for i in range(8)], NODES).expand(16, NODES, NODES)
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    objective = model.objectives()[0]
    for step in range(300):
        loss = objective.loss(Examples(x, noise=Noise.of(step, 16))).value
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    bits_drawn = model.sample(32, noise=Noise.of(0, 32))
    cycles = sum(
        int(sizes(one)) == 8
        and len(edges(one)) == 8
        and bool((adjacency(one).sum(0)[:8] == 2).all())
        for one in bits_drawn
    )
    assert cycles >= 24


class TestCompleting:
    @pytest.fixture
    def partial_graph(self):
        return graph(4, [(0, 1), (1, 2), (2, 3)], NODES).expand(16, NODES, NODES)

    @pytest.fixture
    def is_known(self, partial_graph):
        is_node = partial_graph.diagonal(dim1=1, dim2=2).bool()
        return is_node[:, None] & is_node[:, :, None]

    @pytest.mark.parametrize("form", FORMS)
    def test_keeps_the_given_nodes_in_their_places(self, form, partial_graph, is_known):
        x = model_of(*form).complete(partial_graph, is_known, noise=Noise.of(0, 16))
        assert torch.equal(x[is_known], partial_graph[is_known])
        assert (sizes(x) >= 4).all()
        assert (sizes(x) > 4).any()
        assert torch.equal(x, x.transpose(1, 2))

    def test_of_nothing_is_refused(self, partial_graph, is_known):
        with pytest.raises(BadInput, match="no nodes"):
            model_of().complete(partial_graph, is_known & False)

    def test_beyond_reach_is_refused(self):
        star = graph(NODES, [(0, i) for i in range(1, NODES)])[None]
        with pytest.raises(BadInput, match="7 places"):
            model_of().complete(star, torch.ones(1, NODES, NODES, dtype=torch.bool))


def test_path_grows_to_the_sample():
    model = model_of()
    frames = model.path(3, frames=6, noise=Noise.of(2, 3))
    assert torch.equal(frames[-1], model.sample(3, noise=Noise.of(2, 3)))
    for a, b in itertools.pairwise(frames):
        assert (a <= b).all()


def test_bounds_tighten(some):
    model, x = model_of(), some[:4]
    one = torch.stack([model.bound(x, noise=Noise.of(i, 4)) for i in range(30)]).mean(0)
    many = torch.stack([model.importance_bound(x, 8, noise=Noise.of(i, 4)) for i in range(5)])
    assert (one <= many.mean(0) + 1e-9).all()
