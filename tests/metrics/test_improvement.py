"""What becomes of given graphs: a stop is heard wherever time goes, and parts change nothing."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.domain import Domain, Levels
from trilemma.core.graph import adjacency, graph, sizes, stacked
from trilemma.core.model import Model
from trilemma.core.sampling import watched
from trilemma.core.session import Session, ignore
from trilemma.data.dataset import DataSet, Split
from trilemma.metrics import improvement as module
from trilemma.metrics.context import Context
from trilemma.metrics.metric import Memo

ADDED = 3


class Stopped(Exception):
    """A signal has come."""


class Stop:
    """Raises when it is asked for the n-th time."""

    def __init__(self, at=None):
        self.at, self.checks = at, 0

    def __call__(self):
        self.checks += 1
        if self.checks == self.at:
            raise Stopped


class Joins(Model):
    """Joins the first pairs that are not joined, by a network that is called once an edge."""

    improves = "triangles"

    def __init__(self):
        super().__init__()
        self.network = torch.nn.Linear(1, 1)
        self.looks = []

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        raise NotImplementedError

    def improve(self, x, *, noise=None):
        for _ in range(ADDED):
            self.network(torch.zeros(1, 1))
            x = torch.stack([module._joined(one, module._pairs(one)[0]) for one in x])
        return x

    def worth(self, x, *, seed):
        self.looks.append(len(x))
        a = adjacency(x).double()
        return (a @ a * a).sum((1, 2)) + 1e-3 * torch.einsum("bij,i,j->b", a, *2 * [self.own(x)])

    @staticmethod
    def own(x):
        return torch.arange(x.shape[1], dtype=torch.float64)


@pytest.fixture
def data():
    rings = [graph(n, [(i, (i + 1) % n) for i in range(n)]) for n in (6, 7, 8)]
    x = stacked(rings)
    return DataSet("rings", Domain("graph", (8, 8), Levels(2), reach=8), Split(x), Split(x))


class Bare(Memo):
    """What improving asks of a reference: its data."""

    def __init__(self, data):
        super().__init__()
        self.data = data


def context(data, check=None, model=None):
    model = model or Joins()
    return Context(
        samples=data.test.x,
        reference=Bare(data),
        session=Session(guard=check or ignore),
        model=model,
    )


def measured_scores(data, check=None, model=None):
    about = context(data, check, model)
    with watched(about.model, check):
        return module.improvement(about)


def test_parts_change_no_number(data, monkeypatch):
    full_run = measured_scores(data)
    monkeypatch.setattr(module, "AT_ONCE", 1)
    assert measured_scores(data) == full_run
    assert full_run.baselines["greedy"] > max(
        full_run.baselines[name] for name in ("random", "lowest degree product")
    )


class Greedily(Joins):
    """Does what greedy does."""

    def improve(self, x, *, noise=None):
        seed = module.mix(0, "seen")
        added = torch.full((len(x),), ADDED)
        return module.greedy(x, added, lambda y: self.worth(y, seed=seed), Session())[0]


def test_pairs_tell_what_means_do_not(data):
    about = context(data, model=Greedily())
    score, more = module.improvement(about), module.over_greedy(about)
    assert score.high > score.value > score.low
    assert (more.value, more.low, more.high) == (0, 0, 0)
    less = module.over_greedy(context(data))
    assert less.value == pytest.approx(
        measured_scores(data).value - measured_scores(data).baselines["greedy"], abs=1e-12
    )
    assert less.baselines["random"] == pytest.approx(
        measured_scores(data).baselines["random"] - measured_scores(data).baselines["greedy"],
        abs=1e-12,
    )
    assert set(less.baselines) == {"random", "lowest degree product"}


def test_greedy_is_the_best_of_all_pairs_each_time(data):
    x, worth = data.test.x, lambda y: Joins().worth(y, seed=0)
    got, looks = module.greedy(x, torch.full((3,), ADDED), worth, Session())
    expected, counted = [], 0
    for one in x:
        for _ in range(ADDED):
            n = int(sizes(one))
            free = [(i, j) for j in range(n) for i in range(j) if not one[i, j]]
            counted += len(free)
            tried = [module._joined(one, torch.tensor(pair)) for pair in free]
            one = max(tried, key=lambda y: float(worth(y[None])))
        expected.append(one)
    assert torch.equal(got, torch.stack(expected))
    assert looks == counted


@pytest.mark.parametrize("name", ["lowest degree product", "greedy"])
def test_others_hear_a_stop_before_each_edge(name, data):
    x, added = data.test.x, torch.full((3,), ADDED)
    full_run, model = Stop(), Joins()

    def worth(y):
        return model.worth(y, seed=0)

    module.RULES[name](x, added, worth, Session(guard=full_run))
    assert full_run.checks == 3 * ADDED
    looks = len(model.looks)
    for at in range(1, full_run.checks + 1):
        model.looks.clear()
        with pytest.raises(Stopped):
            module.RULES[name](x, added, worth, Session(guard=Stop(at)))
        assert len(model.looks) == (at - 1 if looks else 0)


def test_chance_hears_a_stop_before_each_graph(data):
    with pytest.raises(Stopped):
        module.random_pairs(data.test.x, torch.ones(3).long(), len, Session(guard=Stop(3)))


def test_greedy_hears_a_stop_between_the_parts_of_one_look(data, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 2 * 8**2)
    model, stop = Joins(), Stop()
    x, added = data.test.x[:1], torch.ones(1, dtype=torch.int64)
    module.greedy(x, added, lambda y: model.worth(y, seed=0), Session(guard=stop))
    assert model.looks == [2, 2, 2, 2, 1]  # nine pairs of a ring of six
    assert stop.checks == 5


def test_the_whole_hears_a_stop_wherever_it_is(data):
    full_run = Stop()
    model = Joins()
    measured_scores(data, full_run, model)
    # One for each edge of the model's own, one before each part of worths, one before each edge
    # of the others or each graph of chance.
    judged = (2 + len(module.RULES)) * module.JUDGED
    assert len(model.looks) == judged + 3 * ADDED
    assert full_run.checks >= ADDED + len(model.looks) + 3 * ADDED + 3
    for at in range(1, full_run.checks + 1):
        stop = Stop(at)
        with pytest.raises(Stopped):
            measured_scores(data, stop)
        assert stop.checks == at  # nothing goes on behind it


def test_the_model_hears_a_stop_while_it_improves(data):
    model = Joins()
    with pytest.raises(Stopped):
        measured_scores(data, Stop(2), model)
    assert model.looks == []
