"""The discrepancy: what it sees, what it leaves alone, and that no held-out row has a say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trilemma.core.columns import Column, Columns
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet, Split
from trilemma.data.sources import load
from trilemma.metrics import discrepancy, held_out
from trilemma.metrics.context import Context
from trilemma.metrics.discrepancy import graph_features
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import feature_reference
from trilemma.metrics.graph_statistics import statistics
from trilemma.metrics.graphs import graph_reference
from trilemma.metrics.held_out import FOLDS, WIDE, bound_chance, dealt, narrowed, planted
from trilemma.metrics.judge import answer, judge_samples
from trilemma.metrics.metric import KINDS, QUALITY
from trilemma.metrics.registry import metrics, ranking, variants
from trilemma.metrics.trivial_graphs import erdos_renyi

pytestmark = pytest.mark.all_classifiers

BOTH = {"discrepancy", "discrepancy_distance"}


def normal(n, d=2, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def points(train, test, values=None):
    domain = Domain("points", train.shape[1:], values or Real())
    return DataSet("points", domain, Split(train), Split(test))


def bits(x, y, *, seed=0, groups=None):
    groups = torch.arange(len(x) + len(y)) if groups is None else groups
    return held_out.held_out(x, y, groups, seed=seed).bits


def alike(x, y):
    return torch.cat([x, y]).unique(dim=0, return_inverse=True)[1]


@pytest.fixture(scope="module")
def reference():
    data = points(normal(120, seed=1), normal(100, seed=2))
    return feature_reference(data, extractor("coordinates", data), n=100, session=Session())


def measured(x, reference):
    values = judge_samples(x, reference, session=Session(), only=BOTH)
    assert not values.skipped, values.skipped
    return values.metrics["discrepancy"]


# The bound


def test_equal_sets_are_not_told_apart_in_the_mean():
    values = [bits(normal(60, seed=i), normal(60, seed=100 + i), seed=i) for i in range(8)]
    assert np.mean(values) < 0.01
    assert np.mean(np.maximum(values, 0)) < 0.02


def test_far_sets_are_told_apart_by_all_but_what_the_calibration_keeps_back():
    values = bits(normal(100) + 50, normal(100, seed=1))
    assert 0.97 < values < 1


def test_a_planted_share_is_on_the_curve():
    x = normal(300)
    x[:90] += 20
    values = bits(x, normal(300, seed=1))
    assert values == pytest.approx(planted(0.3), abs=0.02)
    assert values < planted(0.3) + 0.005


def test_what_a_fold_holds_has_no_say_in_its_own_probabilities():
    x = torch.cat([normal(80) + 1, normal(80, seed=1)]).double().numpy()
    labels = np.repeat([1, 0], 80)
    fold = dealt(np.arange(160), labels, 0)
    other = np.where(fold == 2, 1 - labels, labels)
    one, two = (held_out._by_folds(x, each, fold)[0] for each in (labels, other))
    assert np.array_equal(one[fold == 2], two[fold == 2])
    assert not np.array_equal(one[fold != 2], two[fold != 2])


def test_what_a_row_looks_like_has_no_say_in_the_probabilities_of_its_fold():
    x = torch.cat([normal(80) + 1, normal(80, seed=1)]).double().numpy()
    labels = np.repeat([1, 0], 80)
    fold = dealt(np.arange(160), labels, 0)
    moved = x.copy()
    first, *rest = np.flatnonzero(fold == 2)
    moved[first] = 99.0
    one, two = (held_out._by_folds(each, labels, fold)[0] for each in (x, moved))
    assert np.array_equal(one[rest], two[rest])


def test_sides_count_alike_whatever_their_numbers():
    values = [bits(normal(300, seed=i), normal(60, seed=50 + i), seed=i) for i in range(4)]
    assert np.mean(values) < 0.02
    assert bits(normal(300) + 50, normal(60, seed=1)) > 0.95


def test_the_choice_is_not_by_what_is_held_out(monkeypatch):
    """The best of many that guess, taken on the held-out rows, would seem to know."""

    def guessing(number):
        def fit(x, labels, weights):
            draw = np.random.default_rng([number, len(x)])
            by = draw.normal(size=x.shape[1])
            return lambda x: 3 * np.sin(9 * x @ by)

        return fit

    monkeypatch.setattr(held_out, "CLASSIFIERS", {str(i): guessing(i) for i in range(30)})
    values = [bits(normal(60, 5, i), normal(60, 5, 90 + i), seed=i) for i in range(6)]
    assert np.mean(values) < 0.005


def test_rows_that_stand_there_again_are_not_learned_by_heart():
    x, y = normal(24).repeat(FOLDS, 1), normal(120, seed=1)
    together = [bits(x, y, seed=i, groups=alike(x, y)) for i in range(3)]
    apart = [bits(x, y, seed=i) for i in range(3)]
    assert np.mean(together) < 0.03
    assert np.mean(apart) > np.mean(together) + 0.05


def test_the_same_seed_gives_the_same_bits():
    x, y = normal(80) + 0.5, normal(80, seed=1)
    one, two, other = (held_out.held_out(x, y, torch.arange(160), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.on_samples, two.on_samples)
    assert one.chosen == two.chosen
    assert not torch.equal(one.on_samples, other.on_samples)


@pytest.mark.slow
def test_threads_change_nothing(monkeypatch):
    monkeypatch.setattr(held_out, "THREADED", 1)
    x, y = normal(80) + 0.5, normal(80, seed=1)
    before = torch.get_num_threads()
    values = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            values.append(held_out.held_out(x, y, torch.arange(160), seed=3))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(values[0].on_samples, values[1].on_samples)


def test_many_features_are_seen_as_few_and_the_rest():
    x = normal(90, 200).double().numpy()
    train_side, directions = narrowed(x[:60], x[60:])
    assert train_side.shape == (60, WIDE + 1)
    norms = np.linalg.norm(x[60:] - x[:60].mean(0), axis=1)
    assert np.linalg.norm(directions, axis=1) == pytest.approx(norms, rel=1e-4)
    far = normal(60, 200) + 3
    assert bits(far, normal(60, 200, 1)) > 0.9


def test_classifiers_that_err_are_calibrated():
    """A fit that is far too sure of noise costs nothing: its odds are shrunk."""
    draw = np.random.default_rng(0)
    odds, labels = draw.normal(0, 10, 400), np.repeat([1, 0], 200)
    for calibrate in held_out.CALIBRATIONS.values():
        d = calibrate(odds, labels, np.ones(400))(draw.normal(0, 10, 1000))
        assert d.min() > 0
        assert d.max() < 1
        assert -np.log2(np.where(np.arange(1000) % 2, d, 1 - d)).mean() < 1.05


@pytest.mark.slow
def test_the_interval_holds_its_mean():
    coverage_by_case = {"equal": [], "moved": []}
    for name, by in (("equal", 0.0), ("moved", 1.0)):
        bits_found = []
        for i in range(60):
            x, y = normal(100, seed=2 * i) + by, normal(100, seed=2 * i + 1)
            it = held_out.held_out(x, y, torch.arange(200), seed=i)
            value = max(it.bits, 0.0)
            down, up = bound_chance(it).reach()
            bits_found.append((value, it.bits - down, value + up))
        values, low, high = np.array(bits_found).T
        coverage_by_case[name] = ((low <= values.mean()) & (values.mean() <= high)).mean()
    assert min(coverage_by_case.values()) >= 0.88


# The metric


def test_samples_of_the_data_are_near_the_floor_and_what_is_none_is_far(reference):
    score = measured(normal(100, seed=3), reference)
    assert score.value < 0.05
    assert score.floor < 0.05
    assert set(score.baselines) == {"mean", "noise", "normal"}
    assert score.baselines["mean"] > 0.9
    assert score.low <= score.value <= score.high
    assert score.n == 100
    assert "lower bound on the Jensen–Shannon divergence" in score.protocol


def test_a_single_repeated_example_is_seen(reference):
    x = reference.data.test.x[:1].expand(100, -1)
    score = measured(x, reference)
    assert score.value > 0.85
    assert score.low > 0.6


def test_a_few_repeated_examples_are_seen(reference):
    x = reference.data.train.x[:5].repeat_interleave(20, 0)
    assert measured(x, reference).low > 0.4


def test_a_dropped_mode_is_seen():
    ring = load("eight-gaussians")
    data = DataSet("ring", ring.domain, Split(ring.train.x[:400]), Split(ring.test.x[:300]))
    reference = feature_reference(data, extractor("coordinates", data), n=300, session=Session())
    x = ring.train.x[400:1000]
    norms = measured(x[:300], reference)
    half = measured(x[x[:, 0] > 0][:300], reference)
    assert half.low > norms.high
    assert half.value == pytest.approx(0.311, abs=0.1)  # half of the data has no sample
    blurred = measured(x[:300] + 0.6 * normal(300), reference)
    assert blurred.low > norms.high


def test_the_distance_is_the_root(reference):
    values = judge_samples(
        normal(100, seed=3) + 1, reference, session=Session(), only=BOTH
    ).metrics
    one, root = values["discrepancy"], values["discrepancy_distance"]
    for name in ("value", "low", "high", "floor"):
        assert getattr(root, name) == pytest.approx(getattr(one, name) ** 0.5)
    assert root.baselines["mean"] == pytest.approx(one.baselines["mean"] ** 0.5)
    assert root.protocol.startswith("root of discrepancy")


def test_the_samples_that_are_shown_are_those_that_are_none(reference):
    x = normal(100, seed=3)
    x[70:] += 9
    score = measured(x, reference)
    assert len(score.exhibit.samples) == 10
    assert min(score.exhibit.samples) >= 70
    assert "10 samples" in score.exhibit.sentence
    assert measured(reference.data.train.x[:100], reference).exhibit is None


def test_rows_that_are_shown_are_rows_of_all_samples(monkeypatch):
    monkeypatch.setattr(discrepancy, "CAP", 60)
    data = points(normal(200, seed=1), normal(100, seed=2))
    reference = feature_reference(data, extractor("coordinates", data), n=200, session=Session())
    x = normal(200, seed=3)
    x[150:] += 9
    score = measured(x, reference)
    assert score.n == 60
    assert "60 samples, of 200 drawn by the seed, against 60 test examples" in score.protocol
    assert set(score.exhibit.samples) <= set(range(150, 200))


def test_too_few_are_refused_in_a_sentence(reference):
    values = judge_samples(normal(30), reference, session=Session(), only=BOTH)
    assert not values.metrics
    assert values.skipped["discrepancy"].startswith("30 samples and 100 test examples are too few")


def test_categories_are_no_numbers():
    """The middle one of five is left out, which no straight line along their codes shows."""
    kinds = Columns(
        (Column("category", location=2.5, spread=1.4, count=5, categories=tuple("abcde")),)
    )
    draw = torch.Generator().manual_seed(0)
    codes = torch.randint(5, (500, 1), generator=draw).float()
    data = points(codes[:200], codes[200:400], kinds)
    reference = feature_reference(data, extractor("coordinates", data), n=200, session=Session())
    right = measured(codes[300:500], reference)
    wrong = measured(torch.where(codes[:200] == 2, 0.0, codes[:200]), reference)
    assert right.value < 0.03
    assert wrong.low > right.high
    assert wrong.value == pytest.approx(planted(0.2), abs=0.06)
    rows = reference.once(discrepancy.test_rows)
    assert rows.features.shape == (200, 5)
    assert torch.equal(rows.features.sum(1), torch.ones(200))


def test_a_table_of_one_kind_of_row_is_not_left_to_one_fold():
    values = Columns((Column("whole", location=0.5, spread=0.5, count=2),))
    ones = torch.ones(100, 1)
    data = points(ones, torch.cat([ones, 0 * ones]), values)
    reference = feature_reference(data, extractor("coordinates", data), n=100, session=Session())
    # Half of the data has no sample, and the rest is twice as probable: log2 of both by 3.
    assert measured(ones, reference).value == pytest.approx(0.311, abs=0.05)


def test_of_graphs():
    data = load("community-small")
    reference = graph_reference(data, n=50, session=Session())
    score = measured(data.train.x[-50:], reference)
    assert score.value < 0.1
    assert set(score.baselines) == {"erdos-renyi", "barabasi-albert"}
    assert score.baselines["erdos-renyi"] > 0.5
    assert "graph statistics" in score.protocol
    assert measured(erdos_renyi(data.train.x, 50, 1), reference).low > score.high


def test_graphs_of_any_number_of_nodes_have_as_many_features():
    draw = torch.zeros(4, 40, 40, dtype=torch.uint8)
    draw[:, :20, :20] = load("community-small").test.x[:4]
    wide = graph_features(statistics(draw))
    narrow = graph_features(statistics(draw[:, :20, :20]))
    assert wide.shape[1] == narrow.shape[1] + 1
    assert torch.allclose(wide[:, :16].sum(1), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(wide[:, -2:], narrow[:, -2:])
    one = graph_features(statistics(torch.zeros(1, 3, 3, dtype=torch.uint8)))
    assert one.isfinite().all()
    assert one.shape[1] == 16 + 10 + 15 + 20 + 2


def test_images_are_seen_in_features_and_known_by_their_pixels():
    digits = load("digits")
    data = DataSet("few", digits.domain, Split(digits.train.x[:60]), Split(digits.test.x[:60]))
    assert isinstance(data.domain.values, Levels)
    reference = feature_reference(
        data, extractor("classifier-digits", digits), n=60, session=Session()
    )
    upside_down = measured(digits.train.x[60:120].flip(2), reference)
    assert upside_down.low > 0.2
    assert upside_down.baselines["noise"] > 0.8


def test_what_does_not_hang_on_the_model_is_made_once(reference, monkeypatch):
    measured(normal(100, seed=4), reference)
    calls = []
    right = held_out.held_out
    monkeypatch.setattr(discrepancy, "held_out", lambda *a, **k: calls.append(1) or right(*a, **k))
    measured(normal(100, seed=5), reference)
    assert len(calls) == 1


def test_it_ranks_nothing_and_may_contradict_what_does():
    (values,) = (m for m in metrics() if m.name == "discrepancy")
    firsts = {
        next(m.name for m in metrics() if m.ranks == QUALITY and kind in m.kinds) for kind in KINDS
    }
    assert set(values.second_to) == firsts
    assert not values.ranks
    assert "discrepancy" not in ranking("quality")
    assert "discrepancy_distance" in variants()


def test_samples_that_are_no_numbers_are_refused(reference):
    x = normal(100)
    x[3] = torch.nan
    context = Context(samples=x, reference=reference, session=Session())
    one = next(m for m in metrics() if m.name == "discrepancy" and "points" in m.kinds)
    assert answer(one, context) == "1 of 100 samples are not finite numbers"
