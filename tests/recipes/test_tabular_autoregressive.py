"""The autoregressive recipe for tables: bins from rows, exact ln p(x), stopping, and refusals."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from trilemma.core.batch import Condition, Examples
from trilemma.core.columns import PRESENCE
from trilemma.core.domain import Column, Columns, Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Density, Ordered, capabilities
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.core.session import Session
from trilemma.data import table
from trilemma.data.dataset import DataSet, Split
from trilemma.data.stream import ExampleStream
from trilemma.families.table_bins import DIRECT, TableBins
from trilemma.maths.column_bins import CAPACITY, bins_of_cells, bins_of_reals
from trilemma.recipes import tabular_autoregressive
from trilemma.recipes.runs import begin, load, untrained
from trilemma.recipes.tabular_autoregressive import StoppingStream, TabularAutoregression
from trilemma.training.budget import Budget

SMALL = {"width": 16, "depth": 1, "batch": 64}
LETTERS = tuple("abcdefghij")


def small(**fields):
    return TabularAutoregression(**SMALL | fields)


def make_rows(n=400):
    g = torch.Generator().manual_seed(0)
    ten = torch.randint(10, (n,), generator=g)
    real = torch.where(torch.rand(n, generator=g) < 0.4, 0.0, 3 + torch.randn(n, generator=g))
    return {
        "letter": [LETTERS[i] for i in ten.tolist()],
        "large": (torch.randn(n, generator=g) + ten).mul(0.7).exp().mul(50).int().numpy(),
        "real": real.numpy(),
    }


def optional_domain():
    columns = (
        Column("real", 2.0, 1.0, optional=True),
        Column("category", 0.7, 0.6, 0, 2, PRESENCE),
        Column("whole", 5000.5, 900.0, 0, 9000, optional=True),
        Column("category", 0.7, 0.6, 0, 2, PRESENCE),
    )
    return Domain("points", (4,), Columns(columns), columns=tuple("abcd"))


def trained(data, path, steps=12, **fields):
    _, events = begin(
        small(**fields),
        data,
        source=data.name,
        path=path,
        budget=Budget(steps=steps),
        precision="fp32",
        session=Session(),
    )
    events = list(events)
    return load(path, warn=pytest.fail).model, events


@pytest.mark.parametrize(
    "domain",
    [
        Domain("points", (1,), Real()),
        Domain("points", (3,), Real((0.0, 5.0, -2.0), (1.0, 2.0, 0.1))),
        Domain("points", (2,), Levels(7)),
        optional_domain(),
    ],
    ids=["one", "reals", "levels", "optional"],
)
def test_points_of_any_values_have_an_exact_density_untrained_too(domain):
    model = untrained(small(), domain, 0)
    assert isinstance(model, Density)
    assert isinstance(model, Ordered)
    assert capabilities(model)[:2] == ("sample", "density")
    x = draw(model, 70, seed=0)
    assert x.dtype == (torch.uint8 if isinstance(domain.values, Levels) else torch.float32)
    assert torch.equal(draw(model, 3, seed=0), x[:3])
    with torch.no_grad():
        terms = model.conditionals(x)
        assert terms.isfinite().all()
        torch.testing.assert_close(terms.sum(1), model.log_prob(x))
    if domain.values.discrete:
        assert terms.max() <= 0


def test_an_untrained_model_of_reals_is_near_the_normal_distribution():
    values = Real((3.0, -1.0), (2.0, 0.1))
    model = untrained(small(), Domain("points", (2,), values), 0)
    y = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        nats = model.log_prob(values.unscale(y)).mean()
    assert nats.item() == pytest.approx(-math.log(2 * math.pi) - 1 - math.log(0.2), abs=0.15)


def test_units_of_the_file_change_the_density_by_their_logarithm():
    x = torch.tensor(make_rows()["real"])[:, None].repeat(1, 2)
    nats = []
    for unit in (1.0, 1000.0):
        domain = Domain("points", (2,), Real((2 * unit, 2 * unit), (2 * unit, 2 * unit)))
        model = untrained(small(), domain, 0)
        model.fit(unit * x)
        with torch.no_grad():
            nats.append(model.log_prob(unit * x).mean().item())
    assert nats[0] - nats[1] == pytest.approx(2 * math.log(1000), abs=0.01)


def test_training_begins_with_the_shares_of_each_column_and_improves(tmp_path, no_previews):
    data = table.of_arrays("t", make_rows(1000))
    model = untrained(small(), data.domain, 0)
    model.fit(data.train.x)
    with torch.no_grad():
        before = model.log_prob(data.test.x).mean()
        cells = torch.zeros(10, 3)
        cells[:, 0] = torch.arange(10)
        shares = model.conditionals(cells)[:, 0].exp()
    frequencies = data.train.x[:, 0].long().bincount(minlength=10) / len(data.train)
    torch.testing.assert_close(shares, frequencies, atol=0.002, rtol=0)
    model, _ = trained(data, tmp_path / "run", steps=60, lr=0.01)
    with torch.no_grad():
        assert model.log_prob(data.test.x).mean() > before + 0.2
    x = draw(model, 500, seed=0)
    assert 0.3 < (x[:, 2] == 0).float().mean() < 0.5  # a value that many rows share comes back
    assert torch.equal(x[:, 1], x[:, 1].floor())


def test_a_flag_is_drawn_before_its_value_and_what_is_missing_is_not_counted():
    domain = optional_domain()
    model = untrained(small(), domain, 0)
    assert model.order.tolist() == [1, 0, 3, 2]
    assert domain.values.flags == (1, -1, 3, -1)
    x = draw(model, 200, seed=0)
    for d in (0, 2):
        column, missing = domain.values.columns[d], x[:, d + 1] == 1
        assert 0 < missing.sum() < 200
        assert (x[missing, d] == column.fill).all()
        assert (x[~missing, d] != column.fill).any()
        with torch.no_grad():
            assert (model.conditionals(x)[missing, d] == 0).all()
    reals = Column("real", 1.5, 1.0).fill, Column("whole", -3.0, 1.0, 0, 4).fill
    assert reals == (1.5, 0.0)


def test_bins_are_taken_from_the_rows_that_are_there():
    columns = optional_domain().values.columns
    bins = TableBins([columns[1], columns[0]])
    present = torch.ones(300, 2, dtype=torch.bool)
    present[::2, 1] = False
    x = torch.where(present, 7 + torch.randn(300, 2), torch.full((300, 2), 2.0))
    x[:, 0] = (~present[:, 1]).float()
    log_shares = bins.fit(x, present)
    assert bins.starts[1, 0] > 3
    torch.testing.assert_close(log_shares.exp().sum(1), torch.ones(2))


def test_a_value_that_many_rows_share_has_a_bin_of_its_own():
    g = torch.Generator().manual_seed(0)
    values = torch.cat([torch.zeros(300), torch.randn(700, generator=g) + 5]).double()
    binning = bins_of_reals(values, 3.0, 2.0)
    (k,) = binning.atoms.isfinite().nonzero()
    assert binning.starts[k] < 0 < binning.starts[k] + binning.sizes[k]
    assert binning.sizes[k] < 0.01
    assert 40 < len(binning.starts) <= CAPACITY
    assert (binning.sizes > 0).all()
    numbers = torch.cat([torch.full((300,), 7.0), torch.arange(700.0)]).double()
    cells = bins_of_cells(numbers, 0, 2000)
    (k,) = (cells.starts == 7).nonzero()
    assert cells.sizes[k] == 1
    assert cells.sizes.sum() == 2000


@pytest.mark.parametrize("values", [[1.0] * 60, [0.0, 1.0] * 30, [1.0, 1e30]])
def test_reals_of_few_values_have_bins_of_some_width(values):
    binning = bins_of_reals(torch.tensor(values, dtype=torch.float64), 0.5, 1.0)
    assert (binning.sizes > 0).all()
    assert (binning.starts.diff()[1:] > 0).all()


def test_few_cells_and_categories_have_a_bin_each_and_many_are_binned():
    bins = TableBins(
        [Column("whole", count=DIRECT), Column("whole", count=DIRECT + 1), Column("real")]
    )
    assert bins.capacities == (DIRECT, CAPACITY, CAPACITY)
    assert bins.refined == (1, 2)


def test_a_value_that_a_column_does_not_have_is_impossible_and_other_shapes_are_refused():
    data = table.of_arrays("t", make_rows())
    model = untrained(small(), data.domain, 0)
    x = data.train.x[:4].clone()
    x[0, 0], x[1, 1], x[2, 1] = 10.0, 0.5, -1e6
    with torch.no_grad():
        assert (model.log_prob(x).isneginf()).tolist() == [True, True, True, False]
    with pytest.raises(BadInput, match="rows with these columns"):
        model.log_prob(x[:, :2])


def test_it_is_conditioned_on_the_class():
    domain = Domain("points", (2,), Real(), ("red", "green"), (0.5, 0.5))
    model = untrained(small(conditional=True), domain, 0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        x = torch.randn(6, 2)
        red, green = (Condition(label=torch.full((6,), i)) for i in (0, 1))
        each = [model.log_prob(x, condition=c) for c in (red, green, None)]
        assert (each[0] != each[1]).all()
        assert torch.equal(model.log_prob(x, condition=red.null()), each[2])
    by_class = [model.sample(6, condition=c, noise=Noise.of(0, 6)) for c in (red, green)]
    assert not torch.equal(*by_class)
    loss = model.loss(Examples(x=x, condition=red, noise=Noise.of(0, 6))).value
    torch.autograd.grad(loss, list(model.parameters()))


def test_a_low_temperature_draws_likelier_rows():
    data = table.of_arrays("t", make_rows())
    model = untrained(small(), data.domain, 0)
    model.fit(data.train.x)
    with torch.no_grad():
        nats = [
            model.log_prob(draw(model.adjusted(temperature=t), 400, seed=0)).mean()
            for t in (0.3, 1.0)
        ]
    assert nats[0] > nats[1] + 0.3


def test_training_ends_where_held_out_rows_get_no_more_likely(tmp_path, monkeypatch, no_previews):
    monkeypatch.setattr(tabular_autoregressive, "EVERY", 5)
    monkeypatch.setattr(tabular_autoregressive, "PATIENCE", 20)
    g = torch.Generator().manual_seed(0)
    domain = Domain("points", (2,), Real())
    data = DataSet(
        "noise", domain, *(Split(torch.randn(n, 2, generator=g)) for n in (220, 50)), ()
    )
    model, events = trained(data, tmp_path / "run", steps=3000, lr=0.02, dropout=0.0)
    assert events[-1].step < 1500
    with torch.no_grad():  # 2.84 in truth; -2.9 where it went on to the end
        assert model.log_prob(data.test.x).mean() > -3.3
    reasons = [e.values["reason"] for e in events if e.kind == "stopped"]
    assert reasons == [StoppingStream.ending]


def test_what_is_held_out_is_not_trained_on_and_the_batch_is_of_what_remains():
    data = table.of_arrays("t", make_rows())
    recipe, _ = small(batch=1000).fitted(len(data.train), data.domain)
    stream = recipe.stages(untrained(recipe, data.domain, 0), data, 0)[0].stream()
    assert isinstance(stream, StoppingStream)
    assert recipe.batch == len(stream.inner.split) == len(data.train) - len(stream.held_out)
    without = small(stop=False).stages(untrained(small(), data.domain, 0), data, 0)[0].stream()
    assert isinstance(without, ExampleStream)
    assert len(without.split) == len(data.train)


def test_the_weights_that_made_held_out_rows_likeliest_come_back():
    data = table.of_arrays("t", make_rows())
    recipe = small()
    model = untrained(recipe, data.domain, 0)
    stage = recipe.stages(model, data, 0)[0]
    stage.prepare()
    stream = stage.stream()
    for k in range(26):
        stream.batch(k)
    best, weights = stream.best_loss, [p.clone() for p in model.parameters()]
    assert stream.best_step == 25
    state = copy.deepcopy(stream.state_dict())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape))
    for k in range(26, 551):
        stream.batch(k)
    assert (stream.best_loss, stream.best_step) == (best, 25)
    assert stream.is_over
    stage.finish(stream)
    assert all(map(torch.equal, model.parameters(), weights))
    stream.load_state_dict(state)
    assert not stream.is_over
    assert (stream.best_loss, stream.step) == (best, 25)


def test_dropout_is_of_the_batch_and_not_in_the_likelihood():
    domain = Domain("points", (2,), Real())
    model = untrained(small(dropout=0.5, hidden=0.5), domain, 0)
    model.network.coarse.data.normal_()
    x = torch.randn(8, 2)
    losses = [model.loss(Examples(x=x, noise=Noise.of(i, 8))).value for i in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(model.log_prob(x), model.log_prob(x))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"width": 20}, "a width that divides by 16"),
        ({"depth": 0}, "1 or more"),
        ({"dropout": 1.0}, "dropout 1 was given"),
        ({"hidden": -0.1}, "hidden -0.1 was given"),
        ({"temperature": 0.0}, "temperature 0 was given"),
        ({"conditional": True}, "without classes"),
    ],
)
def test_what_makes_no_model_is_refused_in_a_sentence(fields, text):
    with pytest.raises(BadInput, match=text):
        small(**fields).model(Domain("points", (2,), Real()))


def test_images_are_refused():
    with pytest.raises(BadInput, match="for points"):
        small().model(Domain("image", (1, 8, 8), Levels(17)))
