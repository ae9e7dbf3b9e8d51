import math

import pytest
import torch

from trilemma.core.noise import Noise
from trilemma.data.toy import TOYS, mixture_log_prob, points

NAMES = sorted(TOYS)


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


def test_density_integrates_to_one(name):
    width = 0.05
    line = torch.arange(-4, 4, width, dtype=torch.float64) + width / 2
    grid = torch.cartesian_prod(line, line)
    log_prob = TOYS[name].log_prob
    mass = sum(log_prob(part).exp().sum().item() for part in grid.split(16_384)) * width**2
    assert mass == pytest.approx(1, abs=1e-6)


def test_draws_follow_the_density(name):
    """E over draws of ln p is minus the entropy, which the grid gives too."""
    toy, width = TOYS[name], 0.05
    line = torch.arange(-4, 4, width, dtype=torch.float64) + width / 2
    grid = torch.cartesian_prod(line, line)
    each = torch.cat([toy.log_prob(part) for part in grid.split(16_384)])
    inside = each > -30
    expected = (each[inside].exp() * each[inside]).sum().item() * width**2
    log_densities = torch.cat([toy.log_prob(x) for x in points(name).train.x.split(4_000)])
    assert log_densities.isfinite().all()
    error = log_densities.std().item() / math.sqrt(len(log_densities))
    assert log_densities.mean().item() == pytest.approx(expected, abs=5 * error + 1e-6)


def test_draws_fall_into_boxes_as_often_as_the_density_says(name):
    """Tells apart what the entropy cannot, such as a mirrored or turned density."""
    toy, n = TOYS[name], 40_000
    x = toy.draw(Noise.of(3, n))
    edges = torch.linspace(-3, 3, 13)
    counts = torch.histogramdd(x, [edges, edges]).hist
    fine = 10
    line = (torch.arange(12 * fine, dtype=torch.float64) + 0.5) * (0.5 / fine) - 3
    grid = torch.cartesian_prod(line, line)
    p = torch.cat([toy.log_prob(part) for part in grid.split(16_384)]).exp()
    mass = p.view(12, fine, 12, fine).sum(dim=(1, 3)) * (0.5 / fine) ** 2
    error = (n * mass * (1 - mass)).sqrt() + 1
    assert ((counts - n * mass).abs() < 5 * error).all()


def test_set_is_fixed_standardised_and_split_in_two(name):
    one, two = points(name), points(name)
    assert one.fingerprint == two.fingerprint
    assert (len(one.train), len(one.test)) == (20_000, 5_000)
    assert one.domain.kind == "points"
    assert one.train.x.shape[1:] == one.domain.shape == (2,)
    assert one.train.x.dtype == torch.float32
    assert one.extractor == "coordinates"
    y = one.domain.values.scale(one.train.x)
    assert y.mean().abs() < 0.03
    assert y.var(dim=0).mean().item() == pytest.approx(1, abs=0.03)
    assert not torch.equal(one.train.x[:5000], one.test.x)


def test_sets_differ():
    assert len({points(name).fingerprint for name in NAMES}) == len(NAMES)


def test_eight_gaussians_are_the_formula():
    x = torch.tensor([[2.0, 0.0], [0.3, -0.4]], dtype=torch.float64)
    angles = [k * math.pi / 4 for k in range(8)]
    for point, got in zip(x.tolist(), TOYS["eight-gaussians"].log_prob(x), strict=True):
        total = 0.0
        for angle in angles:
            a = point[0] - 2 * math.cos(angle)
            b = point[1] - 2 * math.sin(angle)
            total += math.exp(-(a * a + b * b) / (2 * 0.04)) / (8 * 2 * math.pi * 0.04)
        assert got.item() == pytest.approx(math.log(total), abs=1e-12)


def test_eight_gaussians_are_drawn_evenly():
    x = points("eight-gaussians").train.x
    sector = torch.round(torch.atan2(x[:, 1], x[:, 0]) / (math.pi / 4)).long() % 8
    counts = torch.bincount(sector, minlength=8)
    assert (counts - 2500).abs().max() < 5 * math.sqrt(2500)


def test_mixture_keeps_precision_far_from_every_centre():
    centre = torch.zeros(1, 2, dtype=torch.float64)
    x = torch.tensor([[1000.0, 0.0]], dtype=torch.float64)
    got = mixture_log_prob(x, centre, torch.ones(1, dtype=torch.float64), 1.0)
    assert got.item() == pytest.approx(-500_000 - math.log(2 * math.pi), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "count"), [("eight-gaussians", 8), ("twenty-five-gaussians", 25)]
)
def test_mixtures_of_gaussians_name_their_modes(name, count):
    data = points(name)
    assert data.centres.at.shape == (count, 2)
    weights = torch.full((count,), 1 / count, dtype=torch.float64)
    x = data.test.x[:100]
    expected = mixture_log_prob(x, data.centres.at, weights, data.centres.deviation)
    torch.testing.assert_close(data.truth(x), expected)


def test_curves_have_no_modes():
    assert points("two-moons").centres is None
    assert points("checkerboard").centres is None
