"""The spread of rests, told by how much an enlargement varies about a pixel."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.maths.local_spread import fitted, local_energy, local_spread

STEP = 2 / 255


def test_the_energy_is_the_mean_square_of_differences_in_the_window():
    u = torch.randn(2, 3, 7, 9, dtype=torch.float64)
    got = local_energy(u, 3, STEP).exp() - STEP**2 / 12
    down, across = torch.zeros_like(u), torch.zeros_like(u)
    down[..., :-1, :] = u.diff(dim=-2)
    across[..., :-1] = u.diff(dim=-1)
    energy = (down.square() + across.square()).mean(1)
    for row, column in ((0, 0), (3, 4), (6, 8), (0, 5)):
        window = energy[:, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        assert torch.allclose(got[:, 0, row, column], window.mean((1, 2)), atol=1e-12)


def test_a_window_may_be_larger_than_the_image():
    assert local_energy(torch.randn(1, 1, 4, 4), 9, STEP).isfinite().all()


@pytest.mark.parametrize("step", [0.0, STEP])
def test_the_law_by_which_rests_were_drawn_is_found(step):
    torch.manual_seed(0)
    told = torch.empty(64, 1, 32, 32, dtype=torch.float64).uniform_(-8, 2)
    true = torch.tensor([-1.0, 0.8], dtype=torch.float64)
    variance = local_spread(told, true).square() - step**2 / 12
    rest = variance.sqrt() * torch.randn(64, 3, 32, 32, dtype=torch.float64)
    assert torch.allclose(fitted(told, rest, step), true, atol=0.02)


@pytest.mark.parametrize("level", [-12.0, 0.0, 3.0])
def test_where_all_varies_alike_the_spread_is_that_of_all(level):
    torch.manual_seed(1)
    told = torch.full((8, 1, 16, 16), level)
    rest = 0.1 * torch.randn(8, 3, 16, 16)
    spread = local_spread(told.double(), fitted(told, rest, 0.0))
    assert spread.square().mean().item() == pytest.approx(rest.square().mean().item(), rel=1e-4)


def test_images_without_a_rest_have_the_spread_of_rounding():
    told = torch.randn(8, 1, 16, 16)
    spread = local_spread(told.double(), fitted(told, torch.zeros(8, 3, 16, 16), STEP))
    assert torch.allclose(spread, torch.full_like(spread, STEP / math.sqrt(12)), rtol=1e-4)
