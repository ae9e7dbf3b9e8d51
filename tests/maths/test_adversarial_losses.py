from __future__ import annotations

import math

import pytest
import torch

from trilemma.maths.adversarial import (
    LOSSES,
    AdversarialLoss,
    jensen_shannon,
    optimal_critic,
    squared_slope,
    value,
)

SCORES = torch.linspace(-5, 5, 21, dtype=torch.float64)


def test_values_are_those_of_the_table():
    real, fake = SCORES, SCORES.flip(0) / 2
    s = torch.sigmoid
    critic = -s(real).log() - (1 - s(fake)).log()
    for name in ("ns", "saturating"):
        torch.testing.assert_close(LOSSES[name].critic(real, fake), critic)
    torch.testing.assert_close(LOSSES["ns"].generator(fake, None), -s(fake).log())
    torch.testing.assert_close(LOSSES["saturating"].generator(fake, None), (1 - s(fake)).log())


@pytest.mark.parametrize("name", LOSSES)
def test_losses_stay_finite_at_any_score(name):
    loss = LOSSES[name]
    far = torch.tensor([-1e4, 0.0, 1e4], requires_grad=True)
    both = loss.critic(far, far) + loss.generator(far, far if loss.paired else None)
    both.sum().backward()
    assert both.isfinite().all()
    assert far.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_for_each_pair(name):
    loss = LOSSES[name]
    assert loss.critic(SCORES, SCORES).shape == SCORES.shape
    assert loss.generator(SCORES, SCORES if loss.paired else None).shape == SCORES.shape
    assert isinstance(loss, AdversarialLoss)
    assert loss.score in ("logit", "number", "energy")


def test_value_is_highest_at_the_optimal_critic():
    p, q = torch.rand(2, 5, dtype=torch.float64).softmax(-1)
    best = optimal_critic(p, q)

    def of(critic):
        return (p * value(critic, critic.new_tensor(-1e3))).sum() + (
            q * value(critic.new_tensor(1e3), critic)
        ).sum()

    for _ in range(20):
        assert of(best) > of(best + 0.3 * torch.randn(5, dtype=torch.float64))


def test_divergence_of_what_never_meets_is_the_logarithm_of_two():
    p, q = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.5, 0.5])
    assert jensen_shannon(p, q).item() == pytest.approx(math.log(2))
    assert jensen_shannon(p, p).item() == 0


def test_slope_is_differentiable_in_the_weights():
    layer = torch.nn.Linear(3, 4).double()
    head = torch.randn(4, dtype=torch.float64)
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)

    def penalty(weight):
        score = torch.tanh(x @ weight.T + layer.bias.detach()) @ head
        return squared_slope(score, x).mean()

    assert torch.autograd.gradcheck(penalty, (layer.weight,))


def test_slope_of_half_precision_is_summed_in_single():
    x = torch.ones(1, 4096, dtype=torch.bfloat16, requires_grad=True)
    found = squared_slope((x * 1.0).sum(1), x)
    assert found.dtype == torch.float32
    assert found.item() == 4096
