"""What is told to a policy of graphs means the same whatever their size."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.graph import adjacency
from trilemma.data.graphs import preferential
from trilemma.families.graph_policy import GraphPolicy
from trilemma.networks.graph import ActNetwork


@pytest.mark.parametrize("nodes", [20, 40])
def test_what_is_left_of_a_budget_is_a_share_of_it(nodes):
    draw = torch.Generator().manual_seed(0)
    x = torch.stack([preferential(nodes, 2, draw) for _ in range(3)])
    network = ActNetwork(width=8, layers=1, budget=0.5)
    edges = adjacency(x).sum((1, 2), dtype=torch.int64) // 2
    full_budget = GraphPolicy.edges_for(type("Policy", (), {"budget": 0.5})(), x)
    assert torch.equal(full_budget, (edges / 2).round().long())
    assert torch.allclose(network._left_over(x, full_budget), torch.ones(3), atol=1e-6)
    assert torch.equal(network._left_over(x, torch.zeros(3).long()), torch.zeros(3))
    half = network._left_over(x, full_budget // 2)
    assert bool(((half > 0.5) & (half < 0.7)).all())  # nothing was added for the other half
