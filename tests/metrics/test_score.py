"""Scores, intervals and what becomes of them in JSON."""

from __future__ import annotations

import json
import math
from dataclasses import replace

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


def test_json_is_read_as_it_was_written():
    score = Score(2.0, floor=1.0, unit="nats", n=3, baselines={"mean": 4.0}, by="exact").within(1)
    assert Score.from_json(json.loads(json.dumps(score.to_json()))) == score
    several = replace(score, spread=0.5, seeds=3, interval="over seeds")
    assert Score.from_json(several.to_json()) == several
    with pytest.raises(TypeError, match="is no number"):
        Score.from_json(score.to_json() | {"value": "many"})
    with pytest.raises(KeyError, match="baselines"):
        Score.from_json({k: v for k, v in score.to_json().items() if k != "baselines"})


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
