"""Scores, intervals and what becomes of them in JSON."""

from __future__ import annotations

import json
import math

import pytest
import torch

from trilemma.metrics.score import Score, redrawn, resamples, spread


def test_json_has_the_documented_fields_and_no_nan():
    score = Score(2.0, floor=None, unit="nats", n=3, baselines={"uniform": -math.inf})
    plain = json.loads(json.dumps(score.to_json(), allow_nan=False))
    assert set(plain) == {
        "value", "low", "high", "unit", "better", "floor", "baselines", "n", "by", "protocol",
    }  # fmt: skip
    assert plain["value"] == 2.0
    assert plain["low"] is None
    assert plain["baselines"] == {"uniform": None}


def test_interval_stays_within_the_range():
    score = Score(0.95).within(0.1, least=0, most=1)
    assert score.low == pytest.approx(0.95 - 0.196)
    assert score.high == 1


def test_resamples_count_what_is_redrawn():
    rows, times = redrawn(30, seed=3, count=4), resamples(30, seed=3, count=4)
    for r, t in zip(rows, times, strict=True):
        assert torch.equal(t, torch.bincount(r, minlength=30).double())
    assert not torch.equal(resamples(30, seed=4, count=4), times)


def test_spread_is_the_standard_error_of_a_mean():
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    assert spread(values, seed=0) == pytest.approx(1 / math.sqrt(2000), rel=0.3)


def test_spread_of_a_median_is_wider():
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    wanted = math.sqrt(math.pi / 2) / math.sqrt(2000)
    assert spread(values, seed=0, median=True) == pytest.approx(wanted, rel=0.3)
