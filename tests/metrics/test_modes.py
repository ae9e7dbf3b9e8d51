"""Modes: counted on hand-made samples, divergence by hand, intervals, and where there are none."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.model import Model
from trilemma.core.session import Session
from trilemma.data.dataset import Centres, DataSet, Split
from trilemma.data.sources import load
from trilemma.data.toy import TOYS, points
from trilemma.metrics import modes as room
from trilemma.metrics.extractors import classifier, extractor
from trilemma.metrics.features import feature_reference
from trilemma.metrics.judge import judge
from trilemma.metrics.modes import (
    Modes,
    Sorted,
    Tally,
    good_share,
    kl_interval,
    mode_count,
    mode_kl,
    modes_of,
    reached,
    reached_interval,
    reverse_kl,
)
from trilemma.recipes.evaluate import default_samples

NAMES = [metric.name for metric in room.METRICS]
CACHE = Path.home() / ".cache"
needs_classifier = pytest.mark.skipif(
    not (CACHE / "trilemma" / "mnist.safetensors").is_file(), reason="MNIST is not here"
)


class Replaying(Model):
    """Draws given examples."""

    def __init__(self, x):
        super().__init__()
        self.x = x
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        return self.x[noise.integers(len(self.x))]


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def of_digits(digits):
    return feature_reference(digits, extractor(None, digits), n=500, session=Session())


@pytest.fixture(scope="module")
def ring():
    return points("eight-gaussians")


@pytest.fixture(scope="module")
def of_ring(ring):
    return feature_reference(ring, extractor(None, ring), n=2000, session=Session())


def modes_in(reference):
    """Return the modes that a reference counts."""
    return modes_of(
        reference.data, reference.extractor, rows=reference.test_rows, features=reference.test
    )


def tallied(x, reference):
    modes = modes_in(reference)
    return Sorted(x if isinstance(x, Tally) else modes.sort(x), modes)


class TestByClass:
    def test_training_examples_have_all_modes_and_one_digit_has_one(self, digits, of_digits):
        modes = modes_in(of_digits)
        full_tally = tallied(digits.train.x, of_digits)
        assert (reached(full_tally), modes.count) == (10, 10)
        assert mode_kl(full_tally) < 0.02
        threes = digits.train.x[digits.train.labels == 3][:50]
        alone = tallied(threes[:1].expand(50, -1, -1, -1), of_digits)
        assert reached(alone) == 1
        share = modes.expected[3].item()
        assert mode_kl(alone) == pytest.approx(-math.log(share))
        assert mode_kl(alone) == pytest.approx(math.log(10), abs=0.3)

    def test_floor_baselines_interval_and_protocol(self, digits, of_digits):
        scores = judge(
            Replaying(digits.train.x),
            digits,
            n=500,
            session=Session(),
            reference=of_digits,
            only=NAMES,
        )
        assert set(scores.metrics) >= {"modes", "mode_kl"}
        assert "no centre" in scores.skipped["good_share"]
        score = scores.metrics["modes"]
        assert (score.value, score.high, score.floor) == (10, 10, 10)
        assert score.low == pytest.approx(10, abs=1e-6)  # a mode of 50 samples is never lost
        assert score.baselines["mean"] == 1
        assert score.baselines["noise"] < 10
        for name in ("modes", "mode_kl"):
            words = scores.metrics[name].protocol
            assert "classifier-digits (sha256 a51d07f9, 99.47% right on 379 test exampl" in words
            assert "floor: 500 training examples" in words
        kl = scores.metrics["mode_kl"]
        assert 0 <= kl.low < kl.value < kl.high < 0.1 < min(kl.baselines.values())
        assert 0 < kl.floor < 0.05
        assert "counts plus 1/2" in kl.protocol
        assert score.unit == "of 10"

    def test_features_give_what_the_images_give(self, digits):
        feature_extractor = extractor(None, digits)
        modes = modes_of(digits, feature_extractor)
        x = digits.test.x[:100]
        assert torch.equal(modes.sort(x, feature_extractor(x)).which, modes.sort(x).which)
        assert modes.of_features is not None

    def test_another_extractor_leaves_the_counting_to_the_classifier(self, digits, of_digits):
        other = extractor("random-conv/16", digits)
        modes = modes_of(digits, other)
        assert modes.of_features is None
        x = digits.test.x[:100]
        expected = modes_in(of_digits).of(x)
        assert torch.equal(modes.sort(x, other(x)).which, expected)
        small = extractor("classifier-digits/16", digits)
        assert torch.equal(modes_of(digits, small).sort(x, small(x)).which, expected)
        torch.testing.assert_close(modes.expected, modes_in(of_digits).expected)

    def test_expected_shares_are_the_smoothed_histogram(self, digits):
        feature_extractor = extractor(None, digits)
        rows = torch.arange(40)
        counts = torch.bincount(feature_extractor.classify(digits.test.x[:40]), minlength=10)
        got = modes_of(
            digits, feature_extractor, rows=rows, features=feature_extractor(digits.test.x[:40])
        ).expected
        torch.testing.assert_close(got, (counts.double() + 0.5) / 45)


class TestGaussians:
    def test_exact_samples_are_good_as_often_as_the_formula_says(self, ring, of_ring):
        scores = judge(
            Replaying(ring.train.x),
            ring,
            n=2000,
            session=Session(seed=1),
            reference=of_ring,
            only=NAMES,
        ).metrics
        good = scores["good_share"]
        true = 1 - math.exp(-4.5)
        assert good.low < true < good.high
        assert good.high - good.low < 0.02
        assert good.floor == pytest.approx(true, abs=0.01)
        assert "true density has 98.89%" in good.protocol
        assert scores["modes"].value == scores["modes"].floor == 8
        assert scores["mode_kl"].value < 0.01
        assert scores["modes"].baselines == {"mean": 0, "noise": 8, "normal": 8}
        assert scores["good_share"].baselines["mean"] == 0
        assert scores["good_share"].baselines["noise"] < 0.5

    def test_only_good_samples_find_a_mode(self, of_ring):
        at, s = TOYS["eight-gaussians"].centres.at, TOYS["eight-gaussians"].centres.deviation
        x = at.clone()
        x[1, 0] += 2.99 * s
        x[2, 0] += 3.01 * s
        tally = modes_in(of_ring).sort(x)
        assert tally.which.tolist() == list(range(8))
        assert tally.good.tolist() == [True, True, False, *[True] * 5]
        scores = tallied(tally, of_ring)
        assert reached(scores) == 7
        assert good_share(scores) == 7 / 8
        assert mode_kl(scores) == pytest.approx(0, abs=1e-12)

    def test_a_collapsed_model(self, ring, of_ring):
        at = TOYS["eight-gaussians"].centres.at.float()
        scores = judge(
            Replaying(at[:1]), ring, n=300, session=Session(), reference=of_ring, only=NAMES
        ).metrics
        assert scores["modes"].value == 1
        assert scores["good_share"].value == scores["good_share"].high == 1
        assert 0.98 < scores["good_share"].low < 1
        assert scores["mode_kl"].value == pytest.approx(math.log(8))

    def test_all_twenty_five(self):
        data = points("twenty-five-gaussians")
        modes = modes_of(data, extractor(None, data))
        counts = modes.sort(data.train.x).counts(25)
        assert counts.sum() == pytest.approx(20_000 * (1 - math.exp(-4.5)), abs=5 * 15)
        assert counts.min() > 600
        assert reverse_kl(counts, modes.expected) < 0.01

    def test_in_one_dimension_the_share_is_that_of_three_deviations(self):
        x = torch.randn(100, 1)
        centres = Centres(torch.zeros(1, 1), 1.0)
        data = DataSet("x", Domain("points", (1,), Real()), Split(x), Split(x), centres=centres)
        true = modes_of(data, extractor(None, data)).true_good
        assert true == pytest.approx(math.erf(3 / math.sqrt(2)))


def scored(p, n, seed, test=0):
    """Sort n samples of modes with these shares, e even or counted on so many test examples."""
    draw = torch.Generator().manual_seed(seed)
    which = torch.multinomial(p, n, replacement=True, generator=draw)
    e = torch.full((len(p),), 1 / len(p), dtype=torch.float64)
    if test:
        test_counts = torch.multinomial(e, test, replacement=True, generator=draw)
        e = torch.bincount(test_counts, minlength=len(p)).double() + 0.5
    modes = Modes(len(p), lambda x: x, e / e.sum(), words="", shares="", counted=test)
    return Sorted(Tally(which), modes)


class TestNumbers:
    def test_reverse_divergence_by_hand(self):
        e = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
        expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.25)
        assert reverse_kl(torch.tensor([3, 0, 1]), e).item() == pytest.approx(expected)
        assert reverse_kl(torch.tensor([2, 1, 1]), e).item() == pytest.approx(0, abs=1e-15)
        assert reverse_kl(torch.tensor([[2, 1, 1], [4, 0, 0]]), e).shape == (2,)

    @pytest.mark.parametrize(
        ("shares", "n"),
        [
            (torch.cat([torch.ones(10), torch.full((990,), 5e-5)]), 2000),
            (torch.ones(300), 600),
            (torch.tensor([0.9, 0.04, 0.02, 0.01, 0.01, 0.01, 0.005, 0.005]), 200),
        ],
        ids=["most nearly lost", "even", "eight"],
    )
    def test_interval_of_the_count_holds_as_often_as_it_says(self, shares, n):
        """With n_k in the place of its mean the first is held in about 60 of 100."""
        p = shares.double() / shares.sum()
        mean = (1 - (1 - p) ** n).sum().item()
        covered = 0
        for seed in range(300):
            low, high = reached_interval(scored(p, n, seed))
            covered += low <= mean <= high
        assert 0.92 <= covered / 300 <= 0.985

    def test_what_was_never_found_may_be_lost_by_chance(self):
        even = torch.full((4,), 0.25, dtype=torch.float64)
        modes = Modes(4, lambda x: x, even, words="", shares="")
        tally = Tally(torch.tensor([0] * 50 + [1] * 50 + [2] * 50))
        low, high = reached_interval(Sorted(tally, modes))
        assert (low, high) == (pytest.approx(3), pytest.approx(3.95))

    @pytest.mark.parametrize("shares", [torch.ones(10), torch.arange(1, 11)], ids=["even", "not"])
    def test_interval_of_the_divergence_is_over_test_examples_too(self, shares):
        """With the shares held fixed it is held in 7 of 10 of even modes, and 4 of uneven."""
        p = shares.double() / shares.sum()
        intervals = [scored(p, 2000, seed, test=300) for seed in range(300)]
        mean = sum(mode_kl(it) for it in intervals) / 300
        covered = sum(low <= mean <= high for low, high in map(kl_interval, intervals)) / 300
        assert 0.92 <= covered <= 0.985

    def test_of_channels_each_has_its_test_examples(self):
        """The variance over test examples is the sum of the channels', by redrawing them."""
        draw = torch.Generator().manual_seed(0)
        g = torch.rand(1000, generator=draw).double() ** 4
        g = g / g.sum()
        one = torch.rand(3, 10, generator=draw).double() + 0.2
        one = one / one.sum(1, keepdim=True)
        e = torch.cartesian_prod(*one).prod(1)
        modes = Modes(1000, lambda x: x, e, words="", shares="", counted=400, channels=3)
        values = []
        for _ in range(1500):
            resampled = [torch.multinomial(c, 400, replacement=True, generator=draw) for c in one]
            intervals = [(torch.bincount(d, minlength=10).double()) / 400 for d in resampled]
            shares = torch.cartesian_prod(*intervals).prod(1)
            values.append(-(g * shares.clamp_min(1e-9).log()).sum())
        truth = torch.stack(values).var().item()
        assert room._over_test(g, modes)[0] / 400 == pytest.approx(truth, rel=0.15)

    def test_interval_of_the_divergence_narrows_with_samples(self, of_ring):
        which = torch.arange(8).repeat_interleave(torch.tensor([5, 1, 1, 1, 1, 1, 1, 1]))
        widths = []
        for times in (10, 1000):
            tally = Tally(which.repeat(times), torch.ones(12 * times, dtype=torch.bool))
            low, high = kl_interval(tallied(tally, of_ring))
            widths.append(high - low)
        assert widths[0] / widths[1] == pytest.approx(10, rel=0.5)


class TestWhereThereAreNone:
    def test_each_metric_has_its_reason(self):
        data = points("two-moons")
        assert mode_count(data) == 0
        scores = judge(Replaying(data.train.x), data, n=50, session=Session(), only=NAMES)
        assert not {metric.name for metric in room.METRICS} & set(scores.metrics)
        for name in ("modes", "good_share", "mode_kl"):
            assert "no modes to count" in scores.skipped[name]

    def test_samples_that_are_no_numbers_are_not_counted(self, ring, of_ring):
        model = Replaying(torch.full((1, 2), math.nan))
        scores = judge(model, ring, n=20, session=Session(), reference=of_ring)
        assert {metric.name for metric in room.METRICS} <= set(scores.skipped)
        assert "not finite" in scores.skipped["modes"]


def test_number_of_samples_grows_with_the_modes(digits, ring):
    assert default_samples(digits) == 2000
    assert default_samples(ring) == default_samples(points("two-moons")) == 5000
    assert default_samples(replace(digits, extractor="stacked-mnist")) == 26_000


def stacked_images(n):
    """Three random digits of 28 × 28 pixels each, and no data set behind them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (n, 3, 28, 28), generator=generator, dtype=torch.uint8)
    domain = Domain("image", (3, 28, 28), Levels(256))
    return DataSet("stacked", domain, Split(x), Split(x), extractor="stacked-mnist")


def test_a_triple_is_sorted_by_its_three_digits():
    data = stacked_images(60)
    feature_extractor = extractor("classifier-stacked-mnist/16", data)
    one = classifier("mnist", Domain("image", (1, 28, 28), Levels(256)))
    digit = torch.stack([one.classify(data.test.x[:, c : c + 1]) for c in range(3)])
    modes = modes_of(data, feature_extractor)
    assert torch.equal(modes.of(data.test.x), 100 * digit[0] + 10 * digit[1] + digit[2])
    assert modes.count == 1000
    parts = [(torch.bincount(d, minlength=10).double() + 0.5) / 65 for d in digit]
    assert modes.expected[357].item() == pytest.approx(
        (parts[0][3] * parts[1][5] * parts[2][7]).item()
    )
    assert modes.expected.sum().item() == pytest.approx(1)
    assert "99.58% right on a digit of the test split, so 98.75% on three" in modes.words


@needs_classifier
def test_stacked_mnist_has_a_thousand_modes(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
    data = load("stacked-mnist")
    feature_extractor = extractor(None, data)
    assert feature_extractor.dimension == 192
    modes = modes_of(data, feature_extractor, rows=torch.arange(1000))
    counts = modes.sort(data.train.x[:3000]).counts(1000)
    missed = 1000 * math.exp(-3)  # three samples a mode in the mean
    assert int((counts == 0).sum()) == pytest.approx(missed, abs=5 * math.sqrt(missed))
    shares = {n: 3**n * math.exp(-3) / math.factorial(n) for n in range(1, 20)}
    poisson = sum(share * n * math.log(n / 3) for n, share in shares.items())
    assert reverse_kl(counts, modes.expected).item() == pytest.approx(poisson / 3, rel=0.2)
