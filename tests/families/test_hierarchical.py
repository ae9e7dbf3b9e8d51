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


def conv(domain=GREY, levels=3, cond_width=0, **options):
    output_likelihood = likelihood("auto", domain)
    shape = (output_likelihood.outputs * domain.shape[0], *domain.shape[1:])
    shared = {"levels": levels, "width": 8}
    up = ConvUp(domain.shape, 4, **shared)
    down = conv_down(shape, 4, channels=2, condition=cond_width, **shared)
    up = ConditionalEncoder(up, domain.shape, cond_width) if cond_width else up
    return HierarchicalVae(up, down, domain, likelihood=output_likelihood, **options)


def vectors(domain=POINT, levels=3, **options):
    output_likelihood = likelihood("auto", domain)
    shape = (output_likelihood.outputs * domain.shape[0], *domain.shape[1:])
    shared = {"levels": levels, "width": 32, "depth": 2}
    up, down = VectorUp(domain.dimensions, 4, **shared), vector_down(shape, 4, **shared)
    return HierarchicalVae(up, down, domain, likelihood=output_likelihood, **options)


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
    model, examples = make(), batch(domain)
    (objective,) = model.objectives()
    assert float(objective.loss(examples).terms["kl"]) == pytest.approx(0, abs=1e-5)
    optimiser = torch.optim.Adam(objective.parameters, 3e-3)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = objective.loss(examples)
        loss.value.backward()
        assert all(bool(p.grad.isfinite().all()) for p in objective.parameters)
        optimiser.step()
        losses.append(float(loss.value.detach()))
    assert losses[-1] < losses[0] - 0.1
    assert float(objective.loss(examples).terms["kl"]) > 0
    with torch.no_grad():
        kl = model.latent_activity(examples.x, examples.noise[:]).kl
    assert len(model.levels(kl)) == len(model.sizes)


@pytest.mark.parametrize(("make", "domain"), MODELS)
@torch.no_grad()
def test_codes_are_flat_and_decode(make, domain):
    model, examples = shaken(make()), batch(domain)
    assert capabilities(model) == ("sample", "bound", "encode")
    assert isinstance(model, Bounded)
    assert isinstance(model, Tightening)
    assert isinstance(model, Coded)
    z = model.encode(examples.x)
    assert z.shape == (12, model.latent) == (12, sum(model.sizes))
    assert model.decode(z).shape == examples.x.shape
    assert model.decode(z).dtype == examples.x.dtype
    torch.testing.assert_close(model.encode(examples.x[:5]), z[:5], rtol=1e-4, atol=1e-5)
    code = model.encode(examples.x, noise=examples.noise[:])
    assert not torch.equal(code, z)


@pytest.mark.parametrize(("make", "domain"), MODELS)
@torch.no_grad()
def test_a_drawn_code_decodes_as_the_way_down_did(make, domain):
    """What inference makes of u and what generation makes of the same u are one thing."""
    model, examples = shaken(make()), batch(domain)
    eps = examples.noise[:].normal(model.latent)
    levels = model.inferred(model.features(examples.x, None), eps, None)
    torch.testing.assert_close(model.generated(levels.z, None), levels.f)
    torch.testing.assert_close(levels.posterior.at(eps), levels.z)


@pytest.mark.parametrize(("make", "domain"), MODELS)
@torch.no_grad()
def test_bounds(make, domain):
    model, examples = shaken(make()), batch(domain)
    rows = examples.x.repeat(40, *[1] * (examples.x.dim() - 1))
    bound = model.bound(rows, noise=Noise.of(1, len(rows))).mean()
    tighter = model.importance_bound(rows[:120], 30, noise=Noise.of(1, 120)).mean()
    assert bound < tighter
    full_bound = model.importance_bound(examples.x, 9, noise=Noise.of(2, 12))
    model.together = 5
    parts = model.importance_bound(examples.x, 9, noise=Noise.of(2, 12))
    torch.testing.assert_close(parts, full_bound, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("make", "domain"), MODELS)
def test_samples_do_not_depend_on_their_number(make, domain):
    model = shaken(make())
    many = draw(model, 70, seed=3).float()
    first_samples = draw(model, 3, seed=3).float()
    assert ((first_samples - many[:3]).abs() > 1e-4).float().mean() < 1e-2


def test_free_bits_are_each_levels():
    plain, free = shaken(conv()), conv(free_bits=3.0)
    free.load_state_dict(plain.state_dict())
    examples = batch(GREY)
    with torch.no_grad():
        eps = examples.noise[:].normal(plain.latent)
        inferred = plain.inferred(plain.features(examples.x, None), eps, None)
        levels = plain.grouped(inferred.posterior.kl_of_units())
        assert levels.shape == (12, 3)
        torch.testing.assert_close(levels.sum(1), inferred.posterior.kl())
        short = (3.0 - levels).clamp_min(0).sum(1).mean()
        gap = free.loss(examples).value - plain.loss(examples).value
    torch.testing.assert_close(gap, short, rtol=0, atol=2e-3)


def test_a_class_can_be_told():
    model = conv(cond_width=6, embed=ConditionEmbedding(2, 6))
    x = batch(GREY).x
    examples = Examples(x, Condition(label=torch.arange(12) % 2), Noise.of(0, 12))
    gradients = torch.autograd.grad(model.loss(examples).value, list(model.parameters()))
    assert all(bool(g.isfinite().all()) for g in gradients)
    shaken(model)
    with torch.no_grad():
        unconditional = model.importance_bound(x, 3, noise=examples.noise[:])
        conditional = model.importance_bound(
            x, 3, condition=examples.condition, noise=examples.noise[:]
        )
        assert not torch.equal(unconditional, conditional)
        a, b = (
            model.sample(4, condition=Condition(label=torch.full((4,), i)), noise=Noise.of(0, 4))
            for i in range(2)
        )
        assert not torch.equal(a, b)
        assert model.sample(4).shape == (4, 1, 8, 8)


def test_half_precision_trains():
    model, examples = shaken(conv(BINARY)), batch(BINARY)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(examples).value
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, model.loss(examples).value, rtol=0.02, atol=1)


def test_one_level_below_the_top_is_a_map_at_a_middle_size():
    assert size_indices(2, len(sizes(28, 28))) == [1]
    model = conv(BINARY, 4)
    assert [level.shape for level in model.decoder.levels] == [(2, 3, 3), (2, 5, 5), (2, 10, 9)]


@torch.no_grad()
def test_with_no_level_below_the_top_it_is_the_vae_of_one_level():
    model, examples = shaken(vectors(levels=1)), batch(POINT)

    class Encoder(torch.nn.Module):
        def forward(self, y):
            return model.encoder(y)[0]

    flat = Vae(Encoder(), model.decoder, POINT, 4, likelihood=model.likelihood)
    for method in ("bound", "encode"):
        one = getattr(model, method)(examples.x, noise=examples.noise[:])
        torch.testing.assert_close(getattr(flat, method)(examples.x, noise=examples.noise[:]), one)
