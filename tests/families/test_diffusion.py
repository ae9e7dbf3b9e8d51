"""The diffusion model: its loss, its samples and its bound."""

from __future__ import annotations

import math
from dataclasses import fields
from itertools import product

import pytest
import torch

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import capabilities
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.families.diffusion.bound import SPACINGS
from trilemma.families.diffusion.denoiser import Denoiser
from trilemma.families.diffusion.diffusion import Diffusion
from trilemma.families.diffusion.options import (
    WEIGHTINGS,
    DiffusionSampling,
    DiffusionTraining,
    ForwardProcess,
)
from trilemma.laws import diffusion as ground
from trilemma.laws import oracles
from trilemma.maths.diffusion.predictions import Clean, Edm, NoisePrediction, Velocity
from trilemma.maths.diffusion.samplers import Ancestral, Ddim, Heun
from trilemma.maths.diffusion.schedules import SCHEDULES, Cosine, Linear
from trilemma.networks.unet import Perceptron, UNet

IMAGES = Domain("image", (1, 8, 8), Levels(17), ("a", "b", "c"), (0.5, 0.2, 0.3))
POINTS = Domain("points", (2,), Real(), ("left", "right"), (0.5, 0.5))


def images(*, chain=1000, is_cut=None, **options):
    """Return a diffusion of small images; options are those of its training or its sampling."""
    torch.manual_seed(0)
    network = UNet(1, width=16, patch=1, classes=3)
    torch.nn.init.normal_(network.leave.weight, std=0.02)
    denoiser = Denoiser(network, ForwardProcess(Cosine(), chain), Velocity(2), is_cut=is_cut)
    training, sampling = (
        {key: options[key] for key in options if key in {f.name for f in fields(kind)}}
        for kind in (DiffusionTraining, DiffusionSampling)
    )
    assert {*training, *sampling} == {*options}
    return Diffusion(
        denoiser,
        IMAGES,
        training=DiffusionTraining(**training),
        sampling=DiffusionSampling(**{"steps": 3} | sampling),
    )


def simple(network, domain, schedule, prediction, *, chain=1000, **options):
    """Return a diffusion of points that is trained by these options."""
    denoiser = Denoiser(network, ForwardProcess(schedule, chain), prediction)
    return Diffusion(denoiser, domain, training=DiffusionTraining(**options))


def batch(n=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(17, (n, 1, 8, 8), generator=generator).to(torch.uint8)
    label = torch.randint(3, (n,), generator=generator)
    return Examples(x, Condition(label=label), Noise.of(seed, n))


def test_what_it_can_do():
    assert capabilities(images()) == ("sample", "bound", "encode", "complete", "path")


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_loss_is_a_mean_over_rows_and_a_function_of_the_batch(weighting):
    model, full = images(weighting=weighting), batch()
    value = model.loss(full).value
    assert value == model.loss(batch()).value
    parts = torch.stack([model.loss(full[:4]).value, model.loss(full[4:]).value])
    torch.testing.assert_close(parts.mean(), value, rtol=1e-4, atol=1e-5)
    assert value != model.loss(Examples(full.x, full.condition, Noise.of(1, 8))).value


def test_every_parameter_gets_a_gradient():
    model = images()
    (objective,) = model.objectives()
    torch.nn.init.normal_(model.network.middle.second.weight, std=0.02)
    objective.loss(batch()).value.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters)
    assert {id(p) for p in objective.parameters} == {id(p) for p in model.parameters()}


def test_an_untrained_noise_predictor_has_the_loss_of_guessing_zero():
    torch.manual_seed(0)
    network = UNet(1, width=16, patch=1)
    model = simple(network, IMAGES, Linear(), NoisePrediction())
    assert float(model.loss(batch(64)).value) == pytest.approx(1, abs=0.05)


def test_noise_weighting_is_own_weighting_of_noise():
    torch.manual_seed(0)
    network = Perceptron(2)
    x = Examples(torch.randn(64, 2), noise=Noise.of(0, 64))
    own, noise = (
        simple(network, POINTS, Linear(), NoisePrediction(), weighting=w).loss(x).value
        for w in ("own", "noise")
    )
    torch.testing.assert_close(own, noise, rtol=1e-4, atol=1e-5)


def test_bound_weighting_is_the_bound_without_its_constants():
    steps, noise = 20, oracles.JointCubature(copies=20)
    model = ground._model(steps)
    terms = model.bound_terms(noise.x, noise=noise, spacing="time").mean(0)
    alpha, sigma = Linear()(torch.tensor([1 / steps]).double())
    error = oracles.SPREAD**2 * sigma**2 / (alpha**2 * oracles.SPREAD**2 + sigma**2)
    expected = float(terms[1:-1].sum()) + float(((alpha / sigma) ** 2 / 2 * error).sum())
    model.training_options = DiffusionTraining(weighting="bound")
    loss = float(model.loss(Examples(noise.x, noise=noise)).value) * oracles.D
    assert loss == pytest.approx(expected, rel=1e-4)


def test_hidden_labels_are_as_many_as_asked():
    model, labels_seen = images(label_dropout=0.25), []
    inner = model.network.forward

    def forward(x, log_snr, condition):
        labels_seen.append(condition.present)
        return inner(x, log_snr, condition)

    model.network.forward = forward
    model.loss(batch(512))
    assert float(labels_seen[0].float().mean()) == pytest.approx(0.75, abs=0.06)


@pytest.mark.parametrize("sampler", [Ancestral(), Ddim(), Ddim(1.0), Heun()], ids=str)
def test_samples_are_levels_and_do_not_depend_on_their_number(sampler):
    model = images(sampler=sampler)
    many = draw(model, 70, seed=1)
    assert many.dtype == torch.uint8
    assert many.shape == (70, 1, 8, 8)
    assert int(many.max()) <= 16
    for n in (1, 3):
        share = (draw(model, n, seed=1) != many[:n]).float().mean()
        assert float(share) < 0.01
    assert (draw(model, 3, seed=2) != many[:3]).any()


def test_path_goes_from_noise_to_the_sample():
    model, noise = images(steps=6), Noise.of(0, 4)
    way = model.path(4, frames=4, noise=noise)
    assert len(way) == 4
    assert torch.equal(way[-1], model.sample(4, noise=Noise.of(0, 4)))
    assert all(state.dtype == torch.uint8 and state.shape == (4, 1, 8, 8) for state in way)
    assert len(model.path(4, frames=100, noise=noise)) == 7


def test_guidance_at_its_ends():
    label = Condition(label=torch.tensor([0, 1, 2]))
    model = images()
    torch.nn.init.normal_(model.network.middle.second.weight, std=0.1)
    x, t = torch.randn(3, 1, 8, 8), torch.tensor(0.5)

    def inside(model, x, t, condition):
        return model.denoiser.estimate(x, t, condition)[0]

    for weight, condition in ((0.0, None), (1.0, label)):
        expected = inside(model, x, t, condition)
        torch.testing.assert_close(model.adjusted(guidance=weight)._guided(label)(x, t), expected)
    guided = model.adjusted(guidance=3.0)._guided(label)(x, t)
    assert not torch.allclose(guided, inside(model, x, t, label))


def test_clean_estimates_of_levels_stay_within_them():
    model = images()
    x, t = 10 * torch.randn(3, 1, 8, 8), torch.tensor(0.9)
    assert float(model.denoised(x, t).abs().max()) <= 1
    assert float(images(is_cut=False).denoised(x, t).abs().max()) > 1


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_bounds_of_all_possible_data_are_at_most_a_probability(schedule, spacing):
    """Sum over x of exp(E bound) <= sum of p(x) = 1, for any network whatever."""
    domain = Domain("points", (2,), Levels(3))
    torch.manual_seed(0)
    model = simple(Perceptron(2), domain, SCHEDULES[schedule], Edm(0.8), chain=30)
    every = torch.tensor(list(product(range(3), repeat=2)), dtype=torch.uint8)
    x = every.repeat(200, 1)
    terms = model.bound_terms(x, noise=Noise.of(0, len(x)), spacing=spacing)
    mean = -terms.sum(1).view(200, 9).mean(0)
    assert 1e-3 < float(mean.exp().sum()) < 1


@pytest.mark.parametrize("spacing", SPACINGS)
def test_drawn_terms_have_the_mean_of_all_terms(spacing):
    domain = Domain("points", (2,), Levels(9))
    torch.manual_seed(0)
    model = simple(Perceptron(2), domain, Cosine(), Velocity(2), chain=40)
    x = torch.tensor([[1, 7]], dtype=torch.uint8).repeat(2000, 1)
    every = -model.bound_terms(x, noise=Noise.of(0, 2000), spacing=spacing).sum(1)
    for draws in (1, 8):
        some = model.bound(x, noise=Noise.of(1, 2000), draws=draws, spacing=spacing)
        error = math.hypot(float(some.std()), float(every.std())) / math.sqrt(2000)
        assert abs(float(some.mean() - every.mean())) < 4 * error


def test_bound_of_real_data_is_about_their_own_unit():
    """Data in another unit have a density lower by ln(spread) a coordinate, and no more."""
    x = torch.randn(16, 2)
    torch.manual_seed(0)
    network = Perceptron(2)
    plain, other = (
        simple(network, Domain("points", (2,), Real(0, spread)), Linear(), Clean())
        for spread in (1.0, 4.0)
    )
    a = plain.bound(x, noise=Noise.of(0, 16))
    b = other.bound(4 * x, noise=Noise.of(0, 16))
    torch.testing.assert_close(a - b, torch.full((16,), 2 * math.log(4.0)), atol=1e-3, rtol=1e-4)


def test_it_learns_two_points_and_their_names():
    torch.manual_seed(0)
    model = simple(Perceptron(2, width=64, classes=2), POINTS, Cosine(), Velocity(2)).adjusted(
        steps=20
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    before = None
    for k in range(200):
        label = torch.arange(128) % 2
        spread = torch.randn(128, 2, generator=torch.Generator().manual_seed(k)) * 0.1
        x = (2.0 * label - 1)[:, None] + spread
        loss = model.loss(Examples(x, Condition(label=label), Noise.of(k, 128))).value
        before = loss.item() if before is None else before
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < before / 2
    for label in (0, 1):
        condition = Condition(label=torch.full((64,), label))
        x = model.sample(64, condition=condition, noise=Noise.of(0, 64))
        assert x.dtype == torch.float32
        torch.testing.assert_close(x.mean(0), torch.full((2,), 2.0 * label - 1), atol=0.15, rtol=0)
    free = model.sample(64, noise=Noise.of(0, 64))
    assert 0.25 < float((free[:, 0] > 0).float().mean()) < 0.75


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chain": -1}, "chain"),
        ({"steps": 0}, "0"),
        ({"label_dropout": 1.5}, "1.5"),
        ({"weighting": "own-ish"}, "own-ish"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(options, message):
    with pytest.raises(BadInput, match=message):
        images(**options)
    with pytest.raises(BadInput, match="spacing"):
        images().bound(batch().x, spacing="even")
