"""The recipe `sr3`: pairs, training, samples, restoring and photos of any size."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Bounded, Gradual, Restoring
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.metrics.judge import judge
from trilemma.networks.tiling import enlarge
from trilemma.recipes.runs import untrained
from trilemma.recipes.sr3 import Sr3
from trilemma.training.precision import choose
from trilemma.training.trainer import Settings, Trainer

CPU = torch.device("cpu")
SHAPES = {28: (1, 28, 28), 32: (3, 32, 32), 64: (3, 64, 64)}


@pytest.fixture(scope="module")
def digits():
    return sources.load("digits")


def prepared(data, steps=0, **options):
    recipe = Sr3(batch=32, warmup=5, **options)
    model = untrained(recipe, data.domain, 0)
    (stage,) = recipe.stages(model, data, 0)
    stage.prepare()
    stream = stage.stream()
    if steps:
        precision = choose("fp32", CPU)
        settings = Settings.of(recipe)
        model.train()
        trainer = Trainer(
            model, stage, stream, settings, session=Session(), precision=precision, total=steps
        )
        for _ in range(steps):
            trainer.step()
    return model.eval(), stream


@pytest.fixture(scope="module")
def trained(digits):
    return {
        method: prepared(digits, 100, method=method)[0] for method in ("diffusion", "regression")
    }


def test_pairs_are_a_pure_function_of_the_seed_and_digits_are_not_mirrored(digits):
    _, stream = prepared(digits)
    a, b = stream.batch(3), stream.batch(3)
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.condition.image, b.condition.image)
    assert torch.equal(a.x, stream.large.batch(3).x)
    assert a.condition.image.dtype == torch.uint8
    assert a.condition.image.shape == (32, 1, 2, 2)


def test_the_rest_has_spread_one_and_prompts_are_filled(digits):
    model, stream = prepared(digits)
    batch = stream.batch(0)
    rest = model.pairing.residual(batch.x, batch.condition.image)
    assert 0.8 < rest.square().mean() < 1.2
    assert model.prompts.image.flatten(1).sum(1).min() > 0
    value = model.loss(batch).value
    assert torch.equal(value, model.loss(batch).value)
    assert value.item() == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("method", ["diffusion", "regression"])
def test_a_trained_model_beats_bicubic_and_agrees(trained, digits, method):
    model = trained[method]
    assert isinstance(model, Restoring)
    assert isinstance(model, Gradual) == (method == "diffusion")
    assert not isinstance(model, Bounded)
    psnr_by_recipe = judge(model, digits, n=64, session=Session(), only={"psnr", "consistency"})
    scores, large = psnr_by_recipe.metrics, psnr_by_recipe.samples
    assert large.shape == (64, 1, 8, 8)
    assert scores["consistency"].value > 35
    if method == "regression":
        assert scores["psnr"].value > scores["psnr"].baselines["bicubic"]


def test_the_regression_wins_psnr(trained, digits):
    scores = {
        name: judge(model, digits, n=64, session=Session(), only={"psnr"}).metrics["psnr"].value
        for name, model in trained.items()
    }
    assert scores["regression"] > scores["diffusion"]


def test_restored_images_go_with_their_small_image_and_differ_by_noise(trained, digits):
    model = trained["diffusion"]
    small = model.shrink(digits.test.x[:8])
    one, other = (model.restore(small, noise=Noise.of(seed, 8)) for seed in (0, 1))
    assert not torch.equal(one, other)
    assert torch.equal(one, model.restore(small, noise=Noise.of(0, 8)))
    first_restored = model.restore(small[:3], noise=Noise.of(0, 8)[:3])
    assert ((first_restored.int() - one[:3].int()).abs() > 0).float().mean() < 1e-3
    samples_again = model.sample(8, condition=Condition(image=small), noise=Noise.of(0, 8))
    assert torch.equal(one, samples_again)
    assert (model.shrink(one).int() - small.int()).abs().float().mean() < 0.3


def test_a_path_ends_at_the_sample(trained):
    model = trained["diffusion"]
    path = model.path(3, frames=4, noise=Noise.of(0, 3))
    assert len(path) == 4
    assert torch.equal(path[-1], model.sample(3, noise=Noise.of(0, 3)))
    assert path[0].dtype == torch.uint8


def test_samples_by_number_of_steps_and_of_other_sizes(trained, digits):
    model = trained["diffusion"]
    small = torch.randint(17, (1, 1, 3, 5), dtype=torch.uint8)
    assert model.adjusted(steps=2).restore(small).shape == (1, 1, 12, 20)
    calls = []
    handle = model.network.register_forward_hook(lambda *_: calls.append(1))
    model.adjusted(steps=3).restore(model.shrink(digits.test.x[:2]))
    handle.remove()
    assert len(calls) == 3


@pytest.mark.parametrize("method", ["diffusion", "regression"])
def test_photos_are_enlarged_in_tiles_that_agree(trained, method):
    photo = torch.randint(256, (1, 6, 9), dtype=torch.uint8)
    model = trained[method]
    model = model.adjusted(steps=3) if method == "diffusion" else model
    large = enlarge(model, photo, noise=Noise.of(0, 1), at_once=3)
    assert large.shape == (1, 24, 36)
    shrunk = trained[method].pairing.shrink((large.float() * 16 / 255).round().to(torch.uint8))
    expected = (photo.float() * 16 / 255).round()
    assert (shrunk.float() - expected).abs().mean() < 1.0


def test_a_sample_costs_less_than_a_second_for_seventy(digits):
    model = untrained(Sr3(batch=32), digits.domain, 0)
    many = draw(model, 70, seed=3)
    assert many.dtype == torch.uint8
    assert not torch.equal(draw(model, 3, seed=4), many[:3])


@pytest.mark.parametrize("side", SHAPES)
def test_sizes_of_the_issue_are_built(side):
    domain = Domain("image", SHAPES[side], Levels(256))
    model = Sr3(width=16, consistent=False).model(domain)
    small = torch.zeros(2, SHAPES[side][0], side // 4, side // 4, dtype=torch.uint8)
    assert model.adjusted(steps=1).restore(small).shape == (2, *SHAPES[side])


@pytest.mark.parametrize(
    ("domain", "options", "saying"),
    [
        (Domain("image", (1, 28, 28), Levels(256)), {"scale": 5}, "2, 4, 7, 14"),
        (Domain("points", (2,), Real()), {}, "points"),
        (Domain("image", (1, 8, 8), Real()), {}, "levels"),
        (Domain("image", (1, 8, 8), Levels(256)), {"sample_steps": 0}, "1 or more"),
    ],
)
def test_what_cannot_be_trained_is_refused(domain, options, saying):
    recipe = Sr3(**options)
    with pytest.raises(BadInput, match=saying):
        untrained(recipe, domain, 0)


def test_with_a_lower_temperature_samples_differ_less(trained, digits):
    small = trained["diffusion"].shrink(digits.test.x[:8])
    apart = []
    for temperature in (0.0, 0.5, 1.0):
        model = untrained(Sr3(temperature=temperature), digits.domain, 0).eval()
        model.load_state_dict(trained["diffusion"].state_dict())
        one, other = (model.restore(small, noise=Noise.of(seed, 8)).float() for seed in (0, 1))
        apart.append(float((one - other).abs().mean()))
    assert 0 == apart[0] < 0.8 * apart[1] < 0.8 * apart[2]
    with pytest.raises(BadInput, match="temperature 3 was given; it takes 0 to 2"):
        untrained(Sr3(temperature=3), digits.domain, 0)
