"""The environment: what may be done, what it does, and how fast."""

from __future__ import annotations

import time

import networkx as nx
import pytest
import torch

from trilemma.core.graph import adjacency, graph, reordered, sizes, stacked
from trilemma.maths.graphs.bfs_orders import breadth_first, parents
from trilemma.maths.graphs.graph_environment import (
    action_mask,
    expert_action,
    reset,
    reset_from,
    step,
)
from trilemma.maths.ppo import chosen, masked_log_probs


def random_act(state, grows, draw):
    may = action_mask(state, grows)
    log_probs = masked_log_probs(torch.zeros(may.shape), may)
    return chosen(log_probs, torch.rand(len(state), generator=draw))


@pytest.mark.parametrize("seed", range(3))
def test_random_builders_make_simple_graphs_within_the_limit(seed):
    draw, state = torch.Generator().manual_seed(seed), reset(64, 8, 40)
    steps = 0
    while not state.done.all():
        state, steps = step(state, random_act(state, True, draw), True), steps + 1
        n = sizes(state.x)
        assert torch.equal(state.x, state.x.transpose(1, 2))
        assert (n <= 8).all()
        assert (state.x.diagonal(dim1=1, dim2=2).sum(1) == n).all()
    assert steps <= 40
    assert len(sizes(state.x).unique()) > 3


def test_a_budget_is_spent_to_the_edge():
    x = stacked([graph(6, list(nx.path_graph(6).edges)), graph(4, list(nx.star_graph(3).edges))])
    state, draw = reset_from(x, torch.tensor([3, 2])), torch.Generator().manual_seed(0)
    while not state.done.all():
        state = step(state, random_act(state, False, draw), False)
    more = (adjacency(state.x).sum((1, 2)) - adjacency(x).sum((1, 2))) // 2
    assert more.tolist() == [3, 2]
    assert (state.x >= x).all()
    assert torch.equal(sizes(state.x), sizes(x))


def test_a_complete_graph_gets_nothing():
    x = graph(4, list(nx.complete_graph(4).edges))[None]
    state = reset_from(x, torch.tensor([5]))
    assert state.done.all()
    assert action_mask(state, False)[0].nonzero().tolist() == [[9]]


def test_a_graph_that_fills_up_ends_early():
    x = graph(3, [(0, 1), (1, 2)])[None]
    state, draw = reset_from(x, torch.tensor([4])), torch.Generator().manual_seed(0)
    for _ in range(2):
        state = step(state, random_act(state, False, draw), False)
    assert state.done.all()
    assert int(adjacency(state.x).sum()) == 6


def test_an_expert_builds_every_graph():
    draw = torch.Generator().manual_seed(0)
    networks = [nx.gnm_random_graph(9, 14, seed=s) for s in range(4)] + [nx.path_graph(5)]
    networks.append(nx.disjoint_union(nx.cycle_graph(4), nx.path_graph(3)))
    x = stacked([graph(len(g), list(g.edges)) for g in networks], 10)
    y = reordered(x, breadth_first(x, torch.rand(len(x), 10, generator=draw)))
    for one in y:
        root = parents(one[None])[0] == torch.arange(10)
        n = int(sizes(one))
        steps = int(adjacency(one).sum()) // 2 + int(root[1:n].sum()) + 1
        many, at = one.expand(steps, 10, 10), (torch.arange(steps) + 0.5) / steps
        states, acts = expert_action(many, parents(many), at)
        state = reset(1, 10, 200)
        for k, act in enumerate(acts):
            assert torch.equal(state.x[0], states.x[k])
            assert state.current_node[0] == states.current_node[k]
            assert action_mask(state, True)[0, act]
            state = step(state, act[None], True)
        assert torch.equal(state.x[0], one)
        assert state.done.all()


def test_draws_follow_the_probabilities_and_never_the_forbidden():
    logits = torch.tensor([[0.0, 1.0, 2.0, 5.0]]).expand(20000, 4)
    may = torch.tensor([True, False, True, False]).expand(20000, 4)
    log_probs = masked_log_probs(logits, may)
    u = torch.rand(20000, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(chosen(log_probs, u), minlength=4) / 20000
    assert counts[1] == counts[3] == 0
    assert counts[2] == pytest.approx(float(log_probs[0, 2].exp()), abs=0.01)
    edges = torch.tensor([0.0, 1 - 1e-7])
    assert set(chosen(log_probs[:2], edges).tolist()) <= {0, 2}


def test_many_graphs_a_second():
    draw, state = torch.Generator().manual_seed(0), reset(256, 20, 10**6)
    acts = [random_act(state, True, draw) for _ in range(1)]
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < 0.5:
        may = action_mask(state, True)
        act = torch.where(may[:, 20:40].any(1), may[:, 20:40].long().argmax(1) + 20, 41)
        state = step(state, act, True)
        count += 1
        if state.done.all():
            state = reset(256, 20, 10**6)
    assert len(acts) == 1
    # A tenth of what a quiet core does, that a busy one passes.
    assert 256 * count / 0.5 > 10_000
