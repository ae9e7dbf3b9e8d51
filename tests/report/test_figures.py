"""Pictures of data: every pixel of a small grid, pairs, scatters, animations."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.pictures import figures, games


def pixels(image):
    return np.asarray(image)


def test_grid_is_exact():
    x = torch.tensor([[0, 16], [8, 4]], dtype=torch.uint8).expand(3, 1, 2, 2)
    image = figures.grid(x, levels=17, columns=2, scale=2, gap=1)
    assert image.mode == "LA"
    assert image.size == (9, 9)
    tile = np.array([[0, 255], [128, 64]]).repeat(2, 0).repeat(2, 1)
    grey, opaque = pixels(image)[..., 0], pixels(image)[..., 1]
    for top, left in ((0, 0), (0, 5), (5, 0)):
        np.testing.assert_array_equal(grey[top : top + 4, left : left + 4], tile)
    clear = np.zeros((9, 9), bool)
    clear[4], clear[:, 4], clear[5:, 5:] = True, True, True
    np.testing.assert_array_equal(opaque == 0, clear)


def test_colours_keep_their_channels():
    x = torch.zeros(2, 3, 1, 1, dtype=torch.uint8)
    x[0, 0], x[1, 2] = 200, 90
    pixel_values = pixels(figures.grid(x, columns=2, scale=1, gap=0))
    assert pixel_values.tolist() == [[[200, 0, 0], [0, 0, 90]]]


def test_one_image_has_no_transparency():
    x = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    image = figures.grid(x, scale=1)
    assert image.mode == "L"
    np.testing.assert_array_equal(pixels(image), x[0, 0].numpy())


@pytest.mark.parametrize("side", [8, 28, 64, 300])
def test_grid_is_of_readable_size(side):
    width, _ = figures.grid(torch.zeros(16, 1, side, side, dtype=torch.uint8)).size
    assert width >= 400
    assert width <= max(700, 4 * side + 6)


@pytest.mark.parametrize("shape", [(4, 2, 8, 8), (0, 1, 8, 8), (4, 8, 8)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(BadInput, match="was given as images"):
        figures.grid(torch.zeros(shape, dtype=torch.uint8))


def test_neighbours_stand_below():
    above = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    image = figures.neighbours(above, above + 255, columns=2, scale=1)
    assert image.size == (2 + 6 + 2, 5)
    assert (pixels(image)[:2, :2, 0] == 0).all()
    assert (pixels(image)[3:, :2, 0] == 255).all()
    with pytest.raises(BadInput, match="each sample needs one neighbour"):
        figures.neighbours(above, above[:1])


def test_sequences_have_a_strip_each():
    image = figures.sequences(torch.zeros(3, 7, 1, 4, 4, dtype=torch.uint8), scale=1)
    assert image.size == (7 * 4 + 6, 3 * 4 + 2)


def test_show_follows_the_domain():
    image = Domain("image", (1, 4, 4), Levels(2))
    image_shown = figures.show(torch.ones(1, 1, 4, 4, dtype=torch.uint8), image)
    assert (pixels(image_shown) == 255).all()
    plane = Domain("points", (2,), Real())
    assert figures.show(torch.randn(50, 2), plane).size == (512, 512)


def test_points_show_what_they_are_given():
    blank = pixels(figures.points(torch.zeros(0, 2), truth=torch.zeros(0, 2)))
    points_given = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    pixel_values = pixels(figures.points(points_given, size=200)).min(-1) < 200
    assert (blank == 255).all()
    assert pixel_values[100:, :100].any()
    assert pixel_values[:100, 100:].any()
    assert not pixel_values[:100, :100].any()
    assert not pixel_values[100:, 100:].any()


def test_points_survive_infinities():
    x = torch.tensor([[0.0, 1.0], [float("nan"), float("inf")], [1.0, 0.0]])
    assert figures.points(x, size=100).size == (100, 100)


@pytest.mark.parametrize("channels", [1, 3])
def test_animation_keeps_its_frames(channels):
    x = torch.stack([torch.full((4, channels, 5, 5), 40 * k) for k in range(6)]).byte()
    film = Image.open(io.BytesIO(figures.animation([figures.grid(f, scale=2) for f in x])))
    assert film.format == "GIF"
    assert film.n_frames == 6
    film.seek(3)
    assert film.convert("L").getpixel((0, 0)) == pytest.approx(120, abs=2)
    assert film.info["loop"] == 0


def test_animation_of_nothing_is_refused():
    with pytest.raises(BadInput, match="at least one picture"):
        figures.animation([])


def test_a_table_is_drawn_in_pairs_of_columns():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 4, generator=g)
    domain = Domain("points", (4,), Real(), columns=("a", "b", "c", "d"))
    alone, over = figures.show(x, domain), figures.show(x, domain, truth=x + 0.1)
    assert alone.size == over.size == (figures.WIDTH, figures.WIDTH)
    assert (pixels(alone) != pixels(over)).any()
    assert (pixels(alone) != 255).mean() > 0.01


def test_densities_stand_side_by_side():
    line = torch.linspace(-3, 3, 40)
    at = torch.cartesian_prod(line, line).flip(1)
    p = (-(at**2).sum(1) / 2).exp().view(40, 40)
    image = figures.densities(
        {"true density": p, "model's density": p.T}, {"samples": at}, (-3, 3, -3, 3)
    )
    width, height = image.size
    assert 2 < width / height < 3.2
    left, middle = (pixels(image)[:, : width // 3], pixels(image)[:, width // 3 : 2 * width // 3])
    assert min(left.std(), middle.std()) > 20


def moment(scale=1.0, offset=0.0, n=64):
    line = torch.linspace(-2, 2, 64)
    up, across = torch.meshgrid(line, line, indexing="ij")
    x = 0.3 * torch.randn(n, 2)
    return {
        "score": offset - scale * (across - 1).square() - scale * up.square(),
        "frame": torch.tensor([-2.0, 2.0, -2.0, 2.0]),
        "samples": x,
        "slope": -2 * scale * (x - torch.tensor([1.0, 0.0])),
    }


def frames_of(gif):
    with Image.open(io.BytesIO(gif)) as image:
        pixel_values = []
        for k in range(image.n_frames):
            image.seek(k)
            pixel_values.append(np.asarray(image.convert("RGB")).astype(int))
        return pixel_values


def test_a_film_has_a_frame_for_each_moment_and_shows_where_scores_are_high():
    data = torch.randn(300, 2) * 0.2 + torch.tensor([1.0, 0.0])
    gif = games.film([1, 10, 100], [moment(), moment(3.0), moment(0.1)], data, size=200)
    frames = frames_of(gif)
    assert len(frames) == 3
    assert frames[0].shape == (224, 200, 3)
    surface = frames[0][24:]
    # Green at the top of the hill, purple far away from it.
    r, g, b = np.median(surface[85:115, 135:165].reshape(-1, 3), 0)
    low = surface[10, 10]
    assert g > r
    assert g > b
    assert low[1] < min(low[0], low[2])
    orange = (np.abs(surface - np.array([208, 74, 0])).sum(-1) < 60).sum()
    assert orange > 30


def test_a_film_does_without_slope_spread_or_finite_numbers():
    flat = moment(0.0, 3.0)
    lost = moment()
    lost["samples"] = torch.full((5, 2), torch.nan)
    lost["slope"] = torch.full((5, 2), torch.nan)
    odd = moment()
    odd["score"][3, 4] = torch.inf
    assert len(frames_of(games.film([0, 1, 2], [flat, lost, odd], torch.randn(50, 2)))) == 3


def test_scales_of_scores_do_not_change_a_film():
    """A critic's scores may be of any size; the picture is of their hills and valleys."""
    data = torch.randn(100, 2)
    torch.manual_seed(1)
    one = frames_of(games.film([1], [moment(1.0)], data, size=150))[0]
    torch.manual_seed(1)
    other = frames_of(games.film([1], [moment(1e4, offset=1e5)], data, size=150))[0]
    assert (np.abs(one - other)[24:].sum(-1) > 30).mean() < 0.01


def test_a_film_of_nothing_is_refused():
    with pytest.raises(BadInput, match="at least one frame"):
        games.film([], [], torch.zeros(3, 2))
