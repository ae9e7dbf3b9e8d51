from __future__ import annotations

import math

import pytest
import torch

from trilemma.maths import ais


def draws(n, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        lambda: torch.randn(n, *shape, generator=generator, dtype=torch.float64),
        lambda: torch.rand(n, generator=generator, dtype=torch.float64),
    )


def base(dims=3, std=1.0):
    return ais.Gaussian(torch.zeros(dims).double(), torch.full((dims,), std).double())


def energy(y):
    return 3 * (y - 0.5).square().sum(1)


EXACT = 1.5 * math.log(math.pi / 3)


def test_the_start_is_normalised():
    gaussian = ais.Gaussian(torch.tensor([0.3, -1.0]), torch.tensor([0.5, 2.0]))
    y = torch.randn(6, 2)
    state = gaussian.evaluate(y)
    exact = torch.distributions.Normal(gaussian.mean, gaussian.std).log_prob(y).sum(1)
    torch.testing.assert_close(state.energy, -exact)
    y.requires_grad_()
    (slope,) = torch.autograd.grad(gaussian.evaluate(y).energy.sum(), y)
    torch.testing.assert_close(state.gradient, slope)


def test_one_spread_for_all_coordinates_will_do():
    one = ais.Gaussian(torch.zeros(2, 3), torch.tensor(0.7))
    each = ais.Gaussian(torch.zeros(2, 3), torch.full((2, 3), 0.7))
    y = torch.randn(4, 2, 3)
    torch.testing.assert_close(one.evaluate(y).energy, each.evaluate(y).energy)


def test_the_base_itself_is_found_without_error():
    own = base()
    plan = ais.pilot(lambda y: own.evaluate(y).energy, own, 10, *draws(8, 3))
    estimate = ais.forward(lambda y: own.evaluate(y).energy, own, plan, *draws(8, 3, seed=1))
    assert float(estimate.log_weights.abs().max()) < 1e-9


def test_both_ways_close_on_the_truth_with_more_temperatures():
    widths = []
    for steps in (10, 80):
        plan = ais.pilot(energy, base(), steps, *draws(64, 3))
        normal, uniform = draws(128, 3, seed=1)
        up = ais.forward(energy, base(), plan, normal, uniform)
        start = 0.5 + normal() / math.sqrt(6)
        down = ais.reverse(energy, base(), plan, start, normal, uniform)
        low, high = float(up.log_weights.mean()), -float(down.log_weights.mean())
        assert low < EXACT < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
    assert ais.log_mean_exp(up.log_weights) == pytest.approx(EXACT, abs=0.1)


def test_the_plan_goes_from_nought_to_one_and_takes_six_in_ten():
    plan = ais.pilot(energy, base(), 60, *draws(64, 3))
    assert len(plan.betas) == len(plan.etas) == 61
    assert plan.betas[0] == 0
    assert plan.betas[-1] == 1
    assert all(a < b for a, b in zip(plan.betas, plan.betas[1:], strict=False))
    assert all(eta > 0 for eta in plan.etas)
    estimate = ais.forward(energy, base(), plan, *draws(256, 3, seed=2))
    assert 0.5 < estimate.acceptance < 0.75


def test_a_pilot_may_be_shorter_than_the_plan():
    plan = ais.pilot(energy, base(), 60, *draws(16, 3), pilot_steps=20)
    assert len(plan.betas) == 61


def test_a_temperature_costs_one_evaluation():
    calls = []

    def counted(y):
        calls.append(len(y))
        return energy(y)

    plan = ais.AnnealingPlan([0.0, 0.25, 0.5, 1.0], [0.1] * 4)
    ais.forward(counted, base(), plan, *draws(8, 3))
    assert calls == [8, 8, 8]  # where it begins, and at the two temperatures between


def test_the_weights_of_one_jump_are_importance_weights():
    plan = ais.AnnealingPlan([0.0, 1.0], [0.1, 0.1])
    normal, uniform = draws(8, 3)
    estimate = ais.forward(energy, base(), plan, normal, uniform)
    y = draws(8, 3)[0]()
    torch.testing.assert_close(estimate.log_weights, base().evaluate(y).energy - energy(y))
    back = ais.reverse(energy, base(), plan, y, normal, uniform)
    torch.testing.assert_close(back.log_weights, energy(y) - base().evaluate(y).energy)


def test_effective_size_counts_weights():
    assert ais.effective_size(torch.tensor([0.0, 0.0, -math.inf])) == pytest.approx(2)
    assert ais.log_mean_exp(torch.tensor([1.0, 1.0])) == pytest.approx(1)
    assert ais.log_mean_exp(torch.tensor([1000.0, 1000.0])) == pytest.approx(1000)


def test_chains_are_drawn_again_by_their_weights():
    log_weights = torch.tensor([0.0, -math.inf, math.log(3.0)])
    indices = ais.resampled(log_weights, (torch.arange(400) + 0.5) / 400)
    assert torch.bincount(indices, minlength=3).tolist() == [100, 0, 300]


def test_the_error_of_a_log_mean_is_its_deviation_over_repetitions():
    log_weights = 0.5 * torch.randn(4000, 64, generator=torch.Generator().manual_seed(0)).double()
    errors = torch.tensor([ais.log_mean_error(w) for w in log_weights])
    deviation = (log_weights.logsumexp(1) - math.log(64)).std()
    assert errors.mean() == pytest.approx(float(deviation), rel=0.04)
    assert ais.log_mean_error(torch.zeros(1)) == math.inf
    shifted = ais.log_mean_error(log_weights[0] - 5000)
    assert shifted == pytest.approx(float(errors[0]), rel=1e-6)
