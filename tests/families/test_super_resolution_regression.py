"""Super-resolution by least squares, and what it shares with SR3."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trilemma.core.batch import Condition, Examples
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Bounded, Gradual, Restoring
from trilemma.core.noise import Noise
from trilemma.families.diffusion.super_resolution import Pairing
from trilemma.families.super_resolution_regression import LEVEL, Regression
from trilemma.maths.resize import enlarged, reduced
from trilemma.networks.prompt_pool import Prompts

DOMAIN = Domain("image", (3, 16, 16), Levels(256))


class Constant(nn.Module):
    """Gives one number, and remembers what it was told."""

    def __init__(self, value=0.0):
        super().__init__()
        self.value, self.inputs = nn.Parameter(torch.tensor(value)), None

    def forward(self, x, log_snr, condition=None):
        self.inputs = x, log_snr, condition
        return torch.zeros_like(x) + self.value


def images(n=4):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, 3, 4, 4, generator=generator)
    return (enlarged(x, 4).clamp(0, 1) * 255).round().to(torch.uint8)


def model(value=0.0, **options):
    pairing = Pairing(DOMAIN, 4)
    prompts = Prompts(4, image=pairing.small_shape)
    prompts.fill(Condition(image=pairing.shrink(images())))
    return Regression(Constant(value), pairing, prompts=prompts).adjusted(**options)


def test_the_network_is_shown_nothing_but_the_small_image_and_one_level():
    regression, x = model(), images()
    batch = regression.pairing.paired(Examples(x, None, Noise.of(0, 4)))
    regression.loss(batch).value.backward()
    network_input, level, condition = regression.network.inputs
    assert (network_input == 0).all()
    assert (level == LEVEL).all()
    assert torch.equal(condition.image, regression.shrink(x))
    assert regression.network.value.grad is not None


def test_a_silent_network_gives_the_bicubic_image():
    regression, x = model(consistent=False), images()
    small = regression.shrink(x)
    bicubic = enlarged(small.float(), 4).round().clamp(0, 255)
    restored = regression.restore(small)
    assert restored.dtype == torch.uint8
    assert (restored.float() - bicubic).abs().max() <= 1


def test_consistency_is_what_was_asked_for():
    x = images()
    for consistent in (True, False):
        regression = model(1.0, consistent=consistent)
        regression.pairing.spread.fill_(0.1)
        small = regression.shrink(x)
        gap = (reduced(regression.restore(small).float(), 4) - small.float()).abs().mean()
        assert gap < 1 if consistent else gap > 5


def test_samples_that_nobody_asked_for_are_of_kept_small_images():
    regression = model()
    restored = regression.sample(6, noise=Noise.of(0, 6))
    prompt_images = regression.prompts.image
    for small in regression.shrink(restored):
        assert (small.int() - prompt_images.int()).abs().amax((1, 2, 3)).min() <= 1
    with pytest.raises(BadInput, match="small"):
        regression.sample(1, condition=Condition(label=torch.zeros(1, dtype=torch.int64)))


def test_it_enlarges_and_makes_no_likelihood_and_no_path():
    regression = model()
    assert isinstance(regression, Restoring)
    assert regression.scale == 4
    assert not isinstance(regression, Bounded | Gradual)
    assert regression.domain is DOMAIN
    assert regression.restore(torch.zeros(1, 3, 5, 7, dtype=torch.uint8)).shape == (1, 3, 20, 28)


def test_pairs_are_mirrored_by_the_batch_s_noise_and_small_images_with_them():
    pairing, x = model().pairing, images(32)
    batch = Examples(x, Condition(label=torch.zeros(32)), Noise.of(5, 32))
    plain, turned = pairing.paired(batch), pairing.paired(batch, mirror=True)
    assert torch.equal(plain.x, x)
    assert plain.condition is not None
    assert plain.condition.label is None
    flipped = [torch.equal(a, b.flip(-1)) for a, b in zip(turned.x, x, strict=True)]
    assert 8 < sum(flipped) < 24
    assert torch.equal(turned.condition.image, pairing.shrink(turned.x))
    part = pairing.paired(batch[8:16], mirror=True)
    assert torch.equal(part.x, turned.x[8:16])


@pytest.mark.parametrize(
    ("domain", "scale", "saying"),
    [
        (Domain("image", (1, 28, 28), Levels(256)), 3, r"28x28.*: 2, 4, 7, 14\."),
        (Domain("image", (1, 28, 28), Levels(256)), 1, "2, 4, 7, 14"),
        (Domain("image", (1, 28, 28), Levels(256)), 28, "at least 2"),
        (Domain("image", (3, 32, 32), Levels(256)), 5, "2, 4, 8, 16"),
        (Domain("image", (3, 12, 8), Levels(256)), 3, "8x12.*: 2, 4"),
        (Domain("points", (2,), Real()), 2, "points"),
    ],
)
def test_scales_that_do_not_divide_are_refused_and_those_that_do_are_named(domain, scale, saying):
    with pytest.raises(BadInput, match=saying):
        Pairing(domain, scale)
