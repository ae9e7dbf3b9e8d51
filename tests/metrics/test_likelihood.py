"""Likelihood metrics: asked by capability, averaged, turned into bits, set beside the trivial."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.model import Model
from trilemma.core.partition import LogPartition
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet, Split
from trilemma.metrics import context, judge, likelihood, trivial_densities
from trilemma.metrics.metric import Memo, Unmeasured


def levels(count=4, n=500):
    g = torch.Generator().manual_seed(0)

    def split():
        x = torch.randint(count, (n, 1, 3, 3), generator=g, dtype=torch.uint8)
        x[:, 0, 0, 0] = 2
        return Split(x)

    return DataSet("levels", Domain("image", (1, 3, 3), Levels(count)), split(), split())


def points():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 2, generator=g) * torch.tensor([1.0, 3.0])
    return DataSet("points", Domain("points", (2,), Real()), Split(x[:3000]), Split(x[3000:]))


class NoDensity(Model):
    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        return noise.normal(2)


class Bounding(NoDensity):
    def bound(self, x, *, condition=None, noise=None):
        assert not self.training
        return x.flatten(1).float().sum(1) + noise.normal()


class Knowing(NoDensity):
    def log_prob(self, x, *, condition=None):
        assert not self.training
        return x.flatten(1).float().sum(1)


class Guessing(NoDensity):
    """-ln p up to a constant, whose logarithm it guesses between two numbers."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def energy(self, x, *, condition=None, noise=None):
        return self.scale * x.flatten(1).float().sum(1)

    ln_z = LogPartition(3.0, 4.0, 0.1, 0.2)

    def log_partition(self, *, noise):
        assert len(noise) == likelihood.CHAINS
        return self.ln_z


class Tight(Bounding):
    def importance_bound(self, x, k, *, condition=None, noise=None):
        return x.flatten(1).float().sum(1) - 1 / k


class Streaming(Bounding):
    def ode_log_prob(self, x, *, condition=None, noise=None):
        return x.flatten(1).float().sum(1) - 1 + 0 * noise.normal()


NAMES = {metric.name for metric in likelihood.METRICS}


class Bare(Memo):
    """What likelihoods ask of a reference: its data."""

    def __init__(self, data):
        super().__init__()
        self.data = data


def answers(model, n=50, draws=64):
    """Ask a model for every likelihood of n test examples: scores, and reasons for the others."""
    samples = torch.zeros(n, 1, 3, 3, dtype=torch.uint8)
    about = context.Context(
        samples=samples, reference=Bare(levels()), session=Session(), model=model, draws=draws
    )
    answered = {metric.name: judge.answer(metric, about) for metric in likelihood.METRICS}
    scores = {name: answer for name, answer in answered.items() if not isinstance(answer, str)}
    return scores, {name: answer for name, answer in answered.items() if name not in scores}


def mean_of(nats, kind="bound", domain=None, **marks):
    measured = likelihood.make_likelihood(Bounding(), kind, nats, seed=0)
    marks = {"baselines": {}, **marks}
    return likelihood.in_nats(measured, domain or levels().domain, **marks)


def all_nats(model, kind, x, start=0):
    return torch.cat(list(likelihood.each(model, kind, x, start, seed=0, device="cpu")))


def test_what_a_model_cannot_say_has_its_reason():
    def lacking(model):
        return set(answers(model)[1])

    ode = {"ode_log_prob", "ode_bits_per_dim"}
    assert lacking(NoDensity()) == NAMES
    assert lacking(Bounding()) == {"log_prob", "importance_bound"} | ode
    assert lacking(Tight()) == {"log_prob"} | ode
    assert lacking(Knowing()) == {"bound", "importance_bound"} | ode
    assert lacking(Streaming()) == {"log_prob", "importance_bound"}
    assert lacking(Guessing()) == {"log_prob", "importance_bound"} | ode
    assert "autoregressive" in answers(NoDensity())[1]["log_prob"]


def test_an_estimated_partition_widens_the_interval():
    answered, _ = answers(Guessing())
    score = answered["bound"]
    x = context.test_rows(levels(), 50, 0)
    nats = all_nats(Guessing(), "energy", x)
    error = nats.std().item() / math.sqrt(50)
    assert score.value == pytest.approx(nats.mean().item() - 3.5)
    assert score.high - score.value == pytest.approx(0.5 + 1.96 * math.hypot(error, 0.1))
    assert score.value - score.low == pytest.approx(0.5 + 1.96 * math.hypot(error, 0.2))
    assert score.by == answered["bits_per_dim"].by == "lower bound, AIS interval"
    assert "between 3 and 4" in score.protocol


@pytest.mark.parametrize(
    ("ln_z", "message"),
    [
        (LogPartition(3.0, 4.0, 0.1, 0.2), ""),
        (LogPartition(4.5, 4.0, 0.3, 0.4), ""),
        (LogPartition(9.0, 4.0, 3.0, 4.0), ""),
        (LogPartition(4.5, 4.0, 0.03, 0.04), "cross by 10 standard errors: neither can be"),
        (LogPartition(4.5, 4.0, 0.0, 0.0), "cross for sure: neither can be trusted"),
    ],
)
def test_estimates_that_contradict_each_other_are_told_by_their_errors(ln_z, message):
    model = Guessing()
    model.ln_z = ln_z
    about = likelihood.make_likelihood(model, "energy", torch.zeros(3), seed=0).about
    assert message in about
    assert ("cross" in about) == bool(message)


def test_both_ways_of_one_network_are_told_apart():
    model = Streaming()
    scores, _ = answers(model, 20)
    assert set(scores) == {"bound", "ode_log_prob", "bits_per_dim", "ode_bits_per_dim"}
    assert scores["bits_per_dim"].by == scores["bound"].by == "variational bound"
    for name in ("ode_log_prob", "ode_bits_per_dim"):
        assert scores[name].by == "ODE estimate, Hutchinson"
    assert "probability flow" in scores["ode_log_prob"].protocol
    bits = scores["ode_bits_per_dim"]
    nats = scores["ode_log_prob"].value
    assert bits.value == pytest.approx(-nats / 9 / math.log(2))
    assert bits.better == "lower"
    # A bound alone is called what it was, and a model may say how its equation is solved.
    alone = likelihood.make_likelihood(Bounding(), "bound", torch.zeros(3), seed=0)
    assert alone.by == "lower bound"
    model.ode_by = "ODE"
    assert likelihood.make_likelihood(model, "ode", torch.zeros(3), seed=0).by == "ODE"


def test_the_number_of_draws_is_recorded():
    scores, _ = answers(Tight(), 20, draws=8)
    assert scores["importance_bound"].by == "lower bound, k = 8"
    assert "k = 8" in scores["bits_per_dim"].protocol


def test_noise_of_a_bound_belongs_to_the_example(monkeypatch):
    x = levels().test.x
    full_nats = all_nats(Bounding(), "bound", x)
    parts = torch.cat(
        [all_nats(Bounding(), "bound", x[:192]), all_nats(Bounding(), "bound", x[192:], 192)]
    )
    torch.testing.assert_close(full_nats, parts)
    monkeypatch.setattr(likelihood, "AT_ONCE", 10)
    torch.testing.assert_close(all_nats(Bounding(), "bound", x), full_nats)
    assert not torch.equal(all_nats(Bounding(), "bound", x, 64), full_nats)


def test_mode_is_left_as_it_was():
    model = Knowing().train()
    all_nats(model, "log_prob", levels().test.x)
    assert model.training


def test_scores_are_means_with_standard_errors():
    nats = -torch.arange(100.0) / 10
    bound = mean_of(nats, baselines={"uniform": -9 * math.log(4)})
    bits = likelihood.in_bits(bound, "bound", levels().domain)
    error = nats.std().item() / 10
    assert bound.value == pytest.approx(-4.95)
    assert bound.low == pytest.approx(-4.95 - 1.984 * error, rel=1e-3)  # Student's, of 99
    assert bits.value == pytest.approx(4.95 / 9 / math.log(2))
    assert bits.low < bits.value < bits.high
    assert bits.baselines["uniform"] == pytest.approx(2)
    assert "bound" in bits.protocol


def test_no_end_of_a_probability_is_above_zero():
    nats, domain = torch.tensor([-0.01] * 9 + [-3.0]), levels().domain
    score = mean_of(nats, "log_prob")
    bits = likelihood.in_bits(score, "log_prob", domain)
    assert score.high <= 0
    assert math.copysign(1, bits.low) == 1
    near = LogPartition(-0.1, 0.1, 0.05, 0.05)
    between = likelihood.MeasuredLikelihood(nats / 30, "AIS interval", "", near)
    score = likelihood.in_nats(between, domain, baselines={})
    assert score.low < score.high == 0
    assert mean_of(nats + 3, domain=points().domain).high > 2.7


class Both(Knowing, Bounding):
    def bound(self, x, *, condition=None, noise=None):
        return self.log_prob(x) - 9


class Infinite(Both):
    def log_prob(self, x, *, condition=None):
        nats = -x.flatten(1).float().sum(1)
        nats[3] = -torch.inf
        return nats

    def bound(self, x, *, condition=None, noise=None):
        return torch.full((len(x),), -9 * math.log(2.0))


def test_density_goes_before_bound_in_bits():
    answered, _ = answers(Both())
    bits = -answered["log_prob"].value / 9 / math.log(2)
    assert answered["bits_per_dim"].value == pytest.approx(bits)


def test_one_infinite_example_is_told():
    scores, skipped = answers(Infinite(), 10)
    assert skipped["log_prob"] == "not a finite number for 1 of 10 test examples"
    assert scores["bits_per_dim"].value == pytest.approx(1.0)  # of the bound


def test_points_have_no_bits():
    score = mean_of(torch.zeros(5), "log_prob", points().domain, floor=0.5)
    assert score.floor == 0.5
    with pytest.raises(Unmeasured, match="unit"):
        likelihood.in_bits(score, "log_prob", points().domain)


def test_baselines_of_levels():
    answered = trivial_densities.baselines(levels())
    assert answered["uniform"] == pytest.approx(-9 * math.log(4))
    # Eight coordinates are uniform and one is constant, known up to the smoothing.
    assert answered["histogram"] == pytest.approx(-8 * math.log(4) + math.log(501 / 504), abs=0.03)


def test_baseline_of_points_is_a_gaussian():
    entropy = math.log(2 * math.pi * math.e) + math.log(3)
    assert trivial_densities.baselines(points())["normal"] == pytest.approx(-entropy, abs=0.1)
