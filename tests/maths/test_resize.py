"""Bicubic matrices and their pseudo-inverse."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from trilemma.maths.resize import (
    agreed,
    enlarged,
    pseudo_inverse,
    reduced,
    resizing,
    spread_back,
)


@pytest.mark.parametrize("factor", [2, 4])
def test_images_are_resized_as_torch_resizes_them(factor):
    x = torch.rand(2, 3, 24, 32)
    down = F.interpolate(x, size=(24 // factor, 32 // factor), mode="bicubic", antialias=True)
    up = F.interpolate(x, scale_factor=float(factor), mode="bicubic", antialias=True)
    assert torch.allclose(reduced(x, factor), down, atol=1e-5)
    assert torch.allclose(enlarged(x, factor), up, atol=1e-5)


def test_a_constant_stays_one_and_rows_sum_to_one():
    assert torch.allclose(reduced(torch.full((1, 1, 8, 12), 7.0), 4), torch.tensor(7.0))
    for source, target in ((8, 2), (3, 12), (28, 7), (5, 5)):
        assert torch.allclose(resizing(source, target).sum(1), torch.ones(target).double())
    assert torch.equal(resizing(5, 5), torch.eye(5).double())


def test_the_four_conditions_of_a_pseudo_inverse():
    a, b = resizing(20, 5), pseudo_inverse(20, 5)
    for one, other in ((a @ b @ a, a), (b @ a @ b, b), ((a @ b).T, a @ b), ((b @ a).T, b @ a)):
        assert torch.allclose(one, other, atol=1e-12)


def test_agreement_is_the_nearest_image():
    torch.manual_seed(0)
    x, y = torch.randn(3, 16, 24).double(), torch.randn(3, 4, 6).double()
    met = agreed(x, y, 4)
    assert torch.allclose(reduced(met, 4), y)
    other = spread_back(y, 4)
    assert torch.allclose(reduced(other, 4), y)
    assert (met - x).norm() < (other - x).norm()
    assert ((met - x) * (other - met)).sum().abs() < 1e-9


def test_low_precision_is_not_passed_on():
    x = torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(reduced(x, 4), reduced(x, 4).float())
        inside = reduced(x, 4)
    assert torch.equal(inside, reduced(x, 4))
    assert reduced(x.bfloat16(), 4).dtype == torch.float32
