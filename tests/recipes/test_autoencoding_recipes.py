from __future__ import annotations

import pytest
import torch

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.sampling import draw
from trilemma.data.dataset import DataSet, Split
from trilemma.networks.convnets import Encoder
from trilemma.networks.layers import MLP
from trilemma.recipes.autoencoder import Autoencoding
from trilemma.recipes.vae import VariationalAutoencoder

SMALL = Domain("image", (1, 8, 8), Levels(17))
LARGE = Domain("image", (3, 20, 18), Levels(256))
POINT = Domain("points", (2,), Real())


def data(domain=SMALL, n=96):
    levels = isinstance(domain.values, Levels)
    x = torch.randint(17, (n, *domain.shape)).to(torch.uint8) if levels else torch.randn(n, 2)
    return DataSet("some", domain, Split(x), Split(x[:32]))


@pytest.mark.parametrize("recipe", [Autoencoding, VariationalAutoencoder])
@pytest.mark.parametrize(("domain", "kind"), [(SMALL, MLP), (LARGE, Encoder), (POINT, MLP)])
def test_network_follows_the_data(recipe, domain, kind):
    model = recipe().model(domain)
    assert isinstance(model.encoder, kind)
    assert draw(model, 2, seed=0).shape == (2, *domain.shape)


@pytest.mark.parametrize("recipe", [Autoencoding, VariationalAutoencoder])
def test_network_may_be_chosen(recipe):
    assert isinstance(recipe(network="conv").model(SMALL).encoder, Encoder)
    assert isinstance(recipe(network="mlp").model(LARGE).encoder, MLP)


def train(stage, steps):
    stream, (objective,) = stage.stream(), stage.model.objectives()
    optimiser = torch.optim.AdamW(objective.parameters, 1e-3)
    for k in range(steps):
        optimiser.zero_grad()
        objective.loss(stream.batch(k)).value.backward()
        assert all(p.grad is not None for p in objective.parameters)
        optimiser.step()


def test_the_second_stage_fits_the_codes_of_the_first():
    recipe, dataset = Autoencoding(batch=32, latent=3, components=2, units=32), data()
    model = recipe.model(SMALL)
    first, second = recipe.stages(model, dataset, 0)
    assert first.share + second.share == pytest.approx(1)
    train(first, 5)
    frozen = {name: p.clone() for name, p in model.encoder.state_dict().items()}
    codes = model.encode(dataset.train.x).detach()
    before = float(model.prior.log_prob(codes).mean())
    second.prepare()
    after = float(model.prior.log_prob(codes).mean())
    assert after > before
    stream = second.stream()
    assert stream.batch(0).x.shape == (32, 3)
    assert torch.cdist(stream.batch(0).x, codes).min(1).values.max() < 1e-3
    train(second, 5)
    assert all(torch.equal(frozen[name], p) for name, p in model.encoder.state_dict().items())


def test_preparing_is_the_same_twice():
    recipe, dataset = Autoencoding(batch=32, latent=3, units=32), data()
    model = recipe.model(SMALL)
    _, second = recipe.stages(model, dataset, 0)
    second.prepare()
    once = {name: p.clone() for name, p in model.prior.state_dict().items()}
    second.prepare()
    assert all(torch.equal(once[name], p) for name, p in model.prior.state_dict().items())


def test_a_gaussian_is_a_mixture_of_one():
    assert Autoencoding(prior="gaussian").model(SMALL).prior.components == 1
    assert Autoencoding(components=7).model(SMALL).prior.components == 7


def test_codes_are_no_longer_than_the_data():
    model = Autoencoding(latent=16).model(POINT)
    assert model.latent == model.prior.dimensions == 2
    assert Autoencoding(latent=16).model(SMALL).latent == 16


def test_vae_fields_reach_the_model():
    model = VariationalAutoencoder(
        beta=2.0, likelihood="gaussian", c=0.1, draw="sample", latent=5
    ).model(SMALL)
    assert (model.beta, model.sampling.draw, model.latent) == (2.0, "sample", 5)
    assert float(model.likelihood.log_c.exp()) == pytest.approx(0.1)
    assert model.encode(data().train.x[:2]).shape == (2, 5)
