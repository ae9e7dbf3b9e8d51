"""The divergence from the truth: of the truth itself, of a shifted model, where there is none."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from trilemma.core.model import Model
from trilemma.core.session import Session
from trilemma.data.sources import load
from trilemma.metrics.judge import judge


class Shifted(Model):
    """Knows a Gaussian, and draws from it."""

    def __init__(self, shift):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.tensor(shift))

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        return noise.normal(2) + self.shift.detach()

    def log_prob(self, x, *, condition=None):
        return -(x - self.shift).square().sum(1) / 2 - math.log(2 * math.pi)


def measured(model, data):
    evaluation = judge(model, data, n=2000, session=Session(), only={"kl_to_truth"})
    return evaluation.metrics.get("kl_to_truth"), evaluation.skipped


@pytest.fixture(scope="module")
def data():
    def truth(x):
        return -x.double().square().sum(1) / 2 - math.log(2 * math.pi)

    moons = load("two-moons")
    return replace(moons, truth=truth)


def test_it_is_what_the_formula_says_and_the_truth_has_none(data):
    right, _ = measured(Shifted(0.0), data)
    assert right.value == pytest.approx(0, abs=1e-6)
    shifted, _ = measured(Shifted(1.0), data)
    assert shifted.low < 1.0 < shifted.high  # |m|² / 2 with m = (1, 1)
    assert shifted.high - shifted.low < 0.3
    assert (shifted.floor, shifted.better) == (0.0, "lower")
    assert shifted.baselines["normal"] > 0


def test_where_it_cannot_be_known_it_says_why(data):
    _, skipped = measured(Shifted(0.0), replace(data, truth=None))
    assert skipped["kl_to_truth"] == "the density of the data is not known"

    def half(x):
        return torch.where(x[:, 0] > 0, 0.0, -math.inf)

    _, skipped = measured(Shifted(0.0), replace(data, truth=half))
    assert "samples lie where there are no data" in skipped["kl_to_truth"]
