"""Pictures by ability: models that can one thing each, and what is drawn of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Estimating, Model, shallow_copy
from trilemma.data.dataset import DataSet, Split
from trilemma.pictures import image_strips, scatter
from trilemma.report.model_view import Subject
from trilemma.report.registry import pictures_of
from trilemma.report.views import captions as caption_views
from trilemma.report.views import restoration

LEVELS = 17


class Bare(Model):
    """Draws noise, and can nothing else."""

    def __init__(self, domain):
        super().__init__()
        self.domain, self.weight = domain, nn.Parameter(torch.zeros(()))
        self.conditions: list[Condition | None] = []

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        self.conditions.append(condition)
        return self.generate(n, noise)

    def generate(self, n, noise):
        y = noise.named("made").normal(*self.domain.shape)[:n]
        return self.domain.values.unscale(y)


class Diffuser(Bare):
    """Does all that a diffusion can, badly."""

    def forward_path(self, x, *, frames, noise):
        y, eps = self.domain.values.scale(x), noise.normal(*x.shape[1:])
        times = torch.linspace(0, 1, frames).tolist()
        return [self.domain.values.unscale((1 - t) * y + t * eps) for t in times]

    def estimates(self, n, *, frames, condition=None, noise=None):
        self.conditions.append(condition)
        times = torch.linspace(1, 0, frames).tolist()
        return [(t, self.generate(n, noise), self.generate(n, noise)) for t in times]

    def score_field(self, x, t, *, condition=None):
        return -x

    def bound_terms(self, x, *, noise=None):
        return torch.ones(len(x), 11)

    def encode(self, x, *, noise=None):
        return self.domain.values.scale(x).flatten(1)

    def decode(self, z):
        return self.domain.values.unscale(z.unflatten(1, self.domain.shape))

    def complete(self, x, mask, *, condition=None, noise=None):
        self.conditions.append(condition)
        return torch.where(mask, x, self.generate(len(x), noise))

    def edit(self, x, strength, *, condition=None, noise=None):
        self.conditions.append(condition)
        return x

    def between(self, a, b, count, *, condition=None):
        return torch.stack([a if i < count / 2 else b for i in range(count)])


@dataclasses.dataclass(frozen=True)
class Options:
    """How a model is drawn from."""

    steps: int = 10


class Stepwise(Diffuser):
    """Samples in as many steps as it is asked for, up to a limit."""

    def __init__(self, domain, options=Options(), most=100):
        super().__init__(domain)
        self.sampling, self.most = options, most

    def adjusted(self, **options):
        if options["steps"] > self.most:
            raise BadInput("too many")
        view = shallow_copy(self)
        view.sampling = dataclasses.replace(self.sampling, **options)
        return view

    def path(self, n, *, frames, condition=None, noise=None):
        raise AssertionError("a model that estimates is drawn on its way with its estimates")


class Explainer(Diffuser):
    """Says where each word was looked at."""

    def attention(self, condition, *, noise=None):
        self.conditions.append(condition)
        weights = condition.tokens[:, :, None, None] / 10 * torch.ones(1, 1, 4, 4)
        return self.generate(len(condition), noise), weights

    def reconstruct(self, x, *, noise=None):
        return x


class Enlarger(Bare):
    """Makes large images by repeating pixels."""

    scale, sampling = 4, Options()

    def adjusted(self, **options):
        return self

    def path(self, n, *, frames, condition=None, noise=None):
        return [self.generate(n, noise)] * frames

    def shrink(self, x):
        return x[:, :, ::4, ::4]

    def restore(self, small, *, noise=None):
        return small.repeat_interleave(4, 2).repeat_interleave(4, 3)


class Clocked(Diffuser):
    """Knows where its terms look."""

    def bound_over_noise(self, x, *, draws, noise):
        return torch.linspace(8, -8, 101), torch.full((len(x), 102), 0.1)


def images(captions=False, labels=True, channels=1, side=8):
    domain = Domain(
        "image",
        (channels, side, side),
        Levels(LEVELS),
        ("a", "b", "c") if labels else (),
        (0.5, 0.25, 0.25) if labels else (),
        vocabulary=("red", "heart") if captions else (),
        words=3 if captions else 0,
    )
    x = torch.randint(0, LEVELS, (30, channels, side, side), dtype=torch.uint8)
    split = Split(x, torch.arange(30) % 3 if labels else None)
    if captions:
        tokens = torch.tensor([[1, 2, 0], [2, 0, 0]]).repeat(15, 1)
        messages = [f"red heart {i}" if i % 2 == 0 else "heart" for i in range(30)]
        split = dataclasses.replace(split, captions=messages, tokens=tokens, mask=tokens > 0)
    return DataSet("made", domain, split, split)


def points(dimensions=2):
    domain = Domain("points", (dimensions,), Real(1.0, 2.0))
    split = Split(torch.randn(400, dimensions) * 2 + 1)
    return DataSet("made", domain, split, split)


def drawn_views(model, data):
    return {p.title: p for p in pictures_of(Subject(model, data, "diffusion"))}


def test_a_model_that_can_nothing_is_left_alone():
    data = images()
    assert drawn_views(Bare(data.domain), data) == {}


def test_an_ability_of_the_same_name_is_not_mistaken():
    class Other(Bare):
        def estimates(self, y, *, condition=None, noise=None):
            raise AssertionError("another kind of estimate")

    data = images()
    assert not isinstance(Other(data.domain), Estimating)
    assert drawn_views(Other(data.domain), data) == {}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_diffusion_of_images_is_drawn_whole(channels):
    data = images(channels=channels)
    views = drawn_views(Stepwise(data.domain), data)
    assert set(views) == {
        "the forward chain",
        "the reverse chain, and what is expected on the way",
        "few or many steps",
        "the bound, term by term",
        "half an image completed",
        "edits",
        "between two examples",
        "there and back",
    }
    assert all(p.caption for p in views.values())
    assert all(p.wide for t, p in views.items() if t != "the bound, term by term")
    assert "wrong by 0 of 17 levels" in views["there and back"].caption
    for picture in views.values():
        if not isinstance(picture.image, str):
            assert 300 < picture.image.width <= image_strips.WIDE + 4


def test_examples_are_of_different_classes_and_are_told_as_they_are():
    data = images()
    model = Diffuser(data.domain)
    subject = Subject(model, data)
    rows = subject.rows(5)
    assert data.test.labels[rows].tolist() == [0, 1, 2, 0, 1]
    pictures_of(subject)
    labels = [c.label for c in model.conditions if c is not None]
    assert labels
    assert all(label.tolist() == [0, 1, 2, 0, 1, 2, 0, 1] for label in labels)


def test_points_are_drawn_in_the_plane():
    data = points()
    views = drawn_views(Stepwise(data.domain), data)
    assert "the score field" in views
    assert "density and samples" in views
    assert "edits" not in views
    assert "half an image completed" not in views
    assert len(views) == 8
    assert "the score field" not in drawn_views(Diffuser(points(3).domain), points(3))


def test_few_and_many_steps_are_drawn_of_the_same_weights():
    data, drawn_in = images(), []

    class Noted(Stepwise):
        def sample(self, n, *, condition=None, noise=None):
            drawn_in.append((self.sampling.steps, self.weight))
            return super().sample(n, condition=condition, noise=noise)

    model = Noted(data.domain)
    assert "few or many steps" in drawn_views(model, data)
    assert [steps for steps, _ in drawn_in] == [5, 10, 20, 50]
    assert all(weight is model.weight for _, weight in drawn_in)
    assert model.sampling.steps == 10


def test_steps_that_a_sampler_refuses_are_left_out():
    data = images()
    assert "few or many steps" in drawn_views(Stepwise(data.domain, most=10), data)
    assert "few or many steps" not in drawn_views(Stepwise(data.domain, most=5), data)


def test_steps_are_drawn_of_models_that_have_steps_to_choose():
    @dataclasses.dataclass(frozen=True)
    class Temperature:
        temperature: float = 1.0

    data = images()
    assert "few or many steps" not in drawn_views(Stepwise(data.domain, Temperature(), 0), data)
    assert "few or many steps" not in drawn_views(Diffuser(data.domain), data)


def test_a_picture_that_a_model_refuses_costs_no_other():
    class Refusing(Diffuser):
        def edit(self, x, strength, *, condition=None, noise=None):
            raise BadInput("not today")

    data = images()
    views = drawn_views(Refusing(data.domain), data)
    assert "edits" not in views
    assert "between two examples" in views


def test_the_bound_is_drawn_over_its_noise_where_that_is_known():
    data = images()
    plain = drawn_views(Diffuser(data.domain), data)["the bound, term by term"]
    clocked = drawn_views(Clocked(data.domain), data)["the bound, term by term"]
    assert "log-SNR" not in plain.image
    assert "log-SNR" in clocked.image
    assert "L₁₀₁" in clocked.image
    total = 102 * 0.1 / (64 * np.log(2))
    assert f"together {total:.3f} bits per dimension" in clocked.caption


def test_captions_and_words_are_drawn_of_a_model_that_explains():
    data = images(captions=True, labels=False)
    model = Explainer(data.domain)
    views = drawn_views(model, data)
    assert {"drawn for captions", "attention, word by word", "the first stage"} <= set(views)
    condition = next(c for c in model.conditions if c is not None and c.tokens is not None)
    assert condition.label is None
    assert len(condition) <= caption_views.MAX_CAPTIONS
    assert "there and back" not in views  # its codes are the first stage's


def test_words_are_named_by_the_vocabulary():
    assert caption_views._words(torch.tensor([1, 2, 0]), ("red", "heart")) == ["red", "heart", "?"]


def test_restorations_stand_between_small_and_original():
    data = images()
    model = Enlarger(data.domain)
    views = drawn_views(model, data)
    assert set(views) == {
        "from noise to a sample",
        "small images made large",
        "few or many steps",
    }
    assert model.conditions
    assert all(c.image.shape[-2:] == (2, 2) for c in model.conditions)


def test_bicubic_keeps_what_is_even():
    x = torch.full((2, 1, 2, 2), 9, dtype=torch.uint8)
    assert (restoration._bicubic(x, 4, LEVELS) == 9).all()
    assert restoration._bicubic(x, 4, LEVELS).shape == (2, 1, 8, 8)


def test_one_test_example_is_enough():
    data = images()
    one = Split(data.test.x[:1], data.test.labels[:1])
    alone = dataclasses.replace(data, test=one)
    views = drawn_views(Diffuser(data.domain), alone)
    assert "the forward chain" in views
    assert "between two examples" not in views


# Strips


def test_strips_keep_pixels_and_order():
    rows = [torch.full((3, 1, 2, 2), v, dtype=torch.uint8) for v in (0, 8, 16)]
    image = image_strips.strips(rows, LEVELS, scale=2)
    views = np.asarray(image)
    assert views.shape == (3 * 4 + 2 * 2, 3 * 4 + 2 * 2, 4)
    assert [int(views[i * 6 + 1, 1, 0]) for i in range(3)] == [0, 128, 255]
    assert views[4, 0, 3] == 0


def test_strips_have_their_words():
    rows = [torch.zeros(2, 1, 8, 8, dtype=torch.uint8)] * 2
    bare = image_strips.strips(rows, LEVELS, scale=4)
    labels = image_strips.strips(
        rows, LEVELS, scale=4, row_labels=("one", "two"), column_labels=("a", "b"), together=1
    )
    assert labels.width > bare.width + 20
    assert labels.height > bare.height + image_strips.LINE
    margin = np.asarray(labels)[:, : labels.width - bare.width - 1]
    assert (margin[..., 3] > 0).any()


@pytest.mark.parametrize("rows", [[], [torch.zeros(2, 1, 4, 4), torch.zeros(3, 1, 4, 4)]])
def test_strips_of_unequal_rows_are_refused(rows):
    with pytest.raises(BadInput, match="rows of images"):
        image_strips.strips(rows)


def test_a_caption_stands_below_each_image():
    x = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    words = [
        "red heart",
        "a caption that is far too long to be shown in two short lines",
        "",
        "c",
        "d",
    ]
    image = image_strips.captioned(x, words, columns=3)
    views = np.asarray(image)
    assert views.shape[1] >= 3 * 96
    below = views[100:125, :96, 3]
    assert (below > 0).any()
    with pytest.raises(BadInput, match="one for each"):
        image_strips.captioned(x, words[:2])


def test_long_texts_are_cut_to_their_width():
    for lines in (1, 2, 3):
        fitted_lines = image_strips._fitted("a caption that goes on and on " * 4, 90, lines)
        assert len(fitted_lines) == lines
        assert all(image_strips._wide(line) <= 90 for line in fitted_lines)
        assert fitted_lines[-1].endswith("…")
    assert image_strips._fitted("", 50, 2) == [""]


def test_attention_is_brightest_where_it_is_largest():
    x = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    maps = torch.zeros(2, 4, 4)
    maps[0, 0, 0], maps[1] = 1.0, 0.5
    views = np.asarray(image_strips.attended(x, [maps], [["red", "heart"]], LEVELS)).astype(int)
    side = (views.shape[1] - 12) // 3
    top = image_strips.LINE + 2
    first = views[top : top + side, side + 6 : 2 * side + 6, :3].sum(-1)
    assert first[: side // 8, : side // 8].mean() > 2 * first[side // 2 :, side // 2 :].mean()


# The plane


def test_clouds_lie_in_one_frame():
    x = torch.randn(300, 2)
    image = scatter.clouds([[x, x + 1]], scatter.frame_of(x, x + 1), column_labels=("a", "b"))
    assert 1.5 < image.width / image.height < 2.2
    with pytest.raises(BadInput, match="equal rows"):
        scatter.clouds([[x], [x, x]], (-1, 1, -1, 1))


def test_a_frame_survives_what_is_not_finite():
    assert scatter.frame_of(torch.full((3, 2), float("nan"))) == (-1.0, 1.0, -1.0, 1.0)
    left, right, bottom, top = scatter.frame_of(
        torch.tensor([[0.0, 0.0], [4.0, 2.0], [1e9, np.nan]])
    )
    assert left < 0
    assert right > 4
    assert right - left == pytest.approx(top - bottom)


def test_fields_are_drawn_where_arrows_are_finite():
    x = torch.randn(500, 2)
    at = torch.cartesian_prod(torch.linspace(-2, 2, 6), torch.linspace(-2, 2, 6))
    arrows: Tensor = -at
    arrows[0] = float("inf")
    image = scatter.fields([scatter.ArrowField("t = 0.1", x, at, arrows)] * 3, (-3, 3, -3, 3))
    dark = np.asarray(image).max(-1) < 60
    assert dark.sum() > 100
    nothing = scatter.fields(
        [scatter.ArrowField("t", x, at, torch.zeros_like(at))], (-3, 3, -3, 3)
    )
    assert nothing.width > 500
