"""The hierarchical VAE: its levels, its codes, and what it shares with the VAE of one level."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.model import Bounded, Coded, Tightening, capabilities
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.families.hierarchical import HierarchicalVae
from trilemma.families.likelihood import likelihood
from trilemma.families.vae import Vae
from trilemma.networks.convnets import sizes
from trilemma.networks.hierarchical import (
    ConditionalEncoder,
    ConvUp,
    VectorUp,
    conv_down,
    size_indices,
    vector_down,
)
from trilemma.networks.layers import ConditionEmbedding

GREY = Domain("image", (1, 8, 8), Levels(17), ("a", "b"), (0.5, 0.5))
BINARY = Domain("image", (1, 20, 18), Levels(2))
POINT = Domain("points", (2,), Real(1.0, 3.0))


def conv(domain=GREY, levels=3, cond_width=0, **kept):
    given = likelihood("auto", domain)
    shape = (given.outputs * domain.shape[0], *domain.shape[1:])
    shared = {"levels": levels, "width": 8}
    up = ConvUp(domain.shape, 4, **shared)
    down = conv_down(shape, 4, channels=2, condition=cond_width, **shared)
    up = ConditionalEncoder(up, domain.shape, cond_width) if cond_width else up
    return HierarchicalVae(up, down, domain, likelihood=given, **kept)


def vectors(domain=POINT, levels=3, **kept):
    given = likelihood("auto", domain)
    shape = (given.outputs * domain.shape[0], *domain.shape[1:])
    shared = {"levels": levels, "width": 32, "depth": 2}
    up, down = VectorUp(domain.dimensions, 4, **shared), vector_down(shape, 4, **shared)
    return HierarchicalVae(up, down, domain, likelihood=given, **kept)


def batch(domain, n=12):
    if isinstance(domain.values, Levels):
        x = torch.randint(domain.values.count, (n, *domain.shape)).to(torch.uint8)
    else:
        x = torch.randn(n, *domain.shape)
    return Examples(x=x, noise=Noise.of(0, n))


def shaken(model):
    """Move every weight, as training would."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


MODELS = [
    pytest.param(lambda **k: conv(**k), GREY, id="conv"),
    pytest.param(lambda **k: conv(BINARY, 4, **k), BINARY, id="conv-odd-sizes"),
    pytest.param(lambda **k: vectors(**k), POINT, id="points"),
    pytest.param(lambda **k: vectors(GREY, 2, **k), GREY, id="perceptrons"),
]


@pytest.mark.parametrize(("make", "domain"), MODELS)
def test_starts_with_the_prior_and_learns(make, domain):
    model, given = make(), batch(domain)
    (objective,) = model.objectives()
    assert float(objective.loss(given).terms["kl"]) == pytest.approx(0, abs=1e-5)
    optimiser = torch.optim.Adam(objective.parameters, 3e-3)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = objective.loss(given)
        loss.value.backward()
        assert all(bool(p.grad.isfinite().all()) for p in objective.parameters)
        optimiser.step()
        losses.append(float(loss.value.detach()))
    assert losses[-1] < losses[0] - 0.1
    assert float(objective.loss(given).terms["kl"]) > 0
    with torch.no_grad():
        kl = model.latent_activity(given.x, given.noise[:]).kl
    assert len(model.levels(kl)) == len(model.sizes)


@pytest.mark.parametrize(("make", "domain"), MODELS)
@torch.no_grad()
def test_codes_are_flat_and_decode(make, domain):
    model, given = shaken(make()), batch(domain)
    assert capabilities(model) == ("sample", "bound", "encode")
    assert isinstance(model, Bounded)
    assert isinstance(model, Tightening)
    assert isinstance(model, Coded)
    z = model.encode(given.x)
    assert z.shape == (12, model.latent) == (12, sum(model.sizes))
    assert model.decode(z).shape == given.x.shape
    assert model.decode(z).dtype == given.x.dtype
    torch.testing.assert_close(model.encode(given.x[:5]), z[:5], rtol=1e-4, atol=1e-5)
    drawn = model.encode(given.x, noise=given.noise[:])
    assert not torch.equal(drawn, z)


@pytest.mark.parametrize(("make", "domain"), MODELS)
@torch.no_grad()
def test_a_drawn_code_decodes_as_the_way_down_did(make, domain):
    """What inference makes of u and what generation makes of the same u are one thing."""
    model, given = shaken(make()), batch(domain)
    eps = given.noise[:].normal(model.latent)
    found = model.inferred(model.features(given.x, None), eps, None)
    torch.testing.assert_close(model.generated(found.z, None), found.f)
    torch.testing.assert_close(found.posterior.at(eps), found.z)


@pytest.mark.parametrize(("make", "domain"), MODELS)
@torch.no_grad()
def test_bounds(make, domain):
    model, given = shaken(make()), batch(domain)
    rows = given.x.repeat(40, *[1] * (given.x.dim() - 1))
    bound = model.bound(rows, noise=Noise.of(1, len(rows))).mean()
    tighter = model.importance_bound(rows[:120], 30, noise=Noise.of(1, 120)).mean()
    assert bound < tighter
    whole = model.importance_bound(given.x, 9, noise=Noise.of(2, 12))
    model.together = 5
    parts = model.importance_bound(given.x, 9, noise=Noise.of(2, 12))
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("make", "domain"), MODELS)
def test_samples_do_not_depend_on_their_number(make, domain):
    model = shaken(make())
    many = draw(model, 70, seed=3).float()
    few = draw(model, 3, seed=3).float()
    assert ((few - many[:3]).abs() > 1e-4).float().mean() < 1e-2


def test_free_bits_are_each_levels():
    plain, free = shaken(conv()), conv(free_bits=3.0)
    free.load_state_dict(plain.state_dict())
    given = batch(GREY)
    with torch.no_grad():
        eps = given.noise[:].normal(plain.latent)
        found = plain.inferred(plain.features(given.x, None), eps, None)
        levels = plain.grouped(found.posterior.kl_of_units())
        assert levels.shape == (12, 3)
        torch.testing.assert_close(levels.sum(1), found.posterior.kl())
        short = (3.0 - levels).clamp_min(0).sum(1).mean()
        gap = free.loss(given).value - plain.loss(given).value
    torch.testing.assert_close(gap, short, rtol=0, atol=2e-3)


def test_a_class_can_be_told():
    model = conv(cond_width=6, embed=ConditionEmbedding(2, 6))
    x = batch(GREY).x
    given = Examples(x, Condition(label=torch.arange(12) % 2), Noise.of(0, 12))
    gradients = torch.autograd.grad(model.loss(given).value, list(model.parameters()))
    assert all(bool(g.isfinite().all()) for g in gradients)
    shaken(model)
    with torch.no_grad():
        silent = model.importance_bound(x, 3, noise=given.noise[:])
        said = model.importance_bound(x, 3, condition=given.condition, noise=given.noise[:])
        assert not torch.equal(silent, said)
        a, b = (
            model.sample(4, condition=Condition(label=torch.full((4,), i)), noise=Noise.of(0, 4))
            for i in range(2)
        )
        assert not torch.equal(a, b)
        assert model.sample(4).shape == (4, 1, 8, 8)


def test_half_precision_trains():
    model, given = shaken(conv(BINARY)), batch(BINARY)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(given).value
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, model.loss(given).value, rtol=0.02, atol=1)


def test_one_level_below_the_top_is_a_map_at_a_middle_size():
    assert size_indices(2, len(sizes(28, 28))) == [1]
    model = conv(BINARY, 4)
    assert [level.shape for level in model.decoder.levels] == [(2, 3, 3), (2, 5, 5), (2, 10, 9)]


@torch.no_grad()
def test_with_no_level_below_the_top_it_is_the_vae_of_one_level():
    model, given = shaken(vectors(levels=1)), batch(POINT)

    class Encoder(torch.nn.Module):
        def forward(self, y):
            return model.encoder(y)[0]

    flat = Vae(Encoder(), model.decoder, POINT, 4, likelihood=model.likelihood)
    for method in ("bound", "encode"):
        one = getattr(model, method)(given.x, noise=given.noise[:])
        torch.testing.assert_close(getattr(flat, method)(given.x, noise=given.noise[:]), one)
