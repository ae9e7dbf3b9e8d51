"""The remembering layer: its way back, its steps, and what passes along edges alone."""

from __future__ import annotations

import pytest
import torch

from trilemma.networks.graph_gru import GraphGRU, _GraphGRUFunction

COUNTS, REACH, NODES = torch.tensor([3, 3, 2, 1]), 2, 5


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return GraphGRU(3, 4, 2).double()


@pytest.fixture
def joined():
    draw = torch.Generator().manual_seed(1)
    lower = (torch.rand(3, NODES, NODES, generator=draw) < 0.6).double().tril(-1)
    return lower + lower.transpose(1, 2)


@pytest.fixture
def x():
    draw = torch.Generator().manual_seed(2)
    return torch.randn(9, 3, dtype=torch.float64, generator=draw).requires_grad_()


def weights(layer):
    cell = layer.cell
    return [
        *(cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh),
        *(layer.hear.weight, layer.leave.weight, layer.leave.bias),
    ]


def test_slopes_equal_differences(layer, joined, x):
    def both(x, *of_layer):
        return _GraphGRUFunction.apply(x, joined, *of_layer, COUNTS.tolist(), REACH)

    assert torch.autograd.gradcheck(both, [x, *weights(layer)])


def test_steps_equal_the_whole(layer, joined, x):
    h, messages = layer(x, joined, COUNTS, REACH)
    memory, state, low = torch.zeros(3, NODES, 2).double(), torch.zeros(3, 4).double(), 0
    for step, count in enumerate(COUNTS.tolist()):
        row = joined[:count, step].clone()
        row[:, step:] = 0
        row[:, : max(0, step - REACH)] = 0
        heard = torch.bmm(row[:, None], memory[:count])[:, 0]
        state = layer.step(x[low : low + count], heard, state[:count])
        torch.testing.assert_close(state, h[low : low + count])
        memory = memory.clone()
        memory[:count, step] = layer.message(state)
        low += count
    torch.testing.assert_close(memory, messages)


def test_nothing_is_heard_of_strangers(layer, joined, x):
    alone = torch.zeros_like(joined)
    h, _ = layer(x, alone, COUNTS, REACH)
    with torch.no_grad():
        layer.hear.weight.mul_(5)
    torch.testing.assert_close(layer(x, alone, COUNTS, REACH)[0], h)
    assert not torch.allclose(layer(x, joined, COUNTS, REACH)[0], h)
