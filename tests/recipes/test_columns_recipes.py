"""Every recipe for tables, on columns of whole numbers and categories: ln P, and samples."""

from __future__ import annotations

import math

import pytest
import torch

from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Bounded, Density, Flowing, Tightening
from trilemma.core.noise import Noise
from trilemma.core.session import Session
from trilemma.data import table
from trilemma.families.likelihood import GaussianLikelihood, Logistic, likelihood
from trilemma.laws.book import timed
from trilemma.laws.trained import trained_laws
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import _noise, _normal, feature_reference
from trilemma.metrics.judge import judge_samples
from trilemma.metrics.likelihood import each
from trilemma.metrics.trivial_densities import independent
from trilemma.recipes.catalog import CATALOG, fitting
from trilemma.recipes.glow import Glow
from trilemma.recipes.runs import begin, load, untrained
from trilemma.recipes.vae import VariationalAutoencoder
from trilemma.training.budget import Budget

pytestmark = pytest.mark.usefixtures("no_previews")


def make_data(*, real=False):
    g = torch.Generator().manual_seed(0)
    n = 600
    coin, ten = torch.randint(2, (n,), generator=g), torch.randint(10, (n,), generator=g)
    columns = {
        "coin": coin.numpy(),
        "letter": ["abcdefghij"[i] for i in ten.tolist()],
        "calls": torch.poisson(torch.full((n,), 3.0), generator=g).int().numpy(),
    }
    if real:
        columns["size"] = (coin + torch.randn(n, generator=g)).numpy()
    return table.of_arrays("calls", columns)


COUNTED, MIXED = make_data(), make_data(real=True)
TRUTH = torch.distributions.Poisson(3.0, validate_args=False)
"""Of the calls; the coin and the letters are even."""
NAMES = fitting(COUNTED.domain)
EXACT = ("tabular-autoregressive",)
"""Recipes that choose among cells, without dequantisation."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Train each recipe for a few steps, once for each table."""
    runs = {}

    def of(name, data):
        if (name, data.domain) not in runs:
            path = tmp_path_factory.mktemp("runs") / "run"
            _, events = begin(
                CATALOG[name](batch=64),
                data,
                source=data.name,
                path=path,
                budget=Budget(steps=12),
                precision="fp32",
                session=Session(),
            )
            list(events)
            runs[name, data.domain] = load(path, warn=pytest.fail).model
        return runs[name, data.domain]

    return of


BOTH = pytest.mark.parametrize("data", [COUNTED, MIXED], ids=["counted", "mixed"])


@BOTH
@pytest.mark.parametrize("name", NAMES)
def test_samples_are_numbers_and_words_of_the_table(name, data, trained):
    model, values = trained(name, data), data.domain.values
    x = model.sample(300, noise=Noise.of(0, 300))
    assert x.dtype == torch.float32
    for d, column in enumerate(values.columns):
        if column.in_cells:
            assert torch.equal(x[:, d], x[:, d].round())
            assert x[:, d].min() >= column.low
            assert x[:, d].max() <= column.low + column.count - 1
        else:
            assert not torch.equal(x[:, d], x[:, d].round())
    assert all(values.words(row)[1] in "abcdefghij" for row in x.tolist())


@BOTH
@pytest.mark.parametrize("name", NAMES)
def test_no_bound_is_called_exact_and_the_laws_of_a_run_hold(name, data, trained):
    model = trained(name, data)
    assert isinstance(model, Density) == (name in EXACT)
    for law, _ in timed(trained_laws(model, data.test.x)):
        assert law.holds, law


@pytest.mark.parametrize("name", [n for n in NAMES if n != "ebm"])
def test_nothing_said_of_a_counted_table_is_above_zero_or_its_entropy(name, trained):
    model = trained(name, COUNTED)
    can = {
        "log_prob": Density,
        "bound": Bounded,
        "importance_bound": Tightening,
        "ode": Flowing,
    }
    kinds = [kind for kind, protocol in can.items() if isinstance(model, protocol)]
    assert bool(kinds) == (name not in ("autoencoder", "gan", "r3gan"))
    for kind in kinds:
        x = COUNTED.test.x[:8] if kind == "ode" else COUNTED.test.x
        nats = torch.cat(list(each(model, kind, x, 0, seed=0, device="cpu", k=4)))
        assert nats.isfinite().all()
        assert nats.max() <= 0
        if kind == "log_prob":  # of few rows, it may chance to be above what they have in truth
            gap = nats - TRUTH.log_prob(COUNTED.test.x[:, 2]) + math.log(20)
            assert gap.mean() < 2 * gap.std() / len(gap) ** 0.5
        else:
            assert nats.mean() < -4.9


def test_an_energy_of_a_counted_table_stays_below_its_entropy(trained):
    model = trained("ebm", COUNTED)
    nats = torch.cat(list(each(model, "energy", COUNTED.test.x, 0, seed=0, device="cpu")))
    ln_z = model.log_partition(noise=Noise.of(0, 64))
    assert nats.mean() - ln_z.upper < -4.9


def test_columns_that_are_all_real_keep_an_exact_density():
    data = table.of_arrays("x", {"a": torch.randn(60).numpy(), "b": torch.randn(60).numpy()})
    assert isinstance(data.domain.values, Real)
    for name in ("spline-flow", "glow"):
        assert isinstance(untrained(CATALOG[name](), data.domain, 0), Density)
    model = untrained(CATALOG["spline-flow"](), MIXED.domain, 0)
    assert isinstance(model, Bounded)
    assert isinstance(model, Tightening)
    assert not isinstance(model, Flowing)


@pytest.mark.parametrize(
    ("domain", "kind"), [(COUNTED.domain, Logistic), (MIXED.domain, Logistic)]
)
def test_a_vae_chooses_a_decoder_of_cells_and_draws_from_it(domain, kind):
    assert isinstance(likelihood("auto", domain), kind)
    assert VariationalAutoencoder().draw_mode(domain) == "sample"
    assert VariationalAutoencoder(draw="mean").draw_mode(domain) == "mean"
    assert VariationalAutoencoder().draw_mode(Domain("points", (1,), Real())) == "mean"


@pytest.mark.parametrize("of", [GaussianLikelihood, Logistic])
def test_draws_of_a_decoder_have_its_probabilities(of):
    decoder, n = of(COUNTED.domain), 40_000
    letters = torch.linspace(-0.3, 0.2, 10).tolist()
    f = torch.tensor([[0.3, *letters, 0.1, 1.5, *[2.0] * 10, 1.8][: 12 * of.outputs]])
    samples = decoder.draw(f.expand(n, -1), Noise.of(0, n))
    for d, column in enumerate(COUNTED.domain.values.columns):
        cells = torch.arange(column.count).float() + column.low
        rows = torch.tensor([[0.0, 0.0, 3.0]]).repeat(column.count, 1)
        rows[:, d] = cells
        log_prob = decoder.log_prob(rows, f.expand(column.count, -1))
        expected = log_prob.softmax(0)  # the other columns are independent, and cancel
        frequencies = (samples[:, d, None] == cells).float().mean(0)
        torch.testing.assert_close(frequencies, expected, atol=0.012, rtol=0)


def test_a_mixed_decoder_has_the_density_of_its_real_column():
    decoder = Logistic(MIXED.domain)
    f = torch.randn(1, 26, generator=torch.Generator().manual_seed(1))
    x = torch.tensor([[1.0, 2.0, 3.0, 0.0]]).repeat(4001, 1)
    x[:, 3] = torch.linspace(-60, 60, 4001)
    each_x = decoder.log_prob(x, f.expand(4001, -1)).double()
    alone = Logistic(COUNTED.domain).log_prob(x[:1, :3], f[:, [*range(12), *range(13, 25)]])
    total = torch.trapezoid(each_x.exp(), x[:, 3].double()).log()
    assert total.item() == pytest.approx(alone.item(), abs=0.05)


@pytest.mark.parametrize("name", ["bernoulli"])
def test_a_decoder_of_two_levels_is_refused_in_a_sentence(name):
    text = "columns that are whole, category.*--likelihood discretised-logistic or gaussian"
    with pytest.raises(BadInput, match=text):
        likelihood(name, COUNTED.domain)


@pytest.mark.parametrize("options", [{"entry": "logit"}, {"dequantisation": "variational"}])
def test_layers_for_levels_are_refused_for_columns(options):
    with pytest.raises(BadInput, match="columns of a table without bins of one width"):
        Glow(**options).check(COUNTED.domain)


def test_trivial_samples_of_a_table_are_rows_of_it():
    values = MIXED.domain.values
    for x in (_noise(MIXED, 2000, 0), _normal(MIXED, 2000, 0)):
        assert torch.equal(x[:, :3], x[:, :3].round())
        assert torch.allclose(values.unscale(values.scale(x)), x, atol=1e-4)
    shares = _noise(MIXED, 20_000, 0)[:, 1].long().bincount(minlength=10) / 20_000
    torch.testing.assert_close(shares, torch.full((10,), 0.1), atol=0.01, rtol=0)


def test_rows_that_stand_among_the_training_rows_are_not_called_copies():
    rows = torch.arange(600) % 20
    data = table.of_arrays("dice", {"a": (rows % 4).numpy(), "b": (rows // 4).numpy()})
    reference = feature_reference(data, extractor("coordinates", data), n=200, session=Session())
    frequencies = judge_samples(
        data.train.x[:200], reference, session=Session(), only={"nearest_train_ratio"}
    )
    assert not frequencies.metrics
    assert "no distance to compare with" in frequencies.skipped["nearest_train_ratio"]


def test_the_trivial_density_of_a_counted_table_is_near_its_entropy_and_never_above_zero():
    frequencies = independent(COUNTED)
    assert -5.1 < frequencies < -4.8  # its columns are independent: -4.93 but for the test rows
    one = table.of_arrays("rare", {"a": (torch.arange(400) % 50 == 0).int().numpy()})
    assert -0.2 < independent(one) < 0
    real = independent(MIXED)  # beside them a real column of deviation 1.1: -1.5 nats
    assert real == pytest.approx(independent(COUNTED) - 1.55, abs=0.3)
