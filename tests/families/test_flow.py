"""The normalizing flow: density, draws, conditions, errors of the inverse, dequantisation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput, RanAway
from trilemma.core.model import capabilities
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.data import sources
from trilemma.families.dequantised_density import dequantised_density
from trilemma.families.flow import NormalizingFlow, VariationalDequantiser
from trilemma.networks.bijections import ActNorm, Invertible1x1
from trilemma.networks.coupling import AffineCoupling, BijectionChain
from trilemma.networks.layers import MLP, ConditionEmbedding
from trilemma.recipes.glow import Glow

POINT = Domain("points", (2,), Real(1.0, 3.0))


def coupling(condition=0, **options):
    return AffineCoupling(MLP(1, 2, width=16, condition=condition), 1, **options)


def make_flow(classes=0, **options):
    condition_width = 4 if classes else 0
    layers = [
        ActNorm(2),
        Invertible1x1(2),
        coupling(condition_width),
        Invertible1x1(2),
        coupling(condition_width),
    ]
    embedding = ConditionEmbedding(classes, 4) if classes else None
    return NormalizingFlow(BijectionChain(layers), (2,), embedding, **options)


def disturb(module, size=0.2):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return module


def test_the_density_is_the_base_and_the_change_of_volume():
    flow, y = disturb(make_flow()), torch.randn(6, 2)
    z, log_det = flow.bijection(y)
    base = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    assert torch.allclose(flow.log_density(y), base + log_det)
    assert flow.likelihood_by == "exact"


def test_over_a_domain_the_density_is_about_the_data_as_they_lie():
    flow, x = disturb(make_flow()), torch.randn(6, 2) * 3 + 1
    model = dequantised_density(flow, POINT)
    expected = flow.log_density((x - 1) / 3) - 2 * math.log(3)
    assert torch.allclose(model.log_prob(x), expected, atol=1e-5)
    assert {"sample", "density"} <= set(capabilities(model))


def test_cost_is_minus_the_density_and_its_terms_add_up():
    flow, y = disturb(make_flow(log_volume=math.log(2 / 17))), torch.randn(6, 2)
    each, terms = flow.cost(y, condition=None, noise=Noise.of(0, 6))
    assert torch.equal(each, -flow.log_density(y))
    assert torch.allclose(terms["prior"] + terms["log_det"], -each.mean())
    bits = (each.mean() / 2 - math.log(2 / 17)) / math.log(2)
    assert torch.allclose(terms["bits"], bits)


def test_draws_follow_the_density():
    flow = disturb(make_flow(), 0.1)
    y = flow.draw(4000, noise=Noise.of(0, 4000))
    axis = torch.linspace(-20, 20, 401)
    grid = torch.cartesian_prod(axis, axis)
    weight = flow.log_density(grid).detach().exp() * 0.01
    assert float(weight.sum()) == pytest.approx(1, abs=5e-3)
    mean = (grid * weight[:, None]).sum(0)
    assert torch.allclose(y.mean(0), mean, atol=0.1)


def test_codes_are_decoded_again_and_cold_draws_lie_nearer():
    flow, y = disturb(make_flow()), torch.randn(6, 2)
    assert torch.allclose(flow.decode(flow.encode(y)), y, atol=1e-5)
    cold = disturb(make_flow().adjusted(temperature=0.5))
    cold.load_state_dict(flow.state_dict())
    z = cold.encode(cold.draw(500, noise=Noise.of(0, 500)))
    assert torch.allclose(z, 0.5 * Noise.of(0, 500).normal(2), atol=1e-4)


def test_a_temperature_of_nought_is_refused():
    with pytest.raises(BadInput, match="temperature 0"):
        make_flow().adjusted(temperature=0.0)


def test_classes_change_the_density_and_none_has_its_own():
    flow, y = disturb(make_flow(classes=3), 0.5), torch.randn(6, 2)
    one, two = (Condition(label=torch.full((6,), k)) for k in (0, 2))
    densities = [flow.log_density(y, condition=c) for c in (one, two, None, one.null())]
    assert not torch.allclose(densities[0], densities[1])
    assert not torch.allclose(densities[0], densities[2])
    assert torch.equal(densities[2], densities[3])


def test_labels_are_hidden_by_the_noise_of_the_batch():
    flow, y = disturb(make_flow(classes=3, label_dropout=0.5), 0.5), torch.randn(64, 2)
    condition_width = Condition(label=torch.randint(3, (64,)))
    each, _ = flow.cost(y, condition=condition_width, noise=Noise.of(0, 64))
    repeated, _ = flow.cost(y, condition=condition_width, noise=Noise.of(0, 64))
    assert torch.equal(each, repeated)
    as_told = (each + flow.log_density(y, condition=condition_width)).abs() < 1e-5
    as_null = (each + flow.log_density(y)).abs() < 1e-5
    assert (as_told | as_null).all()
    assert 0.3 < as_null.float().mean() < 0.7


def test_the_inverse_is_measured_in_float32_and_by_depth():
    flow, y = disturb(make_flow()), torch.randn(6, 2)
    with torch.autocast("cpu", torch.bfloat16):
        error = flow.inverse_error(y)
    assert error.shape == (6,)
    assert error.max() < 1e-5
    errors = flow.depth_errors(y)
    assert errors.shape == (5,)
    with torch.no_grad():  # a layer that nearly folds the plane up is found out, at its depth
        flow.bijection.layers[3].log_s[0] = -14.0
        flow.bijection.layers[3].lower[1, 0] = 3.0
    assert flow.depth_errors(y)[:3].max() < 1e-5
    assert flow.inverse_error(y).max() > 10 * errors.max()


def test_start_sets_what_starts_from_data():
    flow, y = make_flow(), torch.randn(500, 2) * 5 + 7
    before = flow.log_density(y).mean()
    flow.start(y)
    assert flow.log_density(y).mean() > before + 10
    assert all(p.requires_grad and p.grad is None for p in flow.parameters())


def test_a_model_that_cannot_be_inverted_says_so():
    flow = make_flow()
    with torch.no_grad():
        flow.bijection.layers[0].log_scale.fill_(-20.0)
    with pytest.raises(RanAway, match="cannot be followed"):
        dequantised_density(flow, POINT).sample(3, noise=Noise.of(0, 3))


def dequantiser(levels=5):
    inner = BijectionChain([coupling(3), ActNorm(2), coupling(3, flip=True)])
    return VariationalDequantiser(inner, MLP(2, 3, width=8), levels)


def test_a_learned_dequantiser_starts_even_and_stays_in_its_bin():
    make_flow, x = dequantiser(), torch.randint(5, (256, 2)).to(torch.uint8)
    u, log_q = make_flow(x, Noise.of(0, 256))
    assert torch.allclose(log_q, torch.zeros(256), atol=1e-5)
    assert abs(float(u.mean()) - 0.5) < 0.05
    u, log_q = disturb(make_flow, 2.0)(x, Noise.of(0, 256))
    assert u.min() >= 0
    assert u.max() < 1
    assert log_q.isfinite().all()


def test_each_draw_of_an_importance_bound_has_its_own_u():
    domain = Domain("points", (2,), Levels(5))
    model = dequantised_density(disturb(make_flow()), domain, disturb(dequantiser()))
    x, noise = torch.randint(5, (8, 2)).to(torch.uint8), Noise.of(0, 8)
    one, two = model.bound(x, noise=noise), model.bound(x, noise=noise)
    assert not torch.allclose(one, two)


SETS = {name: sources.load(name) for name in ("digits", "two-moons")}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits", {}),
        ("digits", {"mixing": "chessboard"}),
        ("digits", {"mixing": "permutation", "entry": "logit", "levels": 2}),
        ("digits", {"dequantisation": "variational", "conditional": True}),
        ("two-moons", {}),
        ("two-moons", {"mixing": "chessboard", "bound_scale": 1.0}),
    ],
)
def test_the_recipe_builds_starts_learns_and_inverts(name, options):
    data = SETS[name]
    recipe = Glow(batch=32, **options)
    recipe.check(data.domain)
    model = recipe.model(data.domain)
    (stage,) = recipe.stages(model, data, 0)
    stage.prepare()
    stream = stage.stream()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    values = []
    for k in range(12):
        loss = model.loss(stream.batch(k)).value
        values.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
    assert sum(values[-4:]) < sum(values[:4])
    many = draw(model, 70, seed=3)
    assert many.shape == (70, *data.domain.shape)
    assert many.dtype == data.train.x.dtype
    scale = data.domain.values.scale
    assert ((scale(draw(model, 3, seed=3)) - scale(many[:3])).abs() > 1e-5).float().mean() < 1e-3
    x = data.test.x[:32]
    y = model.spread(x, Noise.of(0, 32))[0] if name == "digits" else scale(x)
    assert model.inner.inverse_error(y).max() < 1e-3


def test_the_start_is_a_pure_function_of_the_seed():
    data, densities = SETS["digits"], []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        model = Glow().model(data.domain)
        Glow().stages(model, data, seed)[0].prepare()
        densities.append(model.inner.bijection.layers[0].logits.detach().clone())
    assert torch.equal(densities[0], densities[1])
    assert not torch.equal(densities[0], densities[2])


GREY = Domain("image", (1, 28, 28), Levels(256))


@pytest.mark.parametrize(
    ("options", "domain", "words"),
    [
        ({"levels": 3}, GREY, "can be halved 2 times"),
        ({}, Domain("image", (1, 27, 28), Levels(256)), "can be halved 0 times"),
        ({}, Domain("points", (1,), Real()), "spline-flow"),
        ({"bound_scale": 0.0}, GREY, "bound scale 0"),
        ({"depth": -1}, GREY, "depth -1"),
        ({"conditional": True}, GREY, "without classes"),
        ({"entry": "logit"}, POINT, "without bins"),
        ({"dequantisation": "variational"}, POINT, "without bins"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(options, domain, words):
    with pytest.raises(BadInput, match=words):
        Glow(**options).check(domain)


def test_colour_images_of_32_pixels_have_three_levels():
    domain = Domain("image", (3, 32, 32), Levels(256))
    recipe = Glow(depth=1, width=8)
    recipe.check(domain)
    model = recipe.model(domain)
    assert len(model.inner.bijection.layers[1].levels) == 3
    assert draw(model, 2, seed=0).shape == (2, 3, 32, 32)
    x = torch.randint(256, (2, 3, 32, 32)).to(torch.uint8)
    assert model.loss(Examples(x=x, noise=Noise.of(0, 2))).value.isfinite()


def test_a_family_knows_no_network():
    assert isinstance(make_flow(classes=2).embedding, nn.Module)
    assert make_flow().embedding is None
