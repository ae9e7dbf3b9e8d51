"""Metrics of tables: what they say of rows that are right, of shuffled ones, and of no table."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.session import Session
from trilemma.data import table
from trilemma.data.sources import load
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import feature_reference
from trilemma.metrics.judge import judge_samples

DETECTION = ("detection_logistic", "detection_trees")
NAMES = ("column_shapes", "pair_trends", "rules", "utility", *DETECTION)
N = 300


def columns():
    """A category that a number gives away, its double, and a number that is sometimes missing."""
    g = torch.Generator().manual_seed(0)
    kind = torch.randint(3, (1500,), generator=g)
    size = 2.0 * kind + 0.5 * torch.randn(1500, generator=g)
    age = (20 + 10 * kind + torch.randint(9, (1500,), generator=g)).double()
    age[torch.rand(1500, generator=g) < 0.2] = torch.nan
    return {
        "kind": ["abc"[i] for i in kind.tolist()],
        "size": size.numpy(),
        "double": (2 * size).numpy(),
        "age": age.numpy(),
    }


DATA = table.of_arrays("people", columns())
REFERENCE = feature_reference(DATA, extractor("coordinates", DATA), n=N, session=Session())


def measured(x):
    return judge_samples(x, REFERENCE, session=Session(), only=set(NAMES)).metrics


def shuffled():
    rows = torch.stack([torch.randperm(N, generator=torch.Generator().manual_seed(i)) for i in
                        (0, 1, 2, 3, 3)], 1)  # fmt: skip
    return DATA.train.x[:N].gather(0, rows)


@pytest.fixture(scope="module")
def right():
    return measured(DATA.train.x[-N:])


@pytest.fixture(scope="module")
def independent():
    return measured(shuffled())


def test_rows_of_the_data_score_as_the_floor(right):
    assert set(right) == set(NAMES)
    for name, score in right.items():
        assert score.value == pytest.approx(score.floor, abs=0.12), name
        assert set(score.baselines) >= {"independent", "mixture", "normal"}, name
    assert right["rules"].value == 1
    assert right["detection_logistic"].value > 0.85


def test_independent_columns_are_alike_one_by_one_and_nothing_else(right, independent):
    assert independent["column_shapes"].value > right["column_shapes"].value - 0.05
    assert independent["detection_logistic"].value > 0.85, "a straight line sees means alone"
    for name in ("pair_trends", "rules", "utility", "detection_trees"):
        assert independent[name].value < right[name].value - 0.1, name


def test_the_protocol_names_what_is_wrong(independent):
    assert "double" in independent["rules"].protocol
    assert "real rows" in independent["utility"].protocol
    assert "least alike" in independent["pair_trends"].protocol


def test_a_shallow_mixture_is_between_independent_columns_and_the_data(right):
    for name in ("pair_trends", "utility"):
        baselines = right[name].baselines
        assert baselines["independent"] < baselines["mixture"] < right[name].floor, name


def test_points_without_names_are_no_table():
    data = load("two-moons")
    reference = feature_reference(data, extractor("coordinates", data), n=N, session=Session())
    skipped = judge_samples(
        data.train.x[:N], reference, session=Session(), only={"rules", "utility"}
    ).skipped
    assert all("the data are no table" in reason for reason in skipped.values())
    assert set(skipped) == {"rules", "utility"}
