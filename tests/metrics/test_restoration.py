"""PSNR, SSIM, consistency and colour shift of enlarged images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet, Split
from trilemma.maths.resize import enlarged, reduced
from trilemma.metrics import restoration as restoration_module
from trilemma.metrics.restoration import METRICS, Enlarged, bicubic, compared, enlarge, restored


def restoration(model, data, *, n, seed, **settings):
    """Return the scores of a model, and what it enlarged."""
    it = enlarge(model, data, n=n, session=Session(seed=seed, **settings))
    baselines = {"bicubic": bicubic(it.small, model.scale, it.top)}
    return compared(it, model.shrink, seed=seed, baselines=baselines), it.large


class Enlarger(nn.Module):
    """Bicubic, with a tint and with noise of its rows."""

    scale = 4

    def __init__(self, tint=0.0, noise=0.0):
        super().__init__()
        self.tint, self.noise = nn.Parameter(torch.tensor(tint)), noise
        self.inner = nn.Identity()

    def shrink(self, x):
        return reduced(x.float(), 4).round().clamp(0, 255).to(torch.uint8)

    def restore(self, small, *, noise=None):
        assert not self.training
        large = self.inner(enlarged(small.float(), 4)) + self.tint
        large = large + self.noise * noise.normal(*large.shape[1:])
        return large.round().clamp(0, 255).to(torch.uint8)


def data(n=20, side=16):
    torch.manual_seed(0)
    x = enlarged(torch.rand(n, 3, side // 4, side // 4) * 150 + 40, 4)
    x = (x + 4 * torch.randn(x.shape)).round().clamp(0, 255).to(torch.uint8)
    domain = Domain("image", (3, side, side), Levels(256))
    return DataSet("photos", domain, Split(x), Split(x))


def test_bicubic_scores_what_its_baseline_scores():
    scores, large = restoration(Enlarger(), data(), n=12, seed=0)
    assert set(scores) == {metric.name for metric in METRICS}
    assert large.shape == (12, 3, 16, 16)
    for name, score in scores.items():
        assert score.value == pytest.approx(score.baselines["bicubic"], rel=1e-3, abs=1e-3), name
        assert score.n == 12
        assert score.low <= score.value <= score.high
        assert score.protocol.startswith("12 test images of 16x16")


def test_a_tint_is_a_colour_shift_and_no_consistency():
    plain, _ = restoration(Enlarger(), data(), n=12, seed=0)
    tinted, _ = restoration(Enlarger(tint=20.0), data(), n=12, seed=0)
    assert tinted["colour_shift"].value == pytest.approx(20, abs=1)
    assert tinted["consistency"].value < 25 < plain["consistency"].value
    assert tinted["psnr"].value < plain["psnr"].value
    assert tinted["ssim"].value < plain["ssim"].value


def test_psnr_and_its_highest_value():
    x = torch.full((3, 1, 16, 16), 100, dtype=torch.uint8)
    y = x.clone()
    y[0] += 10
    shrink = Enlarger().shrink
    scores = compared(Enlarged(y, x, shrink(x), 255), shrink, seed=0, baselines={"same": x})
    off = 20 * math.log10(255 / 10)
    assert scores["psnr"].value == pytest.approx((off + 200) / 3, rel=1e-5)
    assert scores["psnr"].baselines["same"] == 100
    assert scores["consistency"].value == pytest.approx((off + 200) / 3, rel=1e-5)
    assert scores["colour_shift"].value == pytest.approx(10 / 3)
    assert scores["ssim"].baselines["same"] == pytest.approx(1)


@pytest.mark.parametrize("side", [8, 12])
def test_ssim_of_small_images_is_a_number(side):
    small = data(4, side)
    scores, _ = restoration(Enlarger(noise=5), small, n=4, seed=0)
    assert -1 <= scores["ssim"].value < 1
    one, _ = restoration(Enlarger(), data(1, side), n=1, seed=0)
    assert math.isfinite(one["ssim"].value)


def test_image_i_depends_on_its_index_alone_and_modes_are_left():
    model, x = Enlarger(noise=9), data(90).test.x
    model.train()
    small = model.shrink(x)
    progress = []
    many = restored(
        model,
        small,
        session=Session(seed=1, progress=lambda *arguments: progress.append(arguments)),
    )
    assert torch.equal(many[:5], restored(model, small[:5], session=Session(seed=1)))
    assert not torch.equal(many, restored(model, small, session=Session(seed=2)))
    assert progress == [("restored", 64, 90), ("restored", 90, 90)]
    assert model.training


def test_a_check_may_stop_it():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restoration(Enlarger(), data(), n=4, seed=0, guard=stop)


def test_other_models_and_other_data_are_told_why():
    for metric in METRICS:
        assert not metric.needs.has(nn.Identity())
        assert metric.needs.has(Enlarger())
        assert (metric.better == "lower") == (metric.name == "colour_shift")
    empty = DataSet("none", data().domain, Split(torch.zeros(1)), Split(torch.zeros(0)))
    with pytest.raises(BadInput, match="no test images"):
        restoration(Enlarger(), empty, n=4, seed=0)
    real = DataSet("real", Domain("image", (3, 16, 16), Real()), data().train, data().test)
    with pytest.raises(BadInput, match="levels"):
        restoration(Enlarger(), real, n=4, seed=0)
    assert bicubic(torch.full((1, 1, 4, 4), 9, dtype=torch.uint8), 2, 16).unique().tolist() == [9]


@pytest.mark.parametrize("side", [16, 9, 4])
def test_ssim_is_that_of_the_windows_inside_the_image(side):
    """Window by window, in numpy: 11 pixels with Gaussian weights, or a square of 7 or fewer."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2, 1, side, side))
    y = np.clip(x + rng.integers(-40, 40, x.shape), 0, 255)
    width = 11 if side >= 11 else min(7, side - 1 + side % 2)
    line = np.exp(-((np.arange(width) - width // 2) ** 2) / 4.5) if width == 11 else np.ones(width)
    weights = np.outer(line, line) / np.outer(line, line).sum()
    a, b = 2.55**2, 7.65**2
    expected = []
    for one, other in zip(x[:, 0], y[:, 0], strict=True):
        scores = []
        for i in range(side - width + 1):
            for j in range(side - width + 1):
                u = one[i : i + width, j : j + width].astype(float)
                v = other[i : i + width, j : j + width].astype(float)
                m, k = (weights * u).sum(), (weights * v).sum()
                var = (weights * (u - m) ** 2).sum() + (weights * (v - k) ** 2).sum()
                cov = (weights * (u - m) * (v - k)).sum()
                scores.append((2 * m * k + a) * (2 * cov + b) / ((m * m + k * k + a) * (var + b)))
        expected.append(np.mean(scores))
    ours = restoration_module._ssim(torch.tensor(x), torch.tensor(y), 255)
    assert ours.tolist() == pytest.approx(expected, abs=1e-9)
