"""Gated recurrent layers run by hand, beside the framework's."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence

from trilemma.networks.recurrent import Recurrent, _Recurrence

COUNTS = torch.tensor([5, 5, 3, 1, 1])


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return Recurrent(4, 6, 3).double()


@pytest.fixture
def x():
    return torch.randn(15, 4, dtype=torch.float64, requires_grad=True)


def test_equals_the_framework_with_slopes(layers, x):
    start = torch.randn(3, 5, 6, dtype=torch.float64, requires_grad=True)
    ours = layers(x, COUNTS, start)
    theirs = layers.gru(PackedSequence(x, COUNTS), start)[0].data
    torch.testing.assert_close(ours, theirs)
    grad_output = torch.randn_like(ours)
    into = [x, start, *layers.parameters()]
    for a, b in zip(
        torch.autograd.grad((ours * grad_output).sum(), into),
        torch.autograd.grad((theirs * grad_output).sum(), into),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_slopes_equal_differences():
    torch.manual_seed(1)
    counts = [3, 2, 2]
    arguments = [torch.randn(7, 2), torch.randn(3, 2), torch.randn(6, 2), torch.randn(6, 2)]
    arguments += [torch.randn(6), torch.randn(6)]
    arguments = [t.double().requires_grad_() for t in arguments]
    assert torch.autograd.gradcheck(lambda *t: _Recurrence.apply(*t, counts), arguments)


def test_begins_at_zero(layers, x):
    torch.testing.assert_close(
        layers(x, COUNTS), layers(x, COUNTS, torch.zeros(3, 5, 6, dtype=torch.float64))
    )


def test_steps_equal_the_whole(layers, x):
    full = layers(x, COUNTS)
    state, low = tuple(torch.zeros(5, 6, dtype=torch.float64) for _ in range(3)), 0
    for count in COUNTS.tolist():
        state = layers.step(x[low : low + count], tuple(s[:count] for s in state))
        torch.testing.assert_close(state[-1], full[low : low + count])
        low += count


def test_half_precision_around_it_changes_nothing(layers, x):
    layers, x = layers.float(), x.float().detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = layers(x, COUNTS)
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, layers(x, COUNTS))


def test_an_input_that_needs_no_slope_gets_none(layers, x):
    layers(x.detach(), COUNTS).sum().backward()
    assert all(p.grad is not None for p in layers.parameters())
