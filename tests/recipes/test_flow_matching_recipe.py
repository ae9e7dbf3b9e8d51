"""The recipe fits every data set it says, and its choices reach the model."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import estimate
from trilemma.core.noise import Noise
from trilemma.families.flow_matching import FlowMatchingSampling
from trilemma.recipes.fields import fields
from trilemma.recipes.flow_matching import FlowMatchingRecipe
from trilemma.recipes.runs import _recipe

DOMAINS = {
    "digits": Domain("image", (1, 8, 8), Levels(17), tuple("0123456789"), (0.1,) * 10),
    "mnist": Domain("image", (1, 28, 28), Levels(256), tuple("0123456789"), (0.1,) * 10),
    "binary": Domain("image", (1, 28, 28), Levels(2)),
    "photos": Domain("image", (3, 32, 32), Levels(256)),
    "odd": Domain("image", (3, 33, 50), Levels(256)),
    "moons": Domain("points", (2,), Real()),
    "table": Domain("points", (7,), Real((0.0,) * 7, (1.0,) * 7)),
}


@pytest.mark.parametrize("name", DOMAINS)
def test_fits(name):
    domain = DOMAINS[name]
    model = FlowMatchingRecipe(sample_steps=2).model(domain)
    x = model.sample(2, noise=Noise.of(0, 2))
    assert x.shape == (2, *domain.shape)
    levels = isinstance(domain.values, Levels)
    assert x.dtype == (torch.uint8 if levels else torch.float32)
    nats = model.bound(x) if levels else model.log_prob(x)  # pyright: ignore
    assert nats.shape == (2,)
    assert nats.isfinite().all()
    assert estimate(model) == ("ODE, Hutchinson" if levels else "ODE")


def test_it_has_few_fields_that_all_say_what_they_are():
    recipe_fields = fields(FlowMatchingRecipe)
    assert len(recipe_fields) <= 16
    assert all(field.meaning for field in recipe_fields)


@pytest.mark.parametrize("pairing", ["independent", "optimal-transport"])
@pytest.mark.parametrize("sampler", ["euler", "midpoint", "heun", "rk4", "dopri5"])
def test_every_choice_goes_with_every_other(pairing, sampler):
    recipe = FlowMatchingRecipe(pairing=pairing, sampler=sampler, sample_steps=3)
    x = recipe.model(DOMAINS["moons"]).sample(8, noise=Noise.of(0, 8))
    assert x.isfinite().all()


def test_weights_do_not_depend_on_how_they_are_sampled():
    torch.manual_seed(0)
    first = FlowMatchingRecipe().model(DOMAINS["digits"])
    changed = {"sampler": "midpoint", "sample_steps": 7, "guidance": 2.0}
    assert set(changed) == set(FlowMatchingRecipe.at_sampling)
    other = FlowMatchingRecipe(**changed).model(DOMAINS["digits"])
    other.load_state_dict(first.state_dict())
    assert other.sampling == FlowMatchingSampling("midpoint", 7, 2.0)
    assert first.sampling == FlowMatchingSampling("heun", 10)


def test_a_run_with_a_field_that_there_is_not_is_refused():
    defaults = {field.name: field.default for field in fields(FlowMatchingRecipe)}
    record = {"name": "flow-matching", "fields": defaults}
    assert _recipe(record, {"lr": 0.01}) == FlowMatchingRecipe(lr=0.01)
    record["fields"]["likelihood_steps"] = 20
    with pytest.raises(BadInput, match="likelihood_steps"):
        _recipe(record, {})


def test_what_is_fine_follows_the_levels():
    inner = {name: FlowMatchingRecipe().model(domain).inner for name, domain in DOMAINS.items()}
    assert inner["mnist"].clock[1] > 12
    assert inner["mnist"].frequencies[0] == pytest.approx(256 * torch.pi)
    assert inner["digits"].frequencies[0] == pytest.approx(17 * torch.pi)
    assert inner["table"].frequencies == ()
    assert inner["mnist"].finest < inner["digits"].finest < inner["binary"].finest


def test_plots_need_no_training():
    plots = FlowMatchingRecipe.plots()
    assert plots
    for plot in plots.values():
        assert plot.ys
        assert all(len(y) == len(plot.x) > 10 for y in plot.ys.values())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"guidance": 2.0, "label_dropout": 0.0}, "label-dropout"),
        ({"probes": 0}, "probes"),
        ({"sample_steps": 0}, "1 step or more"),
    ],
)
def test_nonsense_is_refused(changed, message):
    with pytest.raises(BadInput, match=message):
        FlowMatchingRecipe(**changed).model(DOMAINS["digits"])
