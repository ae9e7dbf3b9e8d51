"""Copies among samples: thieves that are caught, and innocents that are not accused."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from trilemma.core.domain import Column, Columns, Domain, Levels, Real
from trilemma.core.graph import graph, stacked
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet, Split
from trilemma.data.sources import load
from trilemma.metrics import copies, copy_evidence, copy_search
from trilemma.metrics.context import Context
from trilemma.metrics.copy_search import NeighbourSearch, coordinates
from trilemma.metrics.graphs import graph_reference
from trilemma.metrics.metric import Memo, Unmeasured
from trilemma.metrics.registry import metric


@dataclass(eq=False)
class MemoReference(Memo):
    data: DataSet
    n: int = 2000
    seed: int = 0


def measured(data, samples, reference=None):
    context = Context(
        samples=samples, reference=reference or MemoReference(data), session=Session()
    )
    return metric("copies").measure(context)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def with_copies(honest, stolen):
    samples = honest.clone()
    samples[-len(stolen) :] = stolen
    return samples


def gaussian(dimensions, seed=0):
    x = torch.randn(3500, dimensions, generator=draw(seed))
    domain = Domain("points", (dimensions,), Real())
    return DataSet("points", domain, Split(x[:1000]), Split(x[1000:1500])), x[1500:]


@pytest.fixture(scope="module")
def plane():
    data, honest = gaussian(2)
    return data, honest, MemoReference(data)


def test_honest_points_raise_no_alarm(plane):
    data, honest, reference = plane
    score = measured(data, honest, reference)
    assert score.protocol.startswith("no alarm")
    assert score.low == 0
    assert score.value < 0.01
    assert score.exhibit is None
    assert score.floor == 0


def test_one_in_a_hundred_points_is_caught_and_shown(plane):
    data, honest, reference = plane
    score = measured(data, with_copies(honest, data.train.x[100:120]), reference)
    assert score.protocol.startswith("alarm")
    assert 0 < score.low < score.value == pytest.approx(0.01, abs=0.006)
    assert score.low < 0.01 < score.high
    exhibit = score.exhibit
    assert len(exhibit.samples) == len(exhibit.training_rows) == 10
    assert all(
        row - 1980 == neighbour - 100 for row, neighbour in zip(*_pairs(exhibit), strict=True)
    )


def _pairs(exhibit):
    return exhibit.samples, exhibit.training_rows


def test_nothing_but_copies_has_a_share_near_one(plane):
    data, _, reference = plane
    score = measured(data, data.train.x[torch.randint(1000, (2000,), generator=draw())], reference)
    assert score.value > 0.99
    assert score.protocol.startswith("alarm")


def test_wide_and_repeated_and_narrow_points_raise_no_alarm(plane):
    data, honest, reference = plane
    mean = data.train.x.mean(0, keepdim=True).expand(2000, 2)
    for innocent in (honest * 3, mean, 2 + 0.1 * honest, honest.clone().clamp(min=0)):
        score = measured(data, innocent, reference)
        assert score.protocol.startswith("no alarm")
        assert score.low == 0
        assert score.value < 0.01


def test_noisy_copies_in_many_dimensions_are_caught():
    data, honest = gaussian(24)
    train = data.train.x
    away = torch.cdist(train, train).topk(2, largest=False).values[:, 1].median()
    noise = torch.randn(20, 24, generator=draw(1))
    stolen = train[:20] + noise / noise.norm(dim=1, keepdim=True) * away / 2
    score = measured(data, with_copies(honest, stolen))
    assert score.protocol.startswith("alarm")
    assert measured(data, honest).protocol.startswith("no alarm")


def ratios(n, seed, dimension=5.0):
    below = torch.rand(n, generator=draw(seed), dtype=torch.float64)
    return ((1 - (1 - below) ** (1 / 7)) ** (1 / dimension)).sort().values


def law_of(ratio):
    n = len(ratio)
    every = copy_evidence.WeightedControls(
        ratio.sort().values, torch.arange(1.0, n + 1).double(), n
    )
    return copy_evidence.lawful(every, copy_evidence.EXACT)


def test_the_law_of_continuous_data_holds_where_they_are_continuous_alone():
    small_ratios = ratios(1000, 0)
    assert law_of(small_ratios) is not None
    repeated, tied = small_ratios.clone(), small_ratios.clone()
    repeated[-4:] = 0.01 * torch.arange(1, 5)
    for other in (
        repeated,
        (tied * 100).round() / 100,
        small_ratios[:300],
        torch.rand(1000).double() ** 3,
    ):
        assert law_of(other) is None


def test_noisy_copies_weigh_more_by_the_law_and_one_repeated_example_is_none():
    def counted(ratio, weight=1.0):
        near = copy_search.Nearest(ratio, torch.arange(len(ratio)))
        return copies.Counted("", near, torch.zeros(len(ratio)).long(), weight)

    other_counts = [counted(ratios(1000, 1))]
    samples = counted(torch.cat([ratios(980, 2), ratios(20, 3) * 0.5]))
    by_counts, by_law = (
        copies.find_copies(samples, other_counts, smooth=smooth) for smooth in (False, True)
    )
    assert by_law.alarm
    assert by_law.p < by_counts.p / 3
    assert by_law.low < 0.02 < by_law.high
    exact = copies.find_copies(
        counted(torch.cat([torch.zeros(20).double(), ratios(980, 6)])), other_counts, smooth=True
    )
    assert exact.alarm
    assert exact.value == pytest.approx(0.02, abs=0.003)
    once = counted(torch.cat([torch.zeros(1).double(), ratios(999, 5)]))
    assert not copies.find_copies(once, other_counts, smooth=True).alarm
    alarms = sum(
        copies.find_copies(counted(ratios(1000, seed)), other_counts, smooth=True).alarm
        for seed in range(10, 40)
    )
    assert alarms <= 5  # a chance of 1 % at a level of .05


@pytest.fixture(scope="module")
def digits():
    data = load("digits")
    return data, MemoReference(data)


def sides(x):
    """Move images by a pixel, the margin coming in again."""
    return torch.nn.functional.pad(x.float(), (0, 1, 1, 0), mode="replicate")[..., :-1, 1:].to(
        x.dtype
    )


@pytest.mark.parametrize("how", ["exact", "noisy", "shifted"])
def test_copied_images_are_caught(digits, how):
    data, reference = digits
    stolen = data.train.x[:12]
    if how == "shifted":
        stolen = sides(stolen)
    if how == "noisy":
        noise = torch.randn(stolen.shape, generator=draw())
        noise *= 8.3 / noise.flatten(1).norm(dim=1)[:, None, None, None]
        stolen = (stolen + noise).round().clamp(0, 16).to(torch.uint8)
    score = measured(data, with_copies(data.test.x, stolen), reference)
    assert score.protocol.startswith("alarm")
    rows = dict(zip(*_pairs(score.exhibit), strict=True))
    assert set(rows) <= set(range(len(data.test) - 12, len(data.test)))


def test_honest_images_and_those_of_one_class_raise_no_alarm(digits):
    data, reference = digits
    for x in (data.test.x, data.test.x[data.test.labels == 1]):
        assert measured(data, x, reference).protocol.startswith("no alarm")


def rows(n, seed):
    g = draw(seed)
    whole_numbers = torch.poisson(torch.full((n, 1), 3.0), generator=g).clamp(max=9)
    word = torch.randint(3, (n, 1), generator=g)
    real = torch.randn(n, 6, generator=g) + word
    return torch.cat([real, whole_numbers, word.float()], 1)


COLUMNS = Columns(
    (
        *(Column(spread=1.3) for _ in range(6)),
        Column("whole", spread=2.0, count=10),
        Column("category", count=3, categories=("a", "b", "c")),
    )
)


def test_copied_rows_of_mixed_columns_are_caught():
    data = DataSet(
        "table", Domain("points", (8,), COLUMNS), Split(rows(1000, 0)), Split(rows(300, 1))
    )
    reference, honest = MemoReference(data), rows(2000, 2)
    score = measured(data, with_copies(honest, data.train.x[:20]), reference)
    assert score.protocol.startswith("alarm")
    assert score.value == pytest.approx(0.01, abs=0.003)
    assert measured(data, honest, reference).protocol.startswith("no alarm")


def test_rows_that_repeat_by_nature_are_no_copies():
    columns = Columns(COLUMNS.columns[6:])
    data = DataSet(
        "table",
        Domain("points", (2,), columns),
        Split(rows(600, 0)[:, 6:]),
        Split(rows(200, 1)[:, 6:]),
    )
    for x in (rows(2000, 2), rows(2000, 2)[:1].expand(2000, 8), rows(2000, 0)[:600]):
        assert measured(data, x[:, 6:].contiguous()).protocol.startswith("no alarm")


def test_a_category_that_nobody_has_is_far_from_all():
    train = torch.tensor([[0.0], [1.0], [1.0]])
    domain = Domain("points", (1,), Columns(COLUMNS.columns[7:]))
    at = coordinates(domain, train).of(torch.tensor([[0.0], [1.0], [2.0]]))
    torch.testing.assert_close(torch.cdist(at, at), 1 - torch.eye(3).double())


def trees(n, seed):
    g = draw(seed)

    def one():
        size = int(torch.randint(18, 25, (), generator=g))
        return graph(size, [(int(torch.randint(i, (), generator=g)), i) for i in range(1, size)])

    return stacked([one() for _ in range(n)], 24)


def test_copied_graphs_are_caught_and_innocent_ones_are_not():
    domain = Domain("graph", (24, 24), Levels(2))
    data = DataSet("trees", domain, Split(trees(150, 0)), Split(trees(60, 1)))
    reference, honest = graph_reference(data, n=400, session=Session()), trees(400, 2)
    order = torch.arange(24).expand(12, 24)
    stolen = data.train.x[:12].clone()
    for i, row in enumerate(order.clone()):
        n = int(stolen[i].diagonal().sum())
        turned = torch.cat([row[:n].flip(0), row[n:]])
        stolen[i] = stolen[i][turned][:, turned]
    score = measured(data, with_copies(honest, stolen), reference)
    assert score.protocol.startswith("alarm")
    assert max(score.exhibit.training_rows) < 12
    for innocent in (honest, honest[:1].expand(400, 24, 24)):
        assert measured(data, innocent, reference).protocol.startswith("no alarm")


def test_training_graphs_that_all_differ_do_not_make_suspects_of_test_graphs():
    """Of paths of 2 to 25 nodes the test set has those of the training set, and no other is."""
    paths = stacked([graph(n, [(i, i + 1) for i in range(n - 1)]) for n in range(2, 26)], 25)
    test_paths = paths[torch.randint(24, (90,), generator=draw())]
    domain = Domain("graph", (25, 25), Levels(2))
    data = DataSet("paths", domain, Split(paths), Split(test_paths[:30]))
    reference = graph_reference(data, n=60, session=Session())
    score = measured(data, test_paths[30:], reference)
    assert score.protocol.startswith("no alarm")
    assert score.value == 0
    assert " 30 test graphs" in score.protocol


def test_what_depends_on_the_data_alone_is_computed_once(plane, monkeypatch):
    data, honest, _ = plane
    reference = MemoReference(data)
    measured(data, honest[:100], reference)
    monkeypatch.setattr(copies, "coordinates", None)
    assert measured(data, honest[:200], reference).n == 200


def test_the_search_in_many_coordinates_finds_what_all_distances_find():
    x = torch.randint(256, (500, 1, 12, 12), generator=draw(), dtype=torch.uint8)
    soft = torch.nn.functional.avg_pool2d(x.float(), 5, 1, 2)
    near = soft[:60] + 5 * torch.randn(60, 1, 12, 12, generator=draw(1))
    embedded = coordinates(Domain("image", (1, 12, 12), Levels(256)), soft)
    result = NeighbourSearch(soft, embedded).nearest(near)
    views = embedded.views(near)
    d = torch.stack([torch.cdist(view, embedded.of(soft)) for view in views.unbind(1)]).amin(0)
    best = d.topk(8, largest=False)
    assert torch.equal(result.row, best.indices[:, 0])
    expected = best.values[:, 0] / best.values[:, 7]
    assert (result.ratio - expected).abs().quantile(0.9) < 0.02


def test_chunks_change_nothing(plane, monkeypatch):
    data, honest, _ = plane
    in_one = measured(data, honest)
    monkeypatch.setattr(copy_search, "ENTRIES", 5000)
    assert measured(data, honest) == in_one


def test_too_few_and_not_finite_are_refused(plane):
    data, honest, reference = plane
    with pytest.raises(Unmeasured, match=r"19 samples .* at least 20"):
        measured(data, honest[:19], reference)
    broken = honest.clone()
    broken[3, 1] = torch.nan
    with pytest.raises(Unmeasured, match="1 of 2000 samples are not finite"):
        measured(data, broken, reference)


def test_one_kind_of_others_with_far_more_small_ratios_counts_alone():
    def counted(low, n, weight=1.0):
        ratio = torch.cat([torch.zeros(low), torch.ones(n - low)]).double()
        return copies.Counted(
            "", copy_search.Nearest(ratio, torch.arange(n)), torch.zeros(n).long(), weight
        )

    samples = counted(30, 100)
    assert copies.find_copies(samples, [counted(0, 500, 0.5), counted(5, 100)]).alarm
    assert not copies.find_copies(samples, [counted(0, 500, 0.5), counted(30, 100)]).alarm


def test_newcombe_of_his_table():
    """Newcombe 1998, table II, method 10, contrasts (a) and (f)."""
    for of, expected in (
        ((56 / 70, 70, 48 / 80, 80), (0.0524, 0.3339)),
        ((0.0, 10, 0.0, 10), (-0.2775, 0.2775)),
    ):
        assert copy_evidence.newcombe(*of) == pytest.approx(expected, abs=2e-3)
