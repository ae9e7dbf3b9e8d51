from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trilemma.maths import langevin


def quadratic(y):
    return y.square().flatten(1).sum(1) / 2


def draws(n, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        lambda: torch.randn(n, *shape, generator=generator),
        lambda: torch.rand(n, generator=generator),
    )


def test_a_step_is_the_formula():
    y, xi = torch.randn(5, 1, 2, 3), torch.randn(5, 1, 2, 3)
    step = langevin.ula(quadratic, y, 0.1, lambda: xi)
    torch.testing.assert_close(step, 0.9 * y + math.sqrt(0.2) * xi)


def test_looking_gives_the_energy_and_its_gradient_detached():
    y = torch.randn(4, 3, requires_grad=True)
    state = langevin.evaluate(quadratic, y)
    torch.testing.assert_close(state.gradient, y.detach())
    torch.testing.assert_close(state.energy, quadratic(y).detach())
    assert not any(t.requires_grad for t in (state.y, state.energy, state.gradient))


def test_looking_works_where_gradients_are_off():
    with torch.no_grad():
        torch.testing.assert_close(
            langevin.evaluate(quadratic, torch.ones(1, 2)).gradient.sum(), torch.tensor(2.0)
        )


def test_no_gradient_of_a_parameter_is_formed():
    kernel, weight = nn.Parameter(torch.randn(8, 4, 3, 3)), nn.Parameter(torch.randn(1, 288))
    y = torch.randn(16, 4, 8, 8)

    def energy(y):
        return F.linear(F.silu(F.conv2d(y, kernel)).flatten(1), weight).squeeze(1)

    def work(step):
        with FlopCounterMode(display=False) as counter:
            step()
        return counter.get_total_flops()

    forward = work(lambda: energy(y))
    assert work(lambda: langevin.evaluate(energy, y)) <= 2 * forward
    assert work(lambda: energy(y.requires_grad_()).sum().backward()) > 2.9 * forward
    kernel.grad = weight.grad = None
    langevin.evaluate(energy, y)
    assert kernel.grad is None
    assert weight.grad is None


def test_chains_do_not_see_each_other():
    y, xi = torch.randn(6, 2), torch.randn(6, 2)
    together = langevin.ula(quadratic, y, 0.3, lambda: xi, steps=3)
    alone = langevin.ula(quadratic, y[2:3], 0.3, lambda: xi[2:3], steps=3)
    torch.testing.assert_close(together[2:3], alone)


def test_mala_reports_its_acceptance_and_small_steps_are_taken():
    normal, uniform = draws(400, 2)
    y = normal()
    _, small = langevin.mala(quadratic, y, 1e-4, normal, uniform, steps=5)
    _, large = langevin.mala(quadratic, y, 1.9, normal, uniform, steps=5)
    assert small.shape == (400,)
    assert small.mean() > 0.99
    assert large.mean() < 0.7


def test_mala_comes_to_rest_at_the_right_variance_from_afar():
    normal, uniform = draws(4000, 1)
    y, _ = langevin.mala(quadratic, 5 + normal(), 0.8, normal, uniform, steps=40)
    assert abs(float(y.mean())) < 0.07
    assert float(y.var()) == pytest.approx(1, abs=0.1)


def test_a_proposal_that_is_no_number_is_never_taken():
    r = torch.tensor([math.nan, -math.inf, math.inf, 0.0])
    is_accepted = langevin.accepted(r, torch.tensor([0.0, 0.5, 0.999, 0.5]))
    assert is_accepted.tolist() == [False, False, True, True]


def test_where_an_energy_is_too_steep_mala_stays():
    normal, uniform = draws(50, 1)
    steep = lambda y: 1e6 * y.square().sum(1)  # noqa: E731
    y, share = langevin.mala(steep, torch.zeros(50, 1), 1.0, normal, uniform, steps=3)
    assert float(share.mean()) == 0
    assert torch.equal(y, torch.zeros(50, 1))


def test_the_variance_of_langevin_runs_away_where_it_should():
    assert langevin.stationary_variance(2.0, 1.0) == math.inf
    assert langevin.stationary_variance(4.0, 1e-9) == pytest.approx(0.25)


def test_a_chain_of_no_steps_stays():
    y = torch.randn(3, 2)
    assert torch.equal(langevin.ula(quadratic, y, 0.1, lambda: y, steps=0), y)
