"""Membership inference: who knows its training examples, and by what."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.graph import graph, stacked
from trilemma.core.model import Model
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet, Split
from trilemma.metrics import likelihood, membership
from trilemma.metrics.context import Context
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import feature_reference
from trilemma.metrics.graphs import graph_reference
from trilemma.metrics.judge import judge
from trilemma.metrics.metric import Unmeasured
from trilemma.metrics.registry import metric


def points(train=300, test=200):
    x = torch.randn(train + test, 4, generator=torch.Generator().manual_seed(0))
    domain = Domain("points", (4,), Real())
    return DataSet("points", domain, Split(x[:train]), Split(x[train:]))


class Fresh(Model):
    """Draws from the data's own density."""

    def __init__(self, data):
        super().__init__()
        self.network = nn.Linear(1, 1)
        self.train_x = data.train.x

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        return noise.normal(4)


class Kernels(Fresh):
    """A density of narrow Gaussians on the training examples."""

    width = 0.3

    def log_prob(self, x, *, condition=None):
        square = torch.cdist(x, self.train_x).square() / (2 * self.width**2)
        return torch.logsumexp(-square, 1) - math.log(len(self.train_x))


class Right(Fresh):
    def log_prob(self, x, *, condition=None):
        return -x.square().sum(1) / 2


class Below(Fresh):
    """A bound that one draw of noise estimates."""

    width = 0.3

    def bound(self, x, *, condition=None, noise=None):
        self.noise_drawn = noise.normal(1)[:, 0]
        return Kernels.log_prob(self, x) - self.noise_drawn.square()


class Energy(Fresh):
    width = 0.3

    def energy(self, x, *, condition=None, noise=None):
        return -Kernels.log_prob(self, x)


class FirstStage(Fresh):
    """Gives back training examples, and of others the nearest of these."""

    def reconstruct(self, x, *, noise=None):
        return self.train_x[torch.cdist(x, self.train_x).argmin(1)]


class Copying(Fresh):
    def sample(self, n, *, condition=None, noise=None):
        return self.train_x[noise.integers(len(self.train_x))]


def measured(model, data, n=400):
    evaluation = judge(model, data, n=n, session=Session(), only={"membership_auc"})
    return evaluation.metrics.get("membership_auc") or evaluation.skipped["membership_auc"]


@pytest.fixture(scope="module")
def data():
    return points()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kernels, "ln p(x),"),
        (Below, "a bound of ln p(x)"),
        (Energy, "-E(x)"),
        (FirstStage, "what the first stage loses"),
        (Copying, "nearest of 400 samples"),
    ],
)
def test_models_that_know_their_training_examples_are_found(data, kind, words):
    score = measured(kind(data), data)
    assert score.value > score.low > 0.6
    assert score.high <= 1
    assert words in score.protocol
    assert score.floor == 0.5


@pytest.mark.parametrize("kind", [Right, Fresh])
def test_models_that_do_not_are_not(data, kind):
    score = measured(kind(data), data)
    assert score.low < 0.5 < score.high
    assert score.high - score.low < 0.15


def test_likelihoods_of_test_examples_are_those_that_other_metrics_have(data, monkeypatch):
    model, calls = Kernels(data), []
    right = likelihood.each

    def each(model, kind, x, start, **options):
        calls.append(len(x))
        return right(model, kind, x, start, **options)

    monkeypatch.setattr(likelihood, "each", each)
    judge(model, data, n=400, session=Session(), only={"membership_auc", "log_prob"})
    assert calls == [200, 200]


def test_the_noise_is_that_of_test_examples(data):
    model = Below(data)
    reference = feature_reference(data, extractor("coordinates", data), n=200, session=Session())
    context = Context(
        samples=data.train.x[:200], reference=reference, session=Session(), model=model
    )
    context.once(likelihood.MEASURES["bound"])
    of_test = model.noise_drawn
    membership._log_likelihoods(context, "bound", data.train.x[:200])
    assert torch.equal(model.noise_drawn, of_test)


def test_too_few_test_examples_are_refused():
    few_test = points(300, 19)
    assert "19 test examples" in measured(Fresh(few_test), few_test)


def test_answers_that_are_no_numbers_are_refused(data):
    class Broken(Right):
        def log_prob(self, x, *, condition=None):
            return x[:, 0] * torch.nan

    assert "no numbers" in measured(Broken(data), data)


def test_graphs_are_told_by_the_distance_to_samples():
    g = torch.Generator().manual_seed(0)

    def trees(n):
        created = []
        for _ in range(n):
            size = int(torch.randint(8, 20, (), generator=g))
            edges = [(int(torch.randint(i, (), generator=g)), i) for i in range(1, size)]
            created.append(graph(size, edges))
        return stacked(created, 20)

    domain = Domain("graph", (20, 20), Levels(2))
    data = DataSet("trees", domain, Split(trees(60)), Split(trees(60)))
    reference = graph_reference(data, n=60, session=Session())
    measure = metric("membership_auc").measure
    copied = measure(Context(samples=data.train.x, reference=reference, session=Session()))
    fresh = measure(Context(samples=trees(60), reference=reference, session=Session()))
    assert copied.low > 0.6
    assert fresh.low < 0.5 < fresh.high


def test_scores_that_lie_wholly_apart_have_an_interval():
    train, test = torch.arange(30.0) + 100, torch.arange(25.0)
    assert membership.auc(train, test) == 1
    assert membership.auc_trials(train, test).n == 25


def test_samples_that_are_not_finite_are_refused(data):
    reference = feature_reference(data, extractor("coordinates", data), n=200, session=Session())
    broken = data.train.x[:100].clone()
    broken[0] = torch.inf
    with pytest.raises(Unmeasured, match="not finite"):
        metric("membership_auc").measure(
            Context(samples=broken, reference=reference, session=Session())
        )
