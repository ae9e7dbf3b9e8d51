"""One affine map between data and networks, with its log-determinant."""

import math

import pytest
import torch

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.noise import Noise


@pytest.mark.parametrize("count", [2, 17, 256])
def test_levels_come_back(count):
    levels = Levels(count)
    x = torch.arange(count, dtype=torch.uint8).view(-1, 1)
    assert torch.equal(levels.unscale(levels.scale(x)), x)
    assert torch.equal(levels.quantise(levels.dequantise(x, Noise.of(0, count))), x)
    assert levels.scale(x).min() == -1
    assert levels.scale(x).max() == 1


def test_beyond_the_ends_is_cut_off():
    assert Levels(5).unscale(torch.tensor([-9.0, 9.0])).tolist() == [0, 4]


@pytest.mark.parametrize("values", [Levels(17), Real(3.0, 2.5)])
def test_log_volume_is_the_logarithm_of_the_slope(values):
    x = torch.zeros(1, 1) if isinstance(values, Real) else torch.zeros(1, 1, dtype=torch.uint8)
    same = Noise.of(0, 1)
    low = values.dequantise(x, same[0:1])
    high = values.dequantise(x + 1, same[0:1])
    assert math.log((high - low).item()) == pytest.approx(values.log_volume, abs=1e-6)


def test_uniform_density_after_dequantising_is_the_uniform_probability():
    # y is uniform on [-1, 1): density 1/2 a dimension; each of L levels has probability 1 / L
    assert math.log(0.5) + Levels(17).log_volume == pytest.approx(-math.log(17))


@pytest.mark.parametrize(
    "domain",
    [
        Domain("image", (1, 8, 8), Levels(17), ("a", "b"), (0.25, 0.75)),
        Domain("points", (2,), Real(0.5, 2.0, "m")),
    ],
)
def test_a_domain_survives_json(domain):
    import json

    assert Domain.from_json(json.loads(json.dumps(domain.to_json()))) == domain
