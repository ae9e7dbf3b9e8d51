"""Networks that read a small image, and photos in tiles."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.maths.resize import enlarged
from trilemma.networks.tiling import Reading, Tiled, enlarge, tile_starts, window

COLOUR = Domain("image", (3, 16, 16), Levels(256))
GREY = Domain("image", (1, 16, 16), Levels(17))


class Echo(nn.Module):
    """Gives the last channels of what it is given, and remembers the shapes."""

    def __init__(self, channels=3):
        super().__init__()
        self.channels, self.shapes = channels, []
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x, log_snr):
        assert len(x) == len(log_snr)
        self.shapes.append(tuple(x.shape))
        return self.weight * x[:, -self.channels :]


class Untiled:
    """A model whose enlarged image is what its network says."""

    def __init__(self, domain, inner):
        self.domain, self.scale = domain, 4
        self.network = Reading(inner, domain, 4)

    def restore(self, small, *, noise=None, network=None):
        self.noise = noise
        rows, channels, height, width = small.shape
        nothing = torch.zeros(rows, channels, 4 * height, 4 * width)
        answer = (network or self.network)(nothing, torch.zeros(rows), Condition(image=small))
        return self.domain.values.unscale(answer)


def photo(channels=3, height=7, width=9):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (channels, height, width), generator=generator, dtype=torch.uint8)


def test_the_small_image_is_shown_beside_x():
    small = photo(3, 4, 4)[None].expand(2, -1, -1, -1)
    network, x = Reading(Echo(6), COLOUR, 4), torch.randn(2, 3, 16, 16)
    network_input = network(x, torch.zeros(2), Condition(image=small))
    assert torch.equal(network_input[:, :3], x)
    assert torch.allclose(network_input[:, 3:], enlarged(COLOUR.values.scale(small), 4))


def test_no_condition_and_an_absent_one_are_the_same():
    network, x = Reading(Echo(6), COLOUR, 4), torch.randn(2, 3, 16, 16)
    small = photo(3, 4, 4)[None].expand(2, -1, -1, -1)
    absent = Condition(image=small).null()
    assert torch.equal(network(x, torch.zeros(2)), network(x, torch.zeros(2), absent))


@pytest.mark.parametrize(
    ("length", "tile", "overlap"), [(64, 64, 16), (65, 64, 16), (500, 64, 16), (70, 32, 0)]
)
def test_tiles_cover_every_pixel_with_weights_that_sum_to_one(length, tile, overlap):
    starts = tile_starts(length, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] == length - tile
    assert all(b - a <= tile - overlap for a, b in pairwise(starts))
    total = torch.zeros(length).double()
    for start, weight in window(length, tile, overlap).items():
        assert (weight >= 0).all()
        total[start : start + tile] += weight
    assert torch.allclose(total, torch.ones(length).double())


def test_the_edges_of_a_tile_inside_have_no_weight():
    first, second = window(112, 64, 16).values()
    assert (first[-4:] == 0).all()
    assert (second[:4] == 0).all()
    assert (first[:48] == 1).all()


def test_a_network_without_neighbours_is_the_same_in_tiles():
    x = torch.randn(2, 3, 40, 53)
    inner = Echo()
    tiled = Tiled(inner, 16, 4, at_once=3)
    assert torch.allclose(tiled(x, torch.zeros(2)), x, atol=1e-6)
    assert {shape[1:] for shape in inner.shapes} == {(3, 16, 16)}
    assert max(shape[0] for shape in inner.shapes) == 3


def test_a_constant_network_has_no_seams():
    class Constant(nn.Module):
        def forward(self, x, log_snr):
            return torch.full_like(x, 0.25)

    blended = Tiled(Constant(), 16, 6)(torch.randn(1, 3, 50, 61), torch.zeros(1))
    assert (blended - 0.25).abs().max() < 1e-6


def seam(image, lines):
    """Return the mean step between pixels p - 1 and p on some lines, over that on the others."""
    step = (image[..., 1:] - image[..., :-1]).abs().mean((0, 1, 2))
    on = torch.zeros(len(step), dtype=torch.bool)
    on[[line - 1 for line in lines]] = True
    return float(step[on].mean() / step[~on].mean())


def test_tiles_that_disagree_are_blended_without_seams():
    class Normalising(nn.Module):
        """Depends on the whole tile, as group normalisation does."""

        def forward(self, x, log_snr):
            return (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True)

    torch.manual_seed(0)
    x = torch.nn.functional.avg_pool2d(torch.randn(1, 3, 70, 326), 7, stride=1)
    x = x + torch.linspace(0, 1, 320)
    blended = Tiled(Normalising(), 64, 16)(x, torch.zeros(1))
    hard = Tiled(Normalising(), 64, 0)(x, torch.zeros(1))
    shared = [p for s in tile_starts(320, 64, 16)[1:] for p in range(s, s + 16)]
    assert seam(blended, shared) < 1.15
    assert seam(hard, tile_starts(320, 64, 0)[1:]) > 1.5


def test_a_photo_in_tiles_is_the_whole_one():
    model = Untiled(COLOUR, Echo())
    blended = enlarge(model, photo(), at_once=2)
    small = photo()[None]
    assert blended.shape == (3, 28, 36)
    assert blended.dtype == torch.uint8
    assert len(model.noise) == 1
    full = model.restore(small)[0]
    assert (blended.int() - full.int()).abs().max() <= 1
    expected = enlarged(small.float(), 4).round().clamp(0, 255)[0]
    assert (blended.float() - expected).abs().max() <= 1


def test_grey_photos_are_repeated_and_levels_are_stretched():
    assert enlarge(Untiled(COLOUR, Echo()), photo(1)).shape == (3, 28, 36)
    white = torch.full((1, 5, 5), 255, dtype=torch.uint8)
    blended = enlarge(Untiled(GREY, Echo(1)), white)
    assert blended.shape == (1, 20, 20)
    assert (blended == 255).all()


@pytest.mark.parametrize(
    ("domain", "photo_given", "options", "saying"),
    [
        (COLOUR, photo(3, 3, 20), {}, "20x3 pixels.*4x4"),
        (GREY, photo(3), {}, "colour"),
        (COLOUR, photo(3)[None], {}, "shape"),
        (COLOUR, photo(3).repeat(2, 1, 1)[:4], {}, "shape"),
        (COLOUR, photo(3), {"overlap": 16}, "overlap"),
        (COLOUR, photo(3), {"at_once": 0}, "at once"),
    ],
)
def test_what_cannot_be_enlarged_is_refused(domain, photo_given, options, saying):
    with pytest.raises(BadInput, match=saying):
        enlarge(Untiled(domain, Echo(domain.shape[0])), photo_given, **options)


def test_models_that_read_no_small_image_and_images_under_a_tile_are_refused():
    model = Untiled(COLOUR, Echo())
    model.network = Echo()
    with pytest.raises(BadInput, match="sr3"):
        enlarge(model, photo())
    with pytest.raises(BadInput, match="smaller than the tiles"):
        Tiled(Echo(), 16, 4)(torch.zeros(1, 3, 8, 40), torch.zeros(1))


def test_the_way_can_be_stopped():
    calls = []
    enlarge(Untiled(COLOUR, Echo()), photo(), at_once=2, check=lambda: calls.append(1))
    assert len(calls) >= 3
    fixed = Noise.of(3, 1)
    model = Untiled(COLOUR, Echo())
    enlarge(model, photo(), noise=fixed)
    assert model.noise is fixed
