from __future__ import annotations

import pytest
import torch

from trilemma.maths.pixel_distributions import Bernoulli, Categorical, LogisticMixture

HEADS = [
    Bernoulli(),
    Categorical(2),
    Categorical(17),
    LogisticMixture(2, 1),
    LogisticMixture(17, 3),
    LogisticMixture(256, 5),
]


def numbers(head, rows=6, spread=2.0, dtype=torch.float64):
    return torch.randn(rows, head.parameters, dtype=dtype) * spread


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_probabilities_sum_to_one_over_the_levels(head):
    f = numbers(head)[:, None].expand(-1, head.count, -1)
    levels = torch.arange(head.count).expand(len(f), -1)
    total = head.log_prob(levels, f).exp().sum(1)
    torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_draws_are_levels_with_their_probabilities(head):
    many = 40_000
    u = (torch.arange(many, dtype=torch.float64) + 0.5) / many
    (f,) = numbers(head, 1)
    levels_drawn = head.draw(u, f.expand(many, -1))
    assert levels_drawn.dtype == torch.uint8
    share = torch.bincount(levels_drawn.long(), minlength=head.count).double() / many
    expected = head.log_prob(torch.arange(head.count), f.expand(head.count, -1)).exp()
    assert len(share) == head.count
    torch.testing.assert_close(share, expected, atol=4e-4, rtol=0)


@pytest.mark.parametrize("head", HEADS, ids=str)
@pytest.mark.parametrize("u", [0.0, 1 - 2**-24])
def test_extreme_draws_are_levels(head, u):
    for spread in (0.0, 3.0, 300.0):
        f = numbers(head, 50, spread, torch.float32)
        levels_drawn = head.draw(torch.full((50,), u), f)
        assert int(levels_drawn.max()) < head.count


def test_a_component_without_weight_is_never_drawn():
    f = torch.zeros(2, 9)
    f[:, 2] = -200.0  # the last share vanishes
    f[:, 3:5], f[:, 5] = -50.0, 50.0
    assert int(LogisticMixture(256, 3).draw(torch.tensor([0.0, 1 - 2**-24]), f).max()) == 0


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_slopes_are_finite_far_out(head):
    f = (300 * torch.randn(200, head.parameters)).requires_grad_()
    value = head.log_prob(torch.randint(head.count, (200,)), f)
    assert value.isfinite().all()
    (slope,) = torch.autograd.grad(value.sum(), f)
    assert slope.isfinite().all()


def test_a_bernoulli_is_a_categorical_of_two():
    f = torch.randn(8, 1, dtype=torch.float64)
    both = torch.cat([torch.zeros_like(f), f], 1)
    x = torch.tensor([0, 1] * 4)
    torch.testing.assert_close(Bernoulli().log_prob(x, f), Categorical(2).log_prob(x, both))
    u = torch.rand(8, dtype=torch.float64)
    assert torch.equal(Bernoulli().draw(u, f), Categorical(2).draw(u, both))


def test_a_mixture_begins_spread_over_the_levels():
    levels = torch.arange(256)
    p = LogisticMixture(256, 5).log_prob(levels, torch.zeros(256, 15)).exp()
    assert p.min() > 0.1 / 256


def test_axes_before_the_last_are_kept():
    head = LogisticMixture(256, 2)
    x = torch.randint(256, (3, 4, 5)).to(torch.uint8)
    assert head.log_prob(x, torch.zeros(3, 4, 5, 6)).shape == (3, 4, 5)
    assert head.draw(torch.rand(3, 4, 5), torch.zeros(3, 4, 5, 6)).shape == (3, 4, 5)
