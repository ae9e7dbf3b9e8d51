"""The error of a wanted property: against loops on fabricated samples, and its bounds."""

from __future__ import annotations

import dataclasses
import statistics

import pytest
import torch
from torch import nn

from trilemma.core.point_cloud import mask_of, sizes
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.data.example_properties import with_property, without_properties
from trilemma.metrics import property_error, property_regressor
from trilemma.metrics.context import Context
from trilemma.metrics.judge import answer
from trilemma.metrics.metric import Unmeasured
from trilemma.metrics.registry import metric

COUNT = 60


@pytest.fixture(scope="module")
def data():
    return with_property(sources.load("qm9-small").viewed(("conformer",)), "alpha")


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(property_regressor, "FEWEST", 12)
    monkeypatch.setattr(property_regressor, "MOST", 12)


class KnownProperty(nn.Module):
    """Makes of each condition a molecule of the data: the one of that size and property."""

    def __init__(self, data, shift=0):
        super().__init__()
        self.properties, self.data, self.shift = data.domain.properties, data, shift
        self.weight = nn.Parameter(torch.zeros(()))
        self.conditions = []

    def sample(self, n, *, condition=None, noise=None):
        self.conditions.append(condition)
        values, size_counts = self.data.test.properties[:, 0], sizes(self.data.test.x)
        rows = [
            int(((values == c) & (size_counts == k)).nonzero()[0, 0])
            for c, k in zip(condition.properties[:, 0], condition.points.sum(1), strict=True)
        ]
        rows = (torch.tensor(rows) + self.shift) % len(self.data.test)
        return self.data.test.x[rows]


@dataclasses.dataclass
class StoredReference:
    data: object


def context(data, model, n=COUNT, seed=0):
    return Context(
        samples=data.test.x[:n],
        reference=StoredReference(data),
        session=Session(seed=seed),
        model=model,
    )


def test_it_is_the_mean_of_distances_beside_its_bounds_by_loops(data):
    model = KnownProperty(data, shift=7)
    progress = []
    measured_context = context(data, model)
    measured_context.session = Session(progress=lambda *step: progress.append(step))
    score = answer(metric("property_error"), measured_context)
    assert (score.n, score.unit, score.better) == (COUNT, "bohr³", "lower")
    network, sha256 = property_regressor.regressor(data, Session())
    assert sha256[:8] in score.protocol
    requested_values = torch.cat([c.properties for c in model.conditions])[:, 0].tolist()
    numbers = torch.cat([c.points for c in model.conditions]).sum(1).tolist()
    every = list(zip(data.test.x, data.test.properties[:, 0].tolist(), strict=True))
    value, floor = [], []
    for c, n in zip(requested_values, numbers, strict=True):
        (row,) = [i for i, (x, p) in enumerate(every) if p == c and int(sizes(x)) == n][:1]
        floor.append(abs(c - float(network(every[row][0][None]))))
        other = every[(row + 7) % len(every)][0]
        value.append(abs(c - float(network(other[None]))))
    assert score.value == pytest.approx(sum(value) / COUNT, rel=1e-4)
    assert score.floor == pytest.approx(sum(floor) / COUNT, rel=1e-4)
    assert score.low < score.value < score.high
    distances = list(
        zip(sizes(data.aside.x).tolist(), data.aside.properties[:, 0].tolist(), strict=True)
    )
    guesses = []
    for n in numbers:
        near = min({k for k, _ in distances}, key=lambda k: (abs(k - n), k))
        guesses.append(statistics.median(p for k, p in distances if k == near))
    by_size = sum(abs(c - g) for c, g in zip(requested_values, guesses, strict=True)) / COUNT
    assert score.baselines["#Atoms"] == pytest.approx(by_size, rel=1e-5)
    assert {what for what, _, _ in progress} == {
        "training the regressor of the property",
        "samples of wanted alpha",
    }


def test_molecules_that_are_as_asked_reach_the_floor_and_strangers_the_upper_bound(
    data, monkeypatch
):
    monkeypatch.setattr(property_regressor, "FEWEST", 60)
    monkeypatch.setattr(property_regressor, "MOST", 60)
    right = answer(metric("property_error"), context(data, KnownProperty(data), 160))
    wrong = answer(metric("property_error"), context(data, KnownProperty(data, shift=31), 160))
    assert right.value == pytest.approx(right.floor, rel=0.05)  # some are alike in both
    upper = right.baselines["U-bound"]
    assert right.floor < right.baselines["#Atoms"] < upper
    assert wrong.value == pytest.approx(upper, rel=0.25)
    assert wrong.floor == right.floor


def test_the_regressor_sees_the_half_that_is_set_aside_alone(data):
    one = property_regressor.trained(data.aside, data.domain, Session(), steps=3)
    retrained = property_regressor.trained(data.aside, data.domain, Session(), steps=3)
    for a, b in zip(one.state_dict().values(), retrained.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    network, _ = property_regressor.regressor(data, Session())
    changed = dataclasses.replace(data.train, x=data.train.x * 1.1)
    other, _ = property_regressor.regressor(dataclasses.replace(data, train=changed), Session())
    for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_it_is_kept_and_made_anew_of_other_data(data, monkeypatch):
    network, sha256 = property_regressor.regressor(data, Session())
    trained = []

    def train(*arguments, **settings):
        trained.append(arguments)
        return network

    monkeypatch.setattr(property_regressor, "trained", train)
    regressor, same = property_regressor.regressor(data, Session())
    assert (same, trained) == (sha256, [])
    x = data.test.x[:5]
    assert torch.equal(regressor(x), network(x))
    gap = with_property(sources.load("qm9-small").viewed(("conformer",)), "gap")
    property_regressor.regressor(gap, Session())
    assert len(trained) == 1
    monkeypatch.setattr(property_regressor, "VERSION", 99)
    property_regressor.regressor(data, Session())
    assert len(trained) == 2


def test_counts_are_fitted_by_least_squares(data):
    network = property_regressor.Regressor(5)
    counts = torch.stack([(data.aside.x[..., 3] == k).sum(1) for k in range(1, 6)], 1)
    property_values = counts.float() @ torch.tensor([1.0, 9.0, 7.0, 5.0, 3.0]) + 2.0
    network.fit_counts(data.aside.x, property_values)
    assert torch.allclose(network.of_counts(data.aside.x), property_values, atol=1e-2)


def test_rooms_and_batches_change_nothing(data):
    network, _ = property_regressor.regressor(data, Session())
    x = data.test.x[:9]
    alone = torch.cat([network(one[None, : int(mask_of(one).sum())]) for one in x])
    assert torch.allclose(property_regressor.predicted(network, x), alone, atol=1e-3)


def test_an_unknown_size_has_the_median_of_the_nearest(data):
    split = dataclasses.replace(
        data.aside,
        x=data.aside.x[:4].clone(),
        properties=torch.tensor([[1.0], [2.0], [9.0], [5.0]]),
    )
    split.x[:, :, 3] = (
        torch.arange(split.x.shape[1]) < torch.tensor([[3], [3], [3], [8]])
    ).float()
    medians = property_error.median_by_size(split, torch.tensor([3, 4, 7, 20]))
    assert medians.tolist() == [2.0, 2.0, 5.0, 5.0]


def test_what_cannot_be_measured_says_why(data):
    bare = without_properties(data)
    model = KnownProperty(bare)
    assert (
        answer(metric("property_error"), context(bare, model))
        == "the model is conditioned on no property"
    )
    with pytest.raises(Unmeasured, match="train with --property"):
        property_error._measure(
            context(dataclasses.replace(data, aside=None), KnownProperty(data))
        )
    broken = KnownProperty(data)
    broken.sample = lambda n, **_: torch.full((n, *data.domain.shape), torch.nan)
    assert "not finite" in answer(metric("property_error"), context(data, broken))
