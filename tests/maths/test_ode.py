"""Solvers and divergences: what they cost, where they stop, what they leave alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trilemma.maths import ode


def turning(t, state):
    """dy/dt = cos(t) y, solved by exp(sin t)."""
    return (torch.cos(t)[:, None] * state[0],)


ONE = (torch.ones(3, 1, dtype=torch.float64),)


@pytest.mark.parametrize("name", ode.SOLVERS)
def test_each_solver_arrives_with_the_calls_that_it_states(name):
    method, calls = ode.SOLVERS[name], []

    def field(t, state):
        calls.append(t)
        return turning(t, state)

    states = list(ode.fixed(field, ONE, torch.linspace(0, 2, 41), method))
    assert len(states) == 40
    assert len(calls) == 40 * method.calls
    assert states[0][0].dtype == torch.float64
    allowed = 0.3 * 0.05**method.order + 1e-7
    assert abs(float(states[-1][0][0]) - math.exp(math.sin(2))) < 10 * allowed


@pytest.mark.parametrize("name", ode.SOLVERS)
def test_tableaus_are_consistent(name):
    method = ode.SOLVERS[name]
    assert sum(method.weights) == pytest.approx(1)
    half = sum(b * c for b, c in zip(method.weights, method.nodes, strict=True))
    assert half == pytest.approx(1 / 2) or method.order == 1
    if method.embedded:
        assert sum(method.embedded) == pytest.approx(1)
        assert method.stages[-1] == method.weights[:-1]  # the last slope is the next step's first


def test_the_way_back_undoes_the_way():
    times = torch.linspace(0, 2, 81)
    *_, end = ode.fixed(turning, ONE, times, ode.SOLVERS["rk4"])
    *_, (back,) = ode.fixed(turning, end, times.flip(0), ode.SOLVERS["rk4"])
    torch.testing.assert_close(back, ONE[0], atol=1e-6, rtol=0)


def test_adaptive_steps_keep_the_tolerance_both_ways():
    for times in (torch.tensor([0.0, 0.7, 2.0]), torch.tensor([2.0, 0.3])):
        begin = (ONE[0] * math.exp(math.sin(float(times[0]))),)
        result = ode.adaptive(turning, begin, times, relative=1e-7, absolute=1e-7)
        assert len(result.states) == len(times) - 1
        for t, (y,) in zip(times[1:].tolist(), result.states, strict=True):
            assert float(y[0]) == pytest.approx(math.exp(math.sin(t)), abs=1e-4)
        assert float(result.states[-1][0][0]) == pytest.approx(
            math.exp(math.sin(float(times[-1]))), abs=2e-6
        )


def test_adaptive_steps_are_as_many_as_the_problem_needs():
    calm = ode.adaptive(lambda t, s: (0 * s[0],), ONE, torch.tensor([0.0, 1.0]))
    wild = ode.adaptive(
        lambda t, s: (30 * torch.cos(30 * t)[:, None] + 0 * s[0],), ONE, torch.tensor([0.0, 1.0])
    )
    assert calm.calls < 40 < wild.calls
    assert wild.rejected >= 0
    assert float(wild.states[0][0][0]) == pytest.approx(1 + math.sin(30), abs=1e-2)


def test_a_log_density_follows_and_does_not_decide():
    def field(t, state):
        return turning(t, (state[0],))[0], 1e6 * torch.cos(t)[:, None].expand(3, 2)

    state = (*ONE, torch.zeros(3, 2, dtype=torch.float64))
    result = ode.adaptive(field, state, torch.tensor([0.0, 1.0]))
    alone = ode.adaptive(turning, ONE, torch.tensor([0.0, 1.0]))
    assert result.calls == alone.calls
    assert result.states[0][1].shape == (3, 2)


def test_too_many_calls_are_refused():
    explosive = lambda t, s: (s[0] ** 2,)  # noqa: E731
    with pytest.raises(ode.TooManyCalls, match="3 of 3 rows have not arrived after"):
        ode.adaptive(explosive, ONE, torch.tensor([0.0, 2.0]), most=100)
    lost = lambda t, s: (s[0] * math.nan,)  # noqa: E731
    with pytest.raises(ode.TooManyCalls):
        ode.adaptive(lost, ONE, torch.tensor([0.0, 2.0]), most=50)


def test_refined_times_begin_and_end_exactly_and_crowd_towards_the_end():
    for finest in (1e-4, 0.1, 10.0):
        t = ode.refined(torch.linspace(0, 1, 21), finest)
        assert t[0] == 0
        assert t[-1] == pytest.approx(1, abs=1e-12)
        steps = t.diff()
        assert (steps > 0).all()
        ratio = (steps[1:] / steps[:-1]).mean()
        assert float(ratio) == pytest.approx((finest / (1 + finest)) ** (1 / 20), rel=1e-6)


def test_no_gradient_of_a_parameter_is_formed():
    layer, gradient_flags = nn.Linear(3, 3), []
    for parameter in layer.parameters():
        parameter.register_hook(gradient_flags.append)
    y = torch.randn(5, 3)
    with torch.no_grad():
        value, exact = ode.exact_trace(layer, y)
        _, each = ode.hutchinson(layer, y, torch.ones(4, 5, 3))
    assert not gradient_flags
    assert all(p.grad is None for p in layer.parameters())
    assert not value.requires_grad
    assert not exact.requires_grad
    assert (exact.shape, each.shape) == ((5, 1), (5, 4))
    torch.testing.assert_close(exact[:, 0], layer.weight.diagonal().sum().expand(5))
    torch.testing.assert_close(each[:, 0], layer.weight.sum().expand(5))


def test_divergence_of_images():
    layer = nn.Conv2d(2, 2, 3, padding=1)
    _, exact = ode.exact_trace(layer, torch.randn(3, 2, 4, 4))
    middle = layer.weight[0, 0, 1, 1] + layer.weight[1, 1, 1, 1]
    torch.testing.assert_close(exact[:, 0], (16 * middle).expand(3))


def test_one_probe_tells_no_error():
    assert ode.standard_error(torch.ones(4, 1)).isnan().all()
    assert (ode.standard_error(torch.ones(4, 3)) == 0).all()
