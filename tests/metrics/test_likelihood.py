"""Likelihood metrics: asked by capability, averaged, turned into bits, set beside the trivial."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.model import Model
from trilemma.core.partition import LogPartition
from trilemma.data.dataset import DataSet, Split
from trilemma.metrics import likelihood


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


class Silent(Model):
    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        return noise.normal(2)


class Bounding(Silent):
    def bound(self, x, *, condition=None, noise=None):
        assert not self.training
        return x.flatten(1).float().sum(1) + noise.normal()


class Knowing(Silent):
    def log_prob(self, x, *, condition=None):
        assert not self.training
        return x.flatten(1).float().sum(1)


class Guessing(Silent):
    """-ln p up to a constant, whose logarithm it guesses between two numbers."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def energy(self, x, *, condition=None, noise=None):
        return self.scale * x.flatten(1).float().sum(1)

    def log_partition(self, *, noise):
        assert len(noise) == likelihood.CHAINS
        return LogPartition(3.0, 4.0, 0.1, 0.2)


class Tight(Bounding):
    def importance_bound(self, x, k, *, condition=None, noise=None):
        return x.flatten(1).float().sum(1) - 1 / k


class Streaming(Bounding):
    def ode_log_prob(self, x, *, condition=None, noise=None):
        return x.flatten(1).float().sum(1) - 1 + 0 * noise.normal()


def found(**nats):
    return {
        kind: likelihood.told(Bounding(), kind, values, seed=0) for kind, values in nats.items()
    }


def all_nats(model, kind, x, start=0):
    return torch.cat(list(likelihood.each(model, kind, x, start, seed=0, device="cpu")))


def test_lacking_gives_reasons():
    ode = "ode_log_prob"
    assert set(likelihood.lacking(Silent())) == {"log_prob", "bound", "importance_bound", ode}
    assert set(likelihood.lacking(Bounding())) == {"log_prob", "importance_bound", ode}
    assert set(likelihood.lacking(Tight())) == {"log_prob", ode}
    assert set(likelihood.lacking(Knowing())) == {"bound", "importance_bound", ode}
    assert set(likelihood.lacking(Streaming())) == {"log_prob", "importance_bound"}
    assert "autoregressive" in likelihood.lacking(Silent())["log_prob"]
    assert "log_prob" not in likelihood.lacking(Guessing())


def test_an_estimated_partition_widens_the_interval():
    x = levels().test.x[:50]
    nats = all_nats(Guessing(), "energy", x)
    told = likelihood.told(Guessing(), "energy", nats, seed=0)
    scores, _ = likelihood.scores({"energy": told}, levels().domain, baseline={})
    score, error = scores["log_prob"], nats.std().item() / math.sqrt(50)
    assert score.value == pytest.approx(nats.mean().item() - 3.5)
    assert score.high - score.value == pytest.approx(0.5 + 1.96 * math.hypot(error, 0.1))
    assert score.value - score.low == pytest.approx(0.5 + 1.96 * math.hypot(error, 0.2))
    assert score.by == scores["bits_per_dim"].by == "AIS interval"
    assert "between 3 and 4" in score.protocol


def test_both_ways_of_one_network_are_told_apart():
    model, x = Streaming(), levels().test.x[:20]
    assert likelihood.answers(model) == ["bound", "ode"]
    kept = {
        kind: likelihood.told(model, kind, all_nats(model, kind, x), seed=0, levels=True)
        for kind in likelihood.answers(model)
    }
    scores, skipped = likelihood.scores(kept, levels().domain, baseline={"uniform": -9.0})
    assert set(scores) == {"bound", "ode_log_prob", "bits_per_dim", "ode_bits_per_dim"}
    assert scores["bits_per_dim"].by == scores["bound"].by == "variational bound"
    for name in ("ode_log_prob", "ode_bits_per_dim"):
        assert scores[name].by == "ODE estimate, Hutchinson"
    assert "probability flow" in scores["ode_log_prob"].protocol
    bits = scores["ode_bits_per_dim"]
    nats = scores["ode_log_prob"].value
    assert bits.value == pytest.approx(-nats / 9 / math.log(2))
    assert bits.better == "lower"
    assert not skipped
    # A bound alone is called what it was, and a model may say how its equation is solved.
    alone = likelihood.told(Bounding(), "bound", torch.zeros(3), seed=0)
    assert alone.by == "lower bound"
    model.ode_by = "ODE"
    assert likelihood.told(model, "ode", torch.zeros(3), seed=0).by == "ODE"


def test_the_number_of_draws_is_recorded():
    x = levels().test.x[:20]
    kept = {
        kind: likelihood.told(Tight(), kind, all_nats(Tight(), kind, x), seed=0, k=8)
        for kind in likelihood.answers(Tight())
    }
    scores, skipped = likelihood.scores(kept, levels().domain, baseline={})
    assert scores["importance_bound"].by == "lower bound, k = 8"
    assert "k = 8" in scores["bits_per_dim"].protocol
    assert not skipped


def test_noise_of_a_bound_belongs_to_the_example(monkeypatch):
    x = levels().test.x
    whole = all_nats(Bounding(), "bound", x)
    parts = torch.cat(
        [all_nats(Bounding(), "bound", x[:192]), all_nats(Bounding(), "bound", x[192:], 192)]
    )
    torch.testing.assert_close(whole, parts)
    monkeypatch.setattr(likelihood, "AT_ONCE", 10)
    torch.testing.assert_close(all_nats(Bounding(), "bound", x), whole)
    assert not torch.equal(all_nats(Bounding(), "bound", x, 64), whole)


def test_mode_is_left_as_it_was():
    model = Knowing().train()
    all_nats(model, "log_prob", levels().test.x)
    assert model.training


def test_scores_are_means_with_standard_errors():
    domain, trivial = levels().domain, {"uniform": -9 * math.log(4)}
    nats = -torch.arange(100.0) / 10
    scores, skipped = likelihood.scores(found(bound=nats), domain, baseline=trivial)
    bound, bits = scores["bound"], scores["bits_per_dim"]
    error = nats.std().item() / 10
    assert bound.value == pytest.approx(-4.95)
    assert bound.low == pytest.approx(-4.95 - 1.984 * error, rel=1e-3)  # Student's, of 99
    assert bits.value == pytest.approx(4.95 / 9 / math.log(2))
    assert bits.low < bits.value < bits.high
    assert (bound.better, bits.better) == ("higher", "lower")
    assert bits.baselines["uniform"] == pytest.approx(2)
    assert not skipped
    assert "bound" in bits.protocol


def test_no_end_of_a_probability_is_above_zero():
    nats = torch.tensor([-0.01] * 9 + [-3.0])
    made, _ = likelihood.scores(found(log_prob=nats), levels().domain, baseline={})
    assert made["log_prob"].high <= 0
    assert math.copysign(1, made["bits_per_dim"].low) == 1
    assert made["bits_per_dim"].low >= 0
    near = LogPartition(-0.1, 0.1, 0.05, 0.05)
    between = likelihood.Likelihood(nats / 30, "AIS interval", "", near)
    made, _ = likelihood.scores({"energy": between}, levels().domain, baseline={})
    assert made["log_prob"].low < made["log_prob"].high == 0
    density, _ = likelihood.scores(
        found(log_prob=nats + 3), Domain("points", (2,), Real()), baseline={}
    )
    assert density["log_prob"].high > 2.7


def test_density_goes_before_bound_in_bits():
    nats = found(log_prob=torch.full((5,), -9.0), bound=torch.full((5,), -18.0))
    scores, _ = likelihood.scores(nats, levels().domain, baseline={})
    assert scores["bits_per_dim"].value == pytest.approx(1 / math.log(2))


def test_one_infinite_example_is_told():
    nats = torch.zeros(10)
    nats[3] = -torch.inf
    scores, skipped = likelihood.scores(found(log_prob=nats), levels().domain, baseline={})
    assert not scores
    assert skipped["log_prob"] == "not a finite number for 1 of 10 test examples"
    assert "bits_per_dim" in skipped


def test_points_have_no_bits():
    scores, skipped = likelihood.scores(
        found(log_prob=torch.zeros(5)), points().domain, baseline={}, floor=0.5
    )
    assert scores["log_prob"].floor == 0.5
    assert set(scores) == {"log_prob"}
    assert "unit" in skipped["bits_per_dim"]


def test_baselines_of_levels():
    found = likelihood.baselines(levels())
    assert found["uniform"] == pytest.approx(-9 * math.log(4))
    # Eight coordinates are uniform and one is constant, known up to the smoothing.
    assert found["histogram"] == pytest.approx(-8 * math.log(4) + math.log(501 / 504), abs=0.03)


def test_baseline_of_points_is_a_gaussian():
    entropy = math.log(2 * math.pi * math.e) + math.log(3)
    assert likelihood.baselines(points())["normal"] == pytest.approx(-entropy, abs=0.1)
