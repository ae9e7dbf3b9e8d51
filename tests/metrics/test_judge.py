"""The judge: what a model can answer, what it cannot and why, what it costs, whoever draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trilemma.core import sampling
from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput, Interrupted
from trilemma.core.model import Model
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet, Split
from trilemma.data.sources import load
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import feature_reference
from trilemma.metrics.judge import calls, judge, judge_samples
from trilemma.metrics.metric import Metric
from trilemma.metrics.registry import metrics
from trilemma.metrics.restoration import bicubic
from trilemma.metrics.restoration import test_images as true_images
from trilemma.metrics.score import Score
from trilemma.metrics.table_encoding import TABLE
from trilemma.metrics.trivial_densities import baselines

ENLARGING = {"psnr", "ssim", "consistency", "colour_shift"}


def of_samples(kind):
    """Name the metrics of a kind of data that ask samples alone."""
    return {m.name for m in metrics() if kind in m.kinds and m.needs is None}


def points(test=1000):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 2, generator=g)
    return DataSet("points", Domain("points", (2,), Real()), Split(x), Split(x[:test] * -1))


class Gaussian(Model):
    """Draws N(shift, 1) in seven evaluations of its network."""

    def __init__(self, shift=0.0):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.shift = shift

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        x = noise.normal(2)
        for _ in range(7):
            self.network(x)
        return x + self.shift

    def log_prob(self, x, *, condition=None):
        return -(x.square().sum(1) / 2) - math.log(2 * math.pi)


class Copying(Gaussian):
    def __init__(self, data):
        super().__init__()
        self.data = data

    def sample(self, n, *, condition=None, noise=None):
        return self.data.train.x[noise.integers(len(self.data.train))]


@pytest.fixture(scope="module")
def data():
    return points()


@pytest.fixture(scope="module")
def right(data):
    return judge(Gaussian(), data, n=700, session=Session())


def test_answers_everything_that_it_can(right):
    modes = {"modes", "good_share", "mode_kl"}
    of_tables = {metric.name for metric in metrics() if metric.section == TABLE}
    assert {"detection_trees", "utility"} < of_tables
    assert set(right.metrics) == of_samples("points") - modes - of_tables | {"log_prob"}
    likely = {"bound", "importance_bound", "ode_log_prob", "bits_per_dim", "kl_to_truth"}
    assert set(right.skipped) == modes | of_tables | {"round_trip", "active_units"} | likely
    assert right.samples.shape == (700, 2)
    assert right.neighbours.shape == (16, 2)


def test_where_the_seconds_went_is_told(right):
    assert set(right.seconds) == {"samples", *right.metrics, *right.skipped}
    assert min(right.seconds.values()) >= 0


def test_a_perfect_model_is_near_the_floor_and_far_from_the_baselines(right):
    for name in ("fd", "kd"):
        score = right.metrics[name]
        assert score.value < 0.1
        assert abs(score.floor) < 0.1
        # A Gaussian of the training moments is right here.
        assert score.baselines["normal"] < 0.1
        wrong = [score.baselines[name] for name in ("mean", "noise")]
        assert min(wrong) > 10 * max(score.value, 0.02)
        assert score.low <= score.value <= score.high
    for name in ("precision", "recall", "coverage"):
        assert right.metrics[name].value > 0.8
        assert right.metrics[name].floor > 0.8
    assert right.metrics["recall"].baselines["mean"] == 0
    assert right.metrics["nearest_train_ratio"].value == pytest.approx(1, abs=0.2)
    assert right.metrics["nearest_train_ratio"].floor == pytest.approx(1, abs=0.2)
    assert right.metrics["log_prob"].value == pytest.approx(-2.84, abs=0.1)


def test_a_shifted_model_is_worse(data, right):
    shifted = judge(Gaussian(2.0), data, n=700, session=Session())
    assert shifted.metrics["fd"].low > 4
    assert shifted.metrics["fd"].low > right.metrics["fd"].high
    assert shifted.metrics["kd"].low > right.metrics["kd"].high
    assert shifted.metrics["precision"].high < right.metrics["precision"].low


def test_a_copying_model_is_found_out(data):
    copied = judge(Copying(data), data, n=300, session=Session())
    assert copied.metrics["nearest_train_ratio"].high < 0.1
    torch.testing.assert_close(copied.neighbours, copied.samples[:16])


def test_cost(right):
    assert right.cost.network_calls_each == 7
    assert right.cost.sample_seconds_each > 0
    assert right.cost.parameters == 12
    assert right.cost.peak_memory_bytes > 1e7


def test_protocols_name_features_and_seed(right):
    protocol = right.metrics["fd"].protocol
    assert "classifier" not in protocol
    assert "coordinates (2 features)" in protocol
    assert "seed 0" in protocol


def test_a_metric_that_fails_costs_its_own_cell(data, right, monkeypatch):
    def broken(context):
        raise ZeroDivisionError("by zero")

    extra = Metric(
        name="extra", label="extra", meaning="", failure="", better="lower", measure=broken
    )
    monkeypatch.setattr("trilemma.metrics.judge.metrics", lambda: (*metrics(), extra))
    evaluation = judge(Gaussian(), data, n=700, session=Session())
    assert evaluation.skipped["extra"] == "extra failed: ZeroDivisionError: by zero"
    assert evaluation.metrics == right.metrics
    # Of several processes the others would wait for ever.
    with pytest.raises(ZeroDivisionError):
        judge(Gaussian(), data, n=2, session=Session(world=Rank(0, 2, {})), only={"extra"})


def test_what_is_declared_stands_in_the_score(data, monkeypatch):
    extra = Metric(
        name="extra",
        label="extra",
        meaning="",
        failure="",
        better="higher",
        unit="share",
        most=1.0,
        measure=lambda context: Score(0.9).with_interval(0.1),
    )
    monkeypatch.setattr("trilemma.metrics.judge.metrics", lambda: (extra,))
    score = judge(Gaussian(), data, n=9, session=Session()).metrics["extra"]
    assert (score.unit, score.better, score.high) == ("share", "higher", 1.0)
    assert score.low == pytest.approx(0.9 - 0.196)


def test_only_what_is_wanted_is_measured(data):
    evaluation = judge(Gaussian(), data, n=50, session=Session(), only={"fd", "bound"})
    assert set(evaluation.metrics) == {"fd"}
    assert set(evaluation.skipped) == {"bound"}


def test_same_seed_same_numbers(data, right):
    repeated = judge(Gaussian(), data, n=700, session=Session())
    assert {k: s.to_json() for k, s in repeated.metrics.items()} == {
        k: s.to_json() for k, s in right.metrics.items()
    }


def test_reference_may_be_shared_and_draws_be_given(data, right):
    model, ranges = Gaussian(), []

    def draw(start, stop):
        ranges.append((start, stop))
        return sampling.draw(model, stop - start, seed=0, start=start)

    reference = feature_reference(data, extractor(None, data), n=700, session=Session())
    evaluation = judge(model, data, n=700, session=Session(), reference=reference, draw=draw)
    assert ranges == [(0, 256), (256, 512), (512, 700)]
    assert evaluation.metrics == right.metrics


class Rank:
    """One of three processes, which run in turn; what each computes is kept by call and rank."""

    device = torch.device("cpu")

    def __init__(self, rank, size, shared):
        self.rank, self.size, self.shared, self.calls = rank, size, shared, 0

    def span(self, n):
        return range(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def gather(self, rows, n):
        assert len(rows) == len(self.span(n))
        parts = self.shared.setdefault(self.calls, {})
        parts[self.rank] = rows
        self.calls += 1
        absent = rows.new_zeros(n, *rows.shape[1:])
        spans = [Rank(r, self.size, None).span(n) for r in range(self.size)]
        return torch.cat([parts.get(r, absent[: len(s)]) for r, s in enumerate(spans)])


@pytest.mark.parametrize("n", [2, 40, 700])
def test_shared_among_processes_it_says_the_same(data, n):
    alone, stored = judge(Gaussian(), data, n=n, session=Session()), {}
    reference = feature_reference(data, extractor(None, data), n=n, session=Session())
    for rank in range(3):
        world = Rank(rank, 3, stored)
        shared = judge(Gaussian(), data, n=n, session=Session(world=world), reference=reference)
    # The last process has seen what all of them computed.
    torch.testing.assert_close(shared.samples, alone.samples)
    for name, score in alone.metrics.items():
        assert shared.metrics[name].value == pytest.approx(score.value, rel=1e-5), name


def test_stops_between_chunks(data):
    stop_checks = []

    def check():
        stop_checks.append(1)
        if len(stop_checks) == 3:
            raise Interrupted(15, "stopped")

    reference = feature_reference(data, extractor(None, data), n=9, session=Session())
    with pytest.raises(Interrupted):
        judge(Gaussian(), data, n=2000, session=Session(guard=check), reference=reference)
    assert len(stop_checks) == 3


def test_progress_is_told(data):
    progress = []
    judge(Gaussian(), data, n=300, session=Session(progress=lambda *what: progress.append(what)))
    assert ("samples", 256, 300) in progress
    assert ("samples", 300, 300) in progress
    assert ("log_prob", 300, 300) in progress
    assert any(what.startswith("features of") for what, _, _ in progress)


def test_too_few_samples_are_said_with_the_number_that_would_do():
    evaluation = judge(Gaussian(), points(), n=3, session=Session())
    assert "take at least 4" in evaluation.skipped["fd"]
    assert "at least 6" in evaluation.skipped["precision"]
    assert "nearest_train_ratio" in evaluation.metrics


class Enlarging(Model):
    """Gives each pixel four times, with or without a fault in every image."""

    scale = 2

    def __init__(self, domain, fault=0):
        super().__init__()
        self.domain, self.fault = domain, fault
        self.network = nn.Linear(1, 1)

    def objectives(self):
        return []

    def shrink(self, x):
        return x[..., ::2, ::2]

    def restore(self, small, *, noise=None):
        large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return torch.where(large > 8, large - self.fault, large)

    def sample(self, n, *, condition=None, noise=None):
        self.network(torch.zeros(n, 1))
        return torch.zeros(n, *self.domain.shape, dtype=torch.uint8)


def test_a_model_that_enlarges_is_measured_by_what_it_restored():
    data = load("digits")
    reference = feature_reference(data, extractor(None, data), n=300, session=Session())
    good, poor = (
        judge(Enlarging(data.domain, fault), data, n=300, session=Session(), reference=reference)
        for fault in (0, 6)
    )
    assert set(good.metrics) >= ENLARGING
    assert not ENLARGING & set(good.skipped)
    assert good.samples.shape == (300, 1, 8, 8)
    assert good.samples.any()
    assert good.metrics["fd"].value < poor.metrics["fd"].value
    assert good.metrics["consistency"].value == 100 > poor.metrics["consistency"].value
    assert good.cost.network_calls_each == 1
    assert good.metrics["fd"].n == 300
    true = true_images(data, 300, 0)
    bicubic_scores = judge_samples(
        bicubic(true[..., ::2, ::2], 2, 16), reference, session=Session(), only=("fd",)
    )
    for evaluation in (good, poor):
        assert evaluation.metrics["fd"].baselines["bicubic"] == bicubic_scores.metrics["fd"].value
        assert evaluation.metrics["discrepancy"].baselines["bicubic"] > 0.1


class Streaming(Gaussian):
    """Knows a bound and a likelihood by an ODE of at most 256 examples."""

    log_prob = None

    def bound(self, x, *, condition=None, noise=None):
        return -x.flatten(1).float().square().sum(1)

    def ode_log_prob(self, x, *, condition=None, noise=None):
        self.rows_integrated = getattr(self, "rows_integrated", 0) + len(x)
        return 1 - x.flatten(1).float().square().sum(1)


def test_a_likelihood_by_an_ode_stands_beside_the_bound(data, right):
    model = Streaming()
    evaluation = judge(model, data, n=700, session=Session())
    bound, flow = evaluation.metrics["bound"], evaluation.metrics["ode_log_prob"]
    assert (bound.by, bound.n) == ("variational bound", 700)
    assert (flow.by, flow.n) == ("ODE estimate, Hutchinson", 256)
    assert model.rows_integrated == 256


def test_samples_that_are_no_numbers_are_said(data):
    evaluation = judge(Gaussian(math.nan), data, n=20, session=Session())
    # What the model knows of examples needs no samples.
    assert of_samples("points") - {"membership_auc"} <= set(evaluation.skipped)
    assert not len(evaluation.neighbours)
    assert evaluation.skipped["fd"] == "20 of 20 samples are not finite numbers"
    assert "log_prob" in evaluation.metrics


def test_bad_input(data):
    with pytest.raises(BadInput, match="0 samples"):
        judge(Gaussian(), data, n=0, session=Session())
    empty = DataSet("x", data.domain, data.train, Split(torch.empty(0, 2)))
    with pytest.raises(BadInput, match="no test examples"):
        judge(Gaussian(), empty, n=10, session=Session())


def test_digits_floor_and_baselines():
    data = load("digits")
    reference = feature_reference(data, extractor(None, data), n=500, session=Session())
    assert reference.count == 500
    fd = judge_samples(data.train.x[:500], reference, session=Session(), only={"fd"}).metrics["fd"]
    assert fd.floor * 20 < min(fd.baselines.values())
    assert baselines(data)["uniform"] == pytest.approx(-64 * math.log(17))


class TestCalls:
    def test_counts_the_network_within_a_part(self):
        inner = Gaussian()
        outer = nn.ModuleDict({"stage": inner})
        with calls(outer) as rows:
            sampling.draw(inner, 10, seed=0)
        assert dict(rows) == {"stage.network": 70}

    def test_hooks_are_removed_also_after_an_error(self):
        model = Gaussian()
        with pytest.raises(RuntimeError), calls(model) as rows:
            model.network(torch.zeros(1, 5))
        with calls(model) as rows:
            model.network(torch.zeros(4, 2))
        assert dict(rows) == {"network": 4}
        assert not model.network._forward_hooks
        assert not model.network._forward_pre_hooks
