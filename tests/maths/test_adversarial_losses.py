from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from trilemma.maths.adversarial import (
    LOSSES,
    PENALTIES,
    AdversarialLoss,
    Penalty,
    Ramp,
    energy_based,
    jensen_shannon,
    optimal_critic,
    pulling_away,
    squared_gradient_norm,
    total_variation,
    value,
)

SCORES = torch.linspace(-5, 5, 21, dtype=torch.float64)


def of(name):
    """Write a loss with torch's own functions: the critic's, the generator's."""
    each = {"reduction": "none"}

    def logistic(x, label):
        return functional.binary_cross_entropy_with_logits(x, torch.full_like(x, label), **each)

    def squares(x, label):
        return functional.mse_loss(x, torch.full_like(x, label), **each)

    def below(x, margin):
        return functional.hinge_embedding_loss(x, -torch.ones_like(x), margin, **each)

    def ranked(high, low):
        return functional.soft_margin_loss(high - low, torch.ones_like(high), **each)

    return {
        "ns": (lambda r, f: logistic(r, 1) + logistic(f, 0), lambda f, r: logistic(f, 1)),
        "saturating": (lambda r, f: logistic(r, 1) + logistic(f, 0), lambda f, r: -logistic(f, 0)),
        "wgan": (lambda r, f: torch.sub(f, r), lambda f, r: f.neg()),
        "lsgan": (lambda r, f: squares(r, 1) + squares(f, 0), lambda f, r: squares(f, 1)),
        "hinge": (lambda r, f: below(r, 1.0) + below(-f, 1.0), lambda f, r: f.neg()),
        "ebgan": (lambda r, f: r + below(f, 1.0), lambda f, r: f),
        "rsgan": (ranked, ranked),
    }[name]


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_torch(name):
    seeded = torch.Generator().manual_seed(2)
    loss, (critic, generator) = LOSSES[name], of(name)
    real, fake = 3 * torch.randn(2, 200, generator=seeded, dtype=torch.float64)
    if loss.score == "energy":
        real, fake = real.abs(), fake.abs()
    exact = {"rtol": 0, "atol": 1e-14}
    torch.testing.assert_close(loss.critic(real, fake), critic(real, fake), **exact)
    paired_scores = real if loss.paired else None
    torch.testing.assert_close(loss.generator(fake, paired_scores), generator(fake, real), **exact)


def test_what_each_loss_asks_of_its_critic():
    assert {name for name, loss in LOSSES.items() if loss.lipschitz} == {"wgan"}
    assert {name for name, loss in LOSSES.items() if loss.paired} == {"rsgan"}
    assert {name for name, loss in LOSSES.items() if loss.score == "energy"} == {"ebgan"}


@pytest.mark.parametrize("margin", [0.5, 1.0, 20.0])
def test_a_margin_is_how_far_fakes_are_pushed(margin):
    real = torch.tensor([0.0, 0.3])
    fake = torch.tensor([margin / 2, margin + 1], requires_grad=True)
    loss = energy_based(margin).critic(real, fake)
    (pull,) = torch.autograd.grad(loss.sum(), fake)
    assert loss.tolist() == pytest.approx([margin / 2, 0.3])
    assert pull.tolist() == [-1, 0]


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan])
def test_a_margin_that_pushes_nothing_is_refused(margin):
    with pytest.raises(ValueError, match="above 0"):
        energy_based(margin)


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
    assert loss.score in ("number", "energy")


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


def test_gradient_norm_is_differentiable_in_the_weights():
    layer = torch.nn.Linear(3, 4).double()
    head = torch.randn(4, dtype=torch.float64)
    x = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)

    def penalty(weight):
        score = torch.tanh(x @ weight.T + layer.bias.detach()) @ head
        return squared_gradient_norm(score, x).mean()

    assert torch.autograd.gradcheck(penalty, (layer.weight,))


def test_slope_of_half_precision_is_summed_in_single():
    x = torch.ones(1, 4096, dtype=torch.bfloat16, requires_grad=True)
    result = squared_gradient_norm((x * 1.0).sum(1), x)
    assert result.dtype == torch.float32
    assert result.item() == 4096


def test_total_variation_goes_from_nought_to_one():
    p, q = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.5, 0.5])
    assert total_variation(p, q).item() == 1
    assert total_variation(p, p).item() == 0
    assert total_variation(torch.stack([p, q]), q).tolist() == [1, 0]
    half = (p + q) / 2
    assert total_variation(p, half).item() == pytest.approx(0.5)


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties_have_finite_gradients_on_a_flat_critic(name):
    x = torch.ones(3, 2, requires_grad=True)
    w = torch.zeros(2, requires_grad=True)
    cost = PENALTIES[name].cost(squared_gradient_norm(x @ w, x))
    (slope,) = torch.autograd.grad(cost.sum(), w)
    assert cost.isfinite().all()
    assert slope.isfinite().all()


def test_where_each_penalty_is_taken():
    points_of = {name: penalty.points for name, penalty in PENALTIES.items()}
    assert points_of == {
        "none": (),
        "r1": ("real",),
        "r2": ("fake",),
        "r1+r2": ("real", "fake"),
        "gp": ("between",),
        "clip": (),
        "spectral": (),
    }
    assert {name for name, penalty in PENALTIES.items() if penalty.target_norm} == {"gp"}


def test_a_penalty_is_half_the_squared_distance_from_its_target_norm():
    slopes = torch.tensor([0.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    for target in (0.0, 1.0, 2.0):
        result = Penalty(("real",), target).cost(slopes.square())
        torch.testing.assert_close(result, (slopes - target).square() / 2, rtol=0, atol=1e-5)


def test_pulling_away_is_a_mean_over_pairs():
    codes = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cosine = torch.nn.CosineSimilarity(dim=0)
    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    written_out = sum(cosine(codes[i], codes[j]) ** 2 for i, j in pairs) / len(pairs)
    torch.testing.assert_close(pulling_away(codes), written_out)
    torch.testing.assert_close(pulling_away(7 * codes), written_out)


def test_pulling_away_turns_codes_apart():
    codes = torch.tensor([[1.0, 0.1], [1.0, -0.1]], requires_grad=True)
    for _ in range(100):
        (slope,) = torch.autograd.grad(pulling_away(codes), codes)
        codes = (codes - slope).detach().requires_grad_()
    assert pulling_away(codes).item() < 1e-3


def test_pulling_away_of_what_has_no_direction():
    codes = torch.zeros(2, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(pulling_away(codes), codes)
    assert slope.isfinite().all()
    assert pulling_away(torch.ones(1, 3)).item() == 0


def test_a_ramp_may_rise_or_stay():
    assert Ramp(0.0, 3.0)(1.0) == 3
    assert Ramp(0.0, 3.0)(0.5) == pytest.approx(1.5)
    assert {Ramp(2.0, 2.0)(share) for share in (0.0, 0.3, 1.0)} == {2.0}
