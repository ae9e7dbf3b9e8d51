from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Completing, Sequential, capabilities, estimate
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.families.autoregressive import (
    HEADS,
    Autoregressive,
    draw_by_whole_passes,
    head,
)
from trilemma.maths.pixel_distributions import Bernoulli, Categorical, LogisticMixture
from trilemma.networks.pixelcnn import CellPerceptron, ConvolutionalTrunk
from trilemma.recipes.pixelcnn import PixelCnn

GREY = Domain("image", (1, 8, 8), Levels(17), ("a", "b"), (0.5, 0.5))
BINARY = Domain("image", (1, 8, 8), Levels(2))
COLOUR = Domain("image", (3, 8, 4), Levels(256))


def make_model(domain=GREY, name="auto", *, patch=1, classes=0, **options):
    distribution = head(name, domain, components=2)
    channels, height, width = domain.shape
    numbers = channels * patch**2
    grid = (height // patch, width // patch)
    trunk = ConvolutionalTrunk(numbers, grid, width=8, blocks=2, classes=classes)
    cell = CellPerceptron(8, numbers, distribution.parameters, units=8)
    return Autoregressive(trunk, cell, distribution, domain, patch, **options)


def images(domain=GREY, n=12):
    return torch.randint(domain.values.count, (n, *domain.shape)).to(torch.uint8)


def batch(domain=GREY, n=12):
    label = torch.arange(n) % max(len(domain.classes), 1)
    return Examples(images(domain, n), Condition(label=label), Noise.of(0, n))


CASES = [
    pytest.param(domain, name, patch, id=f"{name}-{patch}-{domain.shape[0]}")
    for domain, name in (
        (BINARY, "bernoulli"),
        (GREY, "categorical"),
        (GREY, "mixture"),
        (COLOUR, "mixture"),
    )
    for patch in (1, 2)
]


@pytest.mark.parametrize(("domain", "name", "patch"), CASES)
def test_every_parameter_gets_a_gradient_and_the_loss_falls(domain, name, patch):
    model = make_model(domain, name, patch=patch, classes=len(domain.classes))
    examples = batch(domain)
    (objective,) = model.objectives()
    assert set(objective.parameters) == set(model.parameters())
    optimiser = torch.optim.Adam(objective.parameters, 3e-3)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = objective.loss(examples)
        loss.value.backward()
        assert all(bool(p.grad.isfinite().all()) for p in objective.parameters)
        optimiser.step()
        losses.append(float(loss.value.detach()))
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize(("domain", "name", "patch"), CASES)
def test_cached_samples_are_those_of_whole_passes(domain, name, patch):
    model = make_model(domain, name, patch=patch).double()
    cached = model.sample(5, noise=Noise.of(1, 5))
    assert cached.shape == (5, *domain.shape)
    assert cached.dtype == torch.uint8
    assert torch.equal(cached, draw_by_whole_passes(model, 5, Noise.of(1, 5)))


@torch.no_grad()
@pytest.mark.parametrize(("domain", "name", "patch"), CASES)
def test_conditionals_lie_at_their_numbers_and_do_not_look_ahead(domain, name, patch):
    model, x = make_model(domain, name, patch=patch).double(), images(domain, 2)
    each = model.conditionals(x)
    torch.testing.assert_close(each.flatten(1).sum(1), model.log_prob(x))
    changed = x.clone()
    changed[:, -1, -1, -1] = domain.values.count - 1 - changed[:, -1, -1, -1]  # the last number
    differs = (model.conditionals(changed) != each).flatten(1)
    assert not differs[:, :-1].any()


def test_capabilities():
    model = make_model()
    assert capabilities(model) == ("sample", "density", "complete", "path")
    assert isinstance(model, Completing)
    assert isinstance(model, Sequential)
    assert estimate(model) == "exact"


def test_loss_is_a_function_of_the_batch_and_a_mean_over_rows():
    model, examples = make_model(classes=2), batch()
    full = model.loss(examples).value
    assert torch.equal(full, model.loss(examples).value)
    parts = (model.loss(examples[:6]).value + model.loss(examples[6:]).value) / 2
    torch.testing.assert_close(full, parts)


def test_loss_is_minus_log_prob_and_says_its_bits():
    model, examples = make_model(), batch()
    loss = model.loss(examples)
    torch.testing.assert_close(loss.value, -model.log_prob(examples.x).mean())
    bits = loss.value.detach() / (64 * math.log(2))
    torch.testing.assert_close(loss.terms["bits_per_dim"], bits)


@torch.no_grad()
def test_labels_are_hidden_from_a_share_of_the_examples():
    examples = batch(n=400)
    model = make_model(classes=2, label_dropout=0.25)
    exact = [model.log_prob(examples.x, condition=c) for c in (examples.condition, None)]
    drop = examples.noise.named("hidden").uniform() < 0.25
    assert 60 < int(drop.sum()) < 140
    expected = torch.where(drop, exact[1], exact[0]).mean()
    torch.testing.assert_close(-model.loss(examples).value, expected)


@torch.no_grad()
def test_without_a_condition_it_is_the_null():
    model, x = make_model(classes=2).double(), images(n=4)
    condition = Condition(label=torch.tensor([0, 1, 0, 1]))
    torch.testing.assert_close(model.log_prob(x), model.log_prob(x, condition=condition.null()))
    assert (model.log_prob(x) != model.log_prob(x, condition=condition)).all()
    free = model.sample(4, noise=Noise.of(0, 4))
    assert torch.equal(free, model.sample(4, noise=Noise.of(0, 4), condition=condition.null()))
    assert not torch.equal(free, model.sample(4, noise=Noise.of(0, 4), condition=condition))


def test_samples_do_not_depend_on_their_number():
    model = make_model()
    many = draw(model, 70, seed=3)
    assert torch.equal(draw(model, 3, seed=3), many[:3])
    assert not torch.equal(many[0], many[1])


def test_a_signal_can_stop_a_sample_between_numbers():
    calls = []
    draw(make_model(), 2, seed=0, check=lambda: calls.append(1))
    assert len(calls) >= 64


@pytest.mark.parametrize("patch", [1, 2])
def test_completion_keeps_what_is_known_and_draws_the_rest(patch):
    model, x = make_model(patch=patch), images(n=6)
    is_known = torch.rand(x.shape) < 0.5
    full = model.complete(x, is_known, noise=Noise.of(0, 6))
    assert torch.equal(full[is_known], x[is_known])
    assert not torch.equal(full, x)
    nothing = torch.zeros_like(is_known)
    free = model.complete(x, nothing, noise=Noise.of(0, 6))
    assert torch.equal(free, model.sample(6, noise=Noise.of(0, 6)))
    assert torch.equal(model.complete(x, ~nothing), x)


def test_what_is_known_later_does_not_change_what_is_drawn_earlier():
    model, x = make_model(), images(n=6)
    is_known = torch.zeros(x.shape, dtype=torch.bool)
    is_known[:, :, 4:] = True
    full = model.complete(x, is_known, noise=Noise.of(0, 6))
    assert torch.equal(full[:, :, :4], model.sample(6, noise=Noise.of(0, 6))[:, :, :4])


def test_completion_ignores_values_that_are_not_known():
    model, x = make_model(), images(n=3)
    is_known = torch.rand(x.shape) < 0.5
    wild = torch.where(is_known, x, torch.full_like(x, 255))
    one = model.complete(x, is_known, noise=Noise.of(0, 3))
    assert torch.equal(one, model.complete(wild, is_known, noise=Noise.of(0, 3)))


@pytest.mark.parametrize("patch", [1, 2])
def test_the_path_fills_up_to_the_sample(patch):
    model = make_model(patch=patch)
    frames = model.path(3, frames=5, noise=Noise.of(0, 3))
    assert len(frames) == 5
    end = model.sample(3, noise=Noise.of(0, 3))
    assert torch.equal(frames[-1], end)
    assert not frames[0].any()
    for a, b in pairwise(frames):
        assert ((a == b) | (a == 0)).all()
    assert torch.equal(frames[2][:, :, :4], end[:, :, :4])


def test_sampling_seconds_is_a_time_that_grows_with_n():
    model = make_model()
    assert 0 < model.sampling_seconds(4) < 60
    assert model.sampling_seconds(100_000) > model.sampling_seconds(4)


def test_half_precision_trains():
    model, examples = make_model(), batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(examples).value
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, model.loss(examples).value, rtol=0.02, atol=0)


def test_heads_by_name():
    assert isinstance(head("auto", BINARY), Bernoulli)
    assert isinstance(head("auto", GREY), Categorical)
    assert isinstance(head("auto", COLOUR), LogisticMixture)
    for name in HEADS:
        assert head(name, BINARY).count == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (lambda: head("bernoulli", GREY), "17 levels"),
        (lambda: head("bernouli", BINARY), "did you mean 'bernoulli'"),
        (lambda: head("mixture", GREY, components=0), "0 components"),
        (lambda: head("auto", Domain("points", (2,), Real())), "real-valued"),
        (lambda: make_model(patch=3), "3 x 3"),
        (
            lambda: make_model().log_prob(torch.full((2, 1, 8, 8), 17, dtype=torch.uint8)),
            "up to 17",
        ),
        (lambda: make_model().log_prob(torch.zeros(2, 1, 8, 8)), "real numbers"),
        (lambda: make_model().log_prob(torch.zeros(2, 1, 8, 7, dtype=torch.uint8)), "(1, 8, 7)"),
        (
            lambda: make_model().loss(Examples(200 + images(), None, Noise.of(0, 12))),
            "levels up to",
        ),
        (lambda: make_model().complete(images(), torch.ones(12, 1, 8, 8)), "a mask of shape"),
    ],
)
def test_nonsense_is_refused(options, words):
    with pytest.raises(BadInput) as refused:
        options()
    assert words in str(refused.value)


# The recipe


@pytest.mark.parametrize(
    ("shape", "patch"),
    [((1, 28, 28), 2), ((1, 8, 8), 1), ((3, 32, 32), 2), ((1, 27, 28), 1), ((1, 16, 24), 1)],
)
def test_the_recipe_chooses_its_cells(shape, patch):
    model = PixelCnn().model(Domain("image", shape, Levels(2)))
    assert isinstance(model, Autoregressive)
    assert model.patch == patch


def test_the_recipe_tells_the_class_only_if_asked():
    assert PixelCnn().model(GREY).trunk.class_embedding is None
    model = PixelCnn(conditional=True).model(GREY)
    examples = batch()
    model.loss(examples).value.backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("domain", "fields", "words"),
    [
        (BINARY, {"conditional": True}, "without classes"),
        (GREY, {"patch": 3}, "3 x 3"),
        (GREY, {"patch": -1}, "patch -1"),
        (GREY, {"width": 0}, "width 0"),
        (GREY, {"head": "bernoulli"}, "17 levels"),
        (Domain("points", (2,), Real()), {}, "points"),
    ],
)
def test_the_recipe_refuses_in_a_sentence(domain, fields, words):
    with pytest.raises(BadInput) as refused:
        PixelCnn(**fields).model(domain)
    assert words in str(refused.value)


def test_seventy_digits_take_less_than_a_second():
    """The sampler counts on few calls for each number; the law compares what it gives."""
    model = PixelCnn().model(GREY)
    draw(model, 2, seed=0)
    assert model.sampling_seconds(70) < 5  # a busy machine's margin
