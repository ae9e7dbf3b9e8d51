"""What codes lose: peak signal-to-noise ratio, round trips, and the first stage's own fd."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.model import Coded, Model, Reconstructing
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.data.dataset import DataSet, Split
from trilemma.metrics import reconstruction
from trilemma.metrics.judge import judge


class Coding(Model):
    """Codes are the numbers themselves; what comes back is off by a given distance."""

    def __init__(self, domain, off=0.0):
        super().__init__()
        self.domain, self.off = domain, off
        self.weight = nn.Parameter(torch.zeros(1))
        self.rows_encoded = 0

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        if isinstance(self.domain.values, Levels):
            return noise.integers(self.domain.values.count, *self.domain.shape).to(torch.uint8)
        return noise.normal(*self.domain.shape)

    def encode(self, x, *, noise=None):
        assert not self.training
        self.rows_encoded = len(x)
        return x.float().flatten(1)

    def decode(self, z):
        y = z.unflatten(1, self.domain.shape) + self.off
        levels = isinstance(self.domain.values, Levels)
        return y.clamp(0, self.domain.values.count - 1).to(torch.uint8) if levels else y


class Staged(Coding):
    def reconstruct(self, x, *, noise=None):
        assert not self.training
        assert noise is not None
        assert len(noise) == len(x)
        return self.decode(x.float().flatten(1))


class Slow(Coding):
    def path(self, n, *, frames, condition=None, noise=None):
        return []


class Plain(Model):
    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        return noise.normal(2)


@pytest.fixture(scope="module")
def digits():
    return sources.load("digits")


@pytest.fixture(scope="module")
def points():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3000, 2, generator=g) * torch.tensor([1.0, 5.0])
    domain = Domain("points", (2,), Real((0.0, 0.0), (1.0, 5.0)))
    return DataSet("points", domain, Split(x[:2000]), Split(x[2000:]))


def test_psnr_is_of_each_image_and_ends_at_a_hundred():
    x = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    y = torch.stack([torch.full((1, 2, 2), 2, dtype=torch.uint8), x[0]])
    assert reconstruction.psnr(x, y, 20).tolist() == pytest.approx([20, 100])


def round_trip(model, data, n=2000):
    return judge(model, data, n=n, session=Session(), only={"round_trip"}).metrics["round_trip"]


def test_a_round_trip_is_a_share_of_the_range(digits):
    middle = replace(digits, test=Split(digits.test.x.clamp(0, 14)))
    errors = {off: round_trip(Coding(digits.domain, off), middle) for off in (0.0, 2.0)}
    assert errors[0.0].value == 0
    assert errors[2.0].value == pytest.approx(2 / 16)
    assert errors[2.0].baselines["mean"] > 0.2
    assert (errors[2.0].n, errors[2.0].better) == (128, "lower")
    assert "range" in errors[2.0].protocol


def test_a_round_trip_of_points_is_a_share_of_each_columns_spread(points):
    score = round_trip(Coding(points.domain, 0.5), points)
    columns = [0.5 / 1.0, 0.5 / 5.0]
    assert score.value == pytest.approx(math.sqrt(sum(c**2 for c in columns) / 2), rel=0.05)
    assert score.baselines["mean"] == pytest.approx(1, abs=0.15)
    assert "deviation" in score.unit


def test_a_way_of_many_steps_takes_fewer_examples(digits):
    model = Slow(digits.domain).train()
    assert round_trip(model, digits).n == model.rows_encoded == 32
    assert model.training


def test_the_first_stage_stands_beside_the_samples(digits):
    names = {"fd", "reconstruction_psnr", "round_trip"}
    errors = judge(Staged(digits.domain), digits, n=300, session=Session(), only=names)
    fd = errors.metrics["fd"]
    assert fd.baselines["reconstruction"] < 0.1 * fd.value
    assert {"mean", "noise"} < set(fd.baselines)
    assert errors.metrics["reconstruction_psnr"].value == 100
    assert errors.metrics["round_trip"].value == 0
    worse = judge(Staged(digits.domain, 4.0), digits, n=300, session=Session(), only=names).metrics
    assert worse["fd"].baselines["reconstruction"] > 2 * fd.baselines["reconstruction"]
    psnr = worse["reconstruction_psnr"]
    assert 10 < psnr.value < 15
    assert psnr.low < psnr.value < psnr.high
    assert psnr.baselines["mean"] == pytest.approx(10, abs=5)


def test_too_few_for_a_distance_leaves_the_baseline_out(digits):
    few_digits = replace(digits, test=Split(digits.test.x[:200]))
    errors = judge(
        Staged(digits.domain), few_digits, n=9, session=Session(), extractor="classifier-digits/4",
        only={"fd", "reconstruction_psnr"},
    )  # fmt: skip
    assert "reconstruction" in errors.metrics["fd"].baselines
    assert errors.metrics["reconstruction_psnr"].n == 9
    errors = judge(
        Staged(digits.domain), few_digits, n=7, session=Session(), extractor="classifier-digits/4",
        only={"fd", "reconstruction_psnr"},
    )  # fmt: skip
    assert "too few for a Fréchet distance" in errors.skipped["fd"]
    assert "reconstruction_psnr" in errors.metrics


def test_reasons_are_given(digits):
    def lacking(model):
        return {m.name for m in reconstruction.METRICS if not m.needs.has(model)}

    assert lacking(Plain()) == {"reconstruction_psnr", "round_trip"}
    assert lacking(Coding(digits.domain)) == {"reconstruction_psnr"}
    assert lacking(Staged(digits.domain)) == set()
    assert isinstance(Staged(digits.domain), Reconstructing)
    assert isinstance(Staged(digits.domain), Coded)
