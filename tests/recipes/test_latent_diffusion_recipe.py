"""The recipe of latent diffusion: what it builds for which data, its stages, what it refuses."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Explaining
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.data import sources
from trilemma.data.dataset import DataSet, Split
from trilemma.families.diffusion.latent import LatentDiffusion
from trilemma.recipes import latent_diffusion as page
from trilemma.recipes.fields import build, fields
from trilemma.recipes.latent_diffusion import LatentDiffusing
from trilemma.recipes.runs import untrained


def domain(channels, side, *, classes=(), words=0):
    return Domain(
        "image",
        (channels, side, side),
        Levels(256),
        classes,
        (0.5, 0.5) if classes else (),
        vocabulary=("red", "heart", "blue") if words else (),
        words=words,
    )


def captioned(rows=24):
    noise = Noise.of(0, rows)
    tokens = noise.integers(4, 3)
    split = Split(
        noise.integers(256, 3, 16, 16).to(torch.uint8),
        captions=[""] * rows,
        tokens=tokens,
        mask=tokens > 0,
    )
    return DataSet("captioned", domain(3, 16, words=3), split, split)


@pytest.fixture(scope="module")
def digits():
    return sources.load("digits")


def small(**values):
    return LatentDiffusing(batch=16, width=16, channels=8, **values)


@pytest.mark.parametrize(
    ("channels", "side", "factor", "shape"),
    [
        (1, 8, 0, (2, 4, 4)),
        (1, 28, 0, (4, 7, 7)),
        (1, 28, 2, (2, 14, 14)),
        (3, 32, 0, (8, 8, 8)),
        (3, 64, 0, (8, 16, 16)),
        (3, 50, 0, (4, 25, 25)),
    ],
)
def test_codes_fit_the_images(channels, side, factor, shape):
    model = small(factor=factor).model(domain(channels, side))
    assert model.first_stage.shape == shape
    assert model.sample(2, noise=Noise.of(0, 2)).shape == (2, channels, side, side)


@pytest.mark.parametrize(
    ("options", "is_conditional", "expected"),
    [
        ({"words": 3, "classes": ("a", "b")}, "auto", "text"),
        ({"words": 3, "classes": ("a", "b")}, "class", "class"),
        ({"classes": ("a", "b")}, "auto", "class"),
        ({}, "auto", "none"),
        ({"words": 3}, "none", "none"),
    ],
)
def test_what_it_is_told(options, is_conditional, expected):
    recipe, space = small(condition=is_conditional), domain(1, 8, **options)
    assert recipe.condition_kind(space) == expected
    model = recipe.model(space)
    assert isinstance(model, Explaining) == (expected != "none")
    assert (model.diffusion.prompts is not None) == (expected == "text")
    assert bool(model.diffusion.domain.classes) == (expected == "class")


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        ({"factor": 8}, {}, "give 2, 4"),
        ({"factor": 3}, {}, "give 2, 4"),
        ({"guidance": 2.0}, {}, "unconditional"),
        ({"guidance": 2.0, "condition": "none"}, {"words": 3}, "unconditional"),
        ({"guidance": 2.0, "label_dropout": 0.0}, {"words": 3}, "label dropout 0"),
        ({"condition": "text"}, {"classes": ("a", "b")}, "without captions"),
        ({"condition": "class"}, {"words": 3}, "without classes"),
        ({"label_dropout": 2.0}, {"words": 3}, "share"),
    ],
)
def test_mistakes_are_refused(values, options, words):
    with pytest.raises(BadInput, match=words):
        small(**values).model(domain(3, 12, **options))


def test_points_and_odd_sides_are_refused():
    with pytest.raises(BadInput, match="points"):
        untrained(small(), sources.load("two-moons").domain, 0)
    with pytest.raises(BadInput, match="even"):
        small().model(domain(1, 27))


def test_the_fields_come_back_from_a_run():
    recipe = LatentDiffusing()
    assert build(LatentDiffusing, dataclasses.asdict(recipe)) == recipe
    assert len(fields(LatentDiffusing)) <= 18


def test_stages_train_all_and_the_second_touches_no_encoder(digits):
    recipe = small()
    model = untrained(recipe, digits.domain, 0)
    assert isinstance(model, LatentDiffusion)
    first, second = recipe.stages(model, digits, 0)
    assert (first.name, second.name) == ("autoencoder", "diffusion")
    assert first.share + second.share == pytest.approx(1)
    assert second.prepare is not None
    second.prepare()
    stream = second.stream()
    y = torch.cat([stream.batch(k).x for k in range(40)])
    assert y.mean((0, 2, 3)).abs().max() < 0.1
    assert (y.std((0, 2, 3)) - 1).abs().max() < 0.1

    def never(*_):
        raise AssertionError("the encoder was called")

    model.first_stage.encoder.register_forward_pre_hook(never)
    touched = {
        id(p) for stage in (first, second) for o in stage.model.objectives() for p in o.parameters
    }
    assert all(id(p) in touched for p in model.parameters())
    (player,) = second.model.objectives()
    gradients = torch.autograd.grad(player.loss(stream.batch(3)).value, list(player.parameters))
    assert all(g.isfinite().all() for g in gradients)


def test_a_stream_that_is_opened_again_is_the_same(digits):
    recipe = small()
    model = untrained(recipe, digits.domain, 0)
    stage = recipe.stages(model, digits, 0)[1]
    assert stage.prepare is not None
    stage.prepare()
    one, two = stage.stream(), stage.stream()
    torch.testing.assert_close(one.batch(5).x, two.batch(5).x)
    assert torch.equal(one.batch(5).condition.label, two.batch(5).condition.label)


def test_a_first_stage_that_was_not_trained_is_refused(digits):
    recipe = small()
    model = untrained(recipe, digits.domain, 0)
    last = model.first_stage.encoder.layers[-1]
    torch.nn.init.zeros_(last.weight)
    with pytest.raises(BadInput, match="not trained"):
        recipe.stages(model, digits, 0)[1].prepare()


def test_captions_are_kept_and_drawn_from():
    data, recipe = captioned(), small()
    model = untrained(recipe, data.domain, 0)
    stage = recipe.stages(model, data, 0)[1]
    stage.prepare()
    prompts = model.diffusion.prompts
    train_tokens = {tuple(row) for row in data.train.tokens.tolist()}
    assert {tuple(row) for row in prompts.tokens.tolist()} == train_tokens
    batch = stage.stream().batch(0)
    assert batch.condition.tokens.shape == (16, 3)
    assert batch.condition.label is None
    assert draw(model, 5, seed=0).shape == (5, 3, 16, 16)


def test_a_perceptual_term_wants_its_package(monkeypatch):
    data, recipe = captioned(), small(perceptual=0.5)
    page._perception.cache_clear()
    monkeypatch.setattr(page, "weights_file", lambda: None)
    model = untrained(recipe, data.domain, 0)  # a run can be drawn from without it
    with pytest.raises(BadInput, match="features"):
        recipe.stages(model, data, 0)


def test_a_perceptual_term_takes_part():
    if page.weights_file() is None:
        pytest.skip("the extra 'features' is not installed")
    page._perception.cache_clear()
    data, recipe = captioned(), small(perceptual=0.5)
    model = untrained(recipe, data.domain, 0)
    stage = recipe.stages(model, data, 0)[0]
    batch = stage.stream().batch(0)
    loss = model.first_stage.loss(batch)
    assert loss.terms["perceptual"] > 0
    y = data.domain.values.scale(batch.x)
    assert page._perception()(y, y).abs().max() == 0


@pytest.mark.parametrize("values", [{"regulariser": "vq"}, {"critic": 0.1}])
def test_options_build_and_sample(values, digits):
    model = untrained(small(**values), digits.domain, 0)
    assert draw(model, 3, seed=0).shape == (3, 1, 8, 8)
    assert len(model.objectives()) == (2 if "critic" in values else 1)
