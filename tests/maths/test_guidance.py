"""Guidance costs what it uses, and spaces draw what they say."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.noise import Noise
from trilemma.maths.guidance import guided
from trilemma.maths.spaces import Euclidean


@pytest.mark.parametrize(("weight", "calls"), [(0, "u"), (1, "c"), (2, "uc")])
def test_calls(weight, calls):
    made = []

    def named(name, value):
        return lambda x, t: (made.append(name), value * x)[1]

    x = torch.ones(2)
    out = guided(named("c", 3.0), named("u", 1.0), weight)(x, torch.ones(()))
    assert "".join(made) == calls
    assert out.tolist() == [1 + 2 * weight] * 2


def test_euclidean_noise_is_standard_normal():
    z = Euclidean().normal(Noise.of(0, 2000), (3, 2))
    assert z.shape == (2000, 3, 2)
    torch.testing.assert_close(torch.cov(z.flatten(1).T), torch.eye(6), atol=0.1, rtol=0)
