from __future__ import annotations

import pytest
import torch
from torch import nn

from trilemma.core.batch import Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import capabilities
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.families.likelihood import likelihood
from trilemma.families.vae import Vae
from trilemma.networks.layers import MLP

GREY = Domain("image", (1, 8, 8), Levels(17))
POINT = Domain("points", (2,), Real(1.0, 3.0))


def made(domain=GREY, name="auto", **kept):
    given = likelihood(name, domain)
    shape = (given.outputs * domain.shape[0], *domain.shape[1:])
    encoder, decoder = MLP(domain.dimensions, 8, width=32), MLP(4, shape, width=32)
    return Vae(encoder, decoder, domain, 4, likelihood=given, **kept)


def batch(domain=GREY, n=12):
    grey = isinstance(domain.values, Levels)
    x = torch.randint(17, (n, *domain.shape)).to(torch.uint8) if grey else torch.randn(n, 2)
    return Examples(x=x, noise=Noise.of(0, n))


@pytest.mark.parametrize(
    ("domain", "name"), [(GREY, "discretised-logistic"), (GREY, "gaussian"), (POINT, "gaussian")]
)
def test_every_parameter_gets_a_gradient_and_the_loss_falls(domain, name):
    model, given = made(domain, name), batch(domain)
    (objective,) = model.objectives()
    assert set(objective.parameters) == set(model.parameters())
    optimiser = torch.optim.Adam(objective.parameters, 3e-3)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = objective.loss(given)
        loss.value.backward()
        assert all(bool(p.grad.isfinite().all()) for p in objective.parameters)
        optimiser.step()
        losses.append(float(loss.value.detach()))
    assert losses[-1] < losses[0] - 0.1


def test_capabilities():
    assert capabilities(made()) == ("sample", "bound", "encode")


def test_loss_is_a_function_of_the_batch():
    model, given = made(), batch()
    assert torch.equal(model.loss(given).value, model.loss(given).value)


def test_loss_of_rows_averages_to_the_loss_of_all():
    model, given = made(), batch()
    parts = (model.loss(given[:6]).value + model.loss(given[6:]).value) / 2
    torch.testing.assert_close(model.loss(given).value, parts)


@pytest.mark.parametrize("way", ["mean", "sample"])
def test_samples_are_levels_and_do_not_depend_on_their_number(way):
    model = made(draw=way)
    many = draw(model, 70, seed=3)
    assert many.shape == (70, 1, 8, 8)
    assert many.dtype == torch.uint8
    assert torch.equal(draw(model, 3, seed=3), many[:3])
    assert not torch.equal(many[0], many[1])


def test_sampling_noise_is_the_likelihoods():
    model = made()
    smooth = model.sample(200, noise=Noise.of(0, 200)).float()
    model.draw = "sample"
    rough = model.sample(200, noise=Noise.of(0, 200)).float()
    assert rough.var(0).mean() > smooth.var(0).mean()


def test_encode_gives_the_mean_without_noise_and_draws_with_it():
    model, x = made(), batch().x
    posterior = model.posterior(x)
    torch.testing.assert_close(model.encode(x), posterior.mu)
    rows = x[:1].expand(20_000, 1, 8, 8)
    z = model.encode(rows, noise=Noise.of(0, 20_000))
    torch.testing.assert_close(z.mean(0), posterior.mu[0], atol=0.03, rtol=0)
    torch.testing.assert_close(z.var(0).log(), posterior.log_var[0], atol=0.05, rtol=0)


def test_decode_is_in_data_units():
    assert made().decode(torch.randn(5, 4)).dtype == torch.uint8
    assert made(POINT).decode(torch.randn(5, 4)).shape == (5, 2)


@torch.no_grad()
def test_bound_is_a_probability_of_levels():
    """With a decoder that ignores z and a posterior equal to the prior, the bound is exact."""
    domain = Domain("points", (1,), Levels(3))
    given = likelihood("gaussian", domain)
    encoder, decoder = nn.Linear(1, 4), nn.Linear(2, 1)
    for parameter in (*encoder.parameters(), *decoder.parameters()):
        parameter.zero_()
    model = Vae(encoder, decoder, domain, 2, likelihood=given)
    x = torch.arange(3, dtype=torch.uint8)[:, None]
    assert float(model.bound(x).exp().sum()) == pytest.approx(1, abs=1e-5)


@torch.no_grad()
def test_importance_bound_does_not_depend_on_the_parts_but_rises_with_k():
    model, x = made(), batch(n=4).x
    at_once = model.importance_bound(x, 6, noise=Noise.of(0, 4), at_once=6)
    one = model.importance_bound(x, 1, noise=Noise.of(0, 4))
    assert at_once.shape == one.shape == (4,)
    rows = x.repeat(300, 1, 1, 1)
    few = model.importance_bound(rows, 2, noise=Noise.of(1, 1200)).mean()
    many = model.importance_bound(rows, 40, noise=Noise.of(1, 1200)).mean()
    assert many > few


def test_beta_weighs_the_loss_and_not_the_bound():
    plain, heavy, given = made(), made(beta=4.0), batch()
    heavy.load_state_dict(plain.state_dict())
    one, four = plain.loss(given), heavy.loss(given)
    torch.testing.assert_close(four.value - one.value, 3 * one.terms["kl"])
    torch.testing.assert_close(
        plain.bound(given.x, noise=given.noise[:]), heavy.bound(given.x, noise=given.noise[:])
    )


def test_half_precision_trains():
    model, given = made(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(given).value
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, model.loss(batch_again(given)).value, rtol=0.02, atol=1)


def batch_again(given):
    return Examples(x=given.x, noise=given.noise[:])


@pytest.mark.parametrize(("field", "value"), [("draw", "median"), ("beta", -1.0)])
def test_nonsense_is_refused(field, value):
    with pytest.raises(BadInput, match=str(value).removesuffix(".0")):
        made(**{field: value})
