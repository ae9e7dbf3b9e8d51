"""The VAE's recipe: its fields reach the model, whatever the data and the number of levels."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput, Interrupted
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.core.session import Session, Stop
from trilemma.data import sources
from trilemma.data.dataset import DataSet, Split
from trilemma.families.hierarchical import HierarchicalVae
from trilemma.families.vae import Vae
from trilemma.laws.book import timed
from trilemma.laws.trained import trained_laws
from trilemma.networks.convnets import Encoder
from trilemma.networks.hierarchical import ConvUp, VectorUp
from trilemma.networks.layers import MLP
from trilemma.recipes.fields import fields
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.runs import begin, go_on, load
from trilemma.recipes.vae import VariationalAutoencoder
from trilemma.training.budget import Budget

CLASSES = {"classes": ("a", "b", "c"), "frequencies": (0.2, 0.3, 0.5)}
SMALL = Domain("image", (1, 8, 8), Levels(17), **CLASSES)
BINARY = Domain("image", (1, 28, 28), Levels(2), **CLASSES)
COLOUR = Domain("image", (3, 32, 32), Levels(256), **CLASSES)
POINT = Domain("points", (2,), Real(), **CLASSES)
DOMAINS = [
    pytest.param(domain, id="x".join(map(str, domain.shape)))
    for domain in (SMALL, BINARY, COLOUR, POINT)
]


def data(domain, n=32):
    if isinstance(domain.values, Levels):
        x = torch.randint(domain.values.count, (n, *domain.shape)).to(torch.uint8)
    else:
        x = torch.randn(n, *domain.shape)
    labels = torch.arange(n) % 3
    return DataSet("some", domain, Split(x, labels), Split(x, labels))


@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize("conditional", [False, True], ids=["free", "told"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_every_parameter_gets_a_finite_gradient(domain, conditional, levels):
    recipe = VariationalAutoencoder(levels=levels, conditional=conditional, batch=4)
    dataset = data(domain)
    model = recipe.model(domain)
    (stage,) = recipe.stages(model, dataset, 0)
    (objective,) = stage.model.objectives()
    assert {id(p) for p in objective.parameters} == {id(p) for p in model.parameters()}
    loss = objective.loss(stage.stream().batch(0))
    gradients = torch.autograd.grad(loss.value, list(objective.parameters))
    assert all(bool(g.isfinite().all()) for g in gradients)
    assert isinstance(model, HierarchicalVae if levels > 1 else Vae)
    with torch.no_grad():
        assert model.bound(dataset.test.x[:2]).shape == (2,)
        assert draw(model, 2, seed=0).shape == (2, *domain.shape)


@pytest.mark.parametrize(
    ("domain", "up", "encoder"),
    [(SMALL, VectorUp, MLP), (BINARY, ConvUp, Encoder), (POINT, VectorUp, MLP)],
)
def test_network_follows_the_data(domain, up, encoder):
    assert isinstance(VariationalAutoencoder(levels=2).model(domain).encoder, up)
    assert isinstance(VariationalAutoencoder().model(domain).encoder, encoder)


def test_network_may_be_chosen():
    assert isinstance(
        VariationalAutoencoder(levels=2, network="conv").model(SMALL).encoder, ConvUp
    )
    assert isinstance(
        VariationalAutoencoder(levels=2, network="mlp").model(BINARY).encoder, VectorUp
    )


def test_fields_reach_the_model():
    model = VariationalAutoencoder(
        latent=5, free_bits=0.25, kl_warmup=10, beta=2.0, width=24, depth=2
    ).model(SMALL)
    assert (model.free_bits, model.kl_warmup, model.beta, model.latent) == (0.25, 10, 2.0, 5)
    assert len(model.encoder.hidden) == 2
    assert model.encoder.hidden[0].out_features == 24
    wide = VariationalAutoencoder(width=8, depth=2, levels=3).model(BINARY)
    assert wide.encoder.stem.out_channels == 8
    assert len(wide.encoder.stages[0]) == 2
    assert wide.sizes == (32, 4 * 7 * 7, 4 * 14 * 14)


def test_it_has_twelve_fields_of_its_own():
    shared = {f.name for f in fields(Recipe)}
    own = [f for f in fields(VariationalAutoencoder) if f.name not in shared]
    assert len(own) == 12
    assert all(f.meaning for f in own)


@pytest.mark.parametrize(
    ("options", "domain", "message"),
    [
        ({"conditional": True}, Domain("points", (2,), Real()), "classes"),
        ({"levels": 0}, SMALL, "levels 0"),
        ({"free_bits": -1.0}, SMALL, "free bits -1"),
        ({"levels": 2, "network": "conv"}, Domain("image", (1, 5, 5), Levels(2)), "8 x 8"),
    ],
)
def test_mistakes_are_named(options, domain, message):
    with pytest.raises(BadInput, match=message):
        VariationalAutoencoder(**options).model(domain)


def test_a_small_set_is_decayed_more_than_a_large_one():
    recipe = VariationalAutoencoder()
    small, large = data(POINT, 1_500), data(POINT, 60_000)
    assert recipe.decay_for(small) == pytest.approx(0.15)
    assert recipe.decay_for(large) == pytest.approx(0.00375)
    assert recipe.decay_for(data(POINT, 8)) == pytest.approx(0.15)


@torch.no_grad()
def test_a_class_is_heard():
    model = VariationalAutoencoder(conditional=True).model(SMALL)
    x = data(SMALL).test.x
    noise = Noise.of(0, len(x))
    condition = Condition(label=torch.zeros(len(x), dtype=torch.int64))
    assert not torch.equal(
        model.bound(x, condition=condition, noise=noise[:]), model.bound(x, noise=noise[:])
    )


def trained(path, steps, stopped=None):
    """Train a hierarchical, conditional one with a warm-up; stop and go on if asked."""
    stop = Stop()
    recipe = VariationalAutoencoder(
        batch=32, levels=2, conditional=True, kl_warmup=9, free_bits=0.5, width=16, depth=1
    )
    dataset = sources.load("digits")
    run, events = begin(
        recipe,
        dataset,
        source="digits",
        path=path,
        budget=Budget(steps=steps),
        session=Session(stop=stop),
        precision="fp32",
    )
    if stopped is None:
        list(events)
        return run
    with pytest.raises(Interrupted, match="resume"):
        stopped_at(events, stopped, stop)
    run, events = go_on(path, session=Session())
    list(events)
    return run


def stopped_at(events, step, stop):
    """Let a signal come at a step."""
    for event in events:
        if event.kind == "step" and event.step == step:
            stop.signal = 2


def test_warm_up_goes_on_where_it_was_and_the_laws_hold(tmp_path):
    unbroken = trained(tmp_path / "whole", 7)
    parts = trained(tmp_path / "parts", 7, stopped=4)
    a, b = (run.checkpoint(pytest.fail).weights for run in (unbroken, parts))
    assert int(a["updates"]) == int(b["updates"]) == 7
    assert all(torch.equal(a[name], b[name]) for name in a)
    model = load(unbroken.path, warn=pytest.fail).model
    laws = [law for law, _ in timed(trained_laws(model, sources.load("digits").test.x[:200]))]
    assert [law for law in laws if not law.holds] == []
    assert any("importance-weighted" in law.name for law in laws)
