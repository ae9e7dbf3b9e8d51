"""The recipe fits every image, its choices reach the model, and its two ways of drawing agree."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.families.autoregressive import draw_by_whole_passes
from trilemma.maths.pixel_distributions import Bernoulli, Categorical, LogisticMixture
from trilemma.recipes.fields import fields
from trilemma.recipes.pixel_transformer import PixelTransformer, _patch

TEN = {"classes": tuple("0123456789"), "frequencies": (0.1,) * 10}
DOMAINS = {
    "digits": Domain("image", (1, 8, 8), Levels(17), **TEN),
    "mnist": Domain("image", (1, 28, 28), Levels(256), **TEN),
    "binary": Domain("image", (1, 28, 28), Levels(2), **TEN),
    "colour": Domain("image", (3, 32, 32), Levels(256)),
    "odd": Domain("image", (3, 7, 10), Levels(256)),
}


def small(**options):
    return PixelTransformer(**{"width": 16, "depth": 2, "heads": 2, "cell_width": 8} | options)


def levels(domain, n=4):
    return torch.randint(domain.values.count, (n, *domain.shape)).to(torch.uint8)


@pytest.mark.parametrize(
    ("name", "patch", "grid", "width"),
    [
        ("digits", 1, (8, 8), 64),
        ("mnist", 4, (7, 7), 128),
        ("binary", 4, (7, 7), 128),
        ("colour", 4, (8, 8), 128),
        ("odd", 1, (7, 10), 64),
    ],
)
def test_fits(name, patch, grid, width):
    domain = DOMAINS[name]
    model = PixelTransformer().model(domain)
    assert (model.patch, model.grid, model.trunk.width) == (patch, grid, width)
    assert model.trunk.class_embedding is None
    x = model.sample(2, noise=Noise.of(0, 2))
    assert x.shape == (2, *domain.shape)
    assert x.dtype == torch.uint8
    assert model.log_prob(x).isfinite().all()


@pytest.mark.parametrize(
    ("sides", "patch"),
    [((8, 8), 1), ((16, 16), 2), ((28, 28), 4), ((64, 64), 4), ((33, 50), 1), ((30, 30), 3)],
)
def test_cells_are_few(sides, patch):
    assert _patch(*sides) == patch


def test_the_head_follows_the_levels():
    heads = {name: small().model(domain).head for name, domain in DOMAINS.items()}
    assert isinstance(heads["digits"], Categorical)
    assert isinstance(heads["mnist"], LogisticMixture)
    assert isinstance(heads["binary"], Bernoulli)
    chosen = small(head="mixture", components=3).model(DOMAINS["digits"]).head
    assert chosen == LogisticMixture(17, 3)


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize("conditional", [False, True])
def test_cached_drawing_is_drawing_by_whole_passes(patch, conditional):
    torch.manual_seed(1)
    model = small(patch=patch, conditional=conditional).model(DOMAINS["digits"]).double()
    condition = Condition(label=torch.arange(5)) if conditional else None
    noise = Noise.of(3, 5)
    cached = model.sample(5, noise=noise[:], condition=condition)
    full = draw_by_whole_passes(model, 5, noise[:], condition)
    assert torch.equal(cached, full)
    assert len(cached.unique()) > 5


def test_probabilities_of_all_images_sum_to_one():
    torch.manual_seed(2)
    domain = Domain("image", (1, 2, 4), Levels(2))
    every = torch.tensor(list(product((0, 1), repeat=8)), dtype=torch.uint8).view(-1, 1, 2, 4)
    for patch in (1, 2):
        model = small(patch=patch).model(domain).double()
        total = model.log_prob(every).exp().sum().detach()
        assert float(total) == pytest.approx(1, abs=1e-10)


def test_the_class_is_heard_and_its_hiding_is_learned():
    model = small(conditional=True).model(DOMAINS["digits"])
    x = levels(DOMAINS["digits"], 64)
    condition = Condition(label=torch.arange(64) % 10)
    assert not torch.equal(model.log_prob(x, condition=condition), model.log_prob(x))
    assert torch.equal(model.log_prob(x, condition=condition.null()), model.log_prob(x))
    loss = model.loss(Examples(x, condition, Noise.of(0, 64)))
    (gradient,) = torch.autograd.grad(loss.value, model.trunk.class_embedding.table.weight)
    assert gradient[-1].any()


def test_labels_are_not_looked_at_unless_asked():
    model = small().model(DOMAINS["digits"])
    x, condition = levels(DOMAINS["digits"]), Condition(label=torch.arange(4))
    assert torch.equal(model.log_prob(x, condition=condition), model.log_prob(x))


def test_the_loss_falls_and_is_the_mean_of_log_prob():
    torch.manual_seed(0)
    domain = DOMAINS["digits"]
    model = small(width=32).model(domain)
    x = (torch.arange(64).view(1, 1, 8, 8) % 17).expand(16, -1, -1, -1).to(torch.uint8)
    batch = Examples(x, None, Noise.of(0, 16))
    first = float(model.loss(batch).value.detach())
    assert first == pytest.approx(-float(model.log_prob(x).mean().detach()), rel=1e-5)
    assert first == pytest.approx(64 * math.log(17), rel=0.2)
    update = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(20):
        update.zero_grad()
        model.loss(batch).value.backward()
        update.step()
    assert float(model.loss(batch).value) < 0.8 * first


def test_a_sample_does_not_depend_on_how_many_are_drawn():
    model = small().model(DOMAINS["digits"])
    many = draw(model, 70, seed=3)
    for n in (1, 3):
        assert (draw(model, n, seed=3) != many[:n]).float().mean() < 1e-2


def test_what_is_known_is_kept():
    model, x = small().model(DOMAINS["digits"]), levels(DOMAINS["digits"])
    is_known = torch.zeros_like(x, dtype=torch.bool)
    is_known[:, :, :4] = True
    done = model.complete(x, is_known, noise=Noise.of(0, 4))
    assert torch.equal(done[is_known], x[is_known])
    assert model.sampling_seconds(4) > 0
    assert len(model.path(2, frames=5, noise=Noise.of(0, 2))) == 5


@pytest.mark.parametrize(
    ("options", "domain", "saying"),
    [
        ({"depth": 0}, DOMAINS["digits"], "1 or more"),
        ({"patch": -1}, DOMAINS["digits"], "1 or more"),
        ({"patch": 3}, DOMAINS["digits"], "--patch 1"),
        ({"patch": 16}, DOMAINS["digits"], "--patch 1"),
        ({"width": 30}, DOMAINS["digits"], "divides by"),
        ({"conditional": True}, DOMAINS["colour"], "labels"),
        ({"head": "bernoulli"}, DOMAINS["digits"], "two"),
        ({}, Domain("points", (2,), Real()), "for image"),
        ({}, Domain("image", (1, 8, 8), Real()), "levels"),
    ],
    ids=str,
)
def test_mistakes_are_refused(options, domain, saying):
    with pytest.raises(BadInput, match=saying):
        small(**options).model(domain)


def test_fields_are_few_and_explained():
    recipe_fields = fields(PixelTransformer)
    assert len(recipe_fields) <= 16
    assert all(field.meaning for field in recipe_fields)
