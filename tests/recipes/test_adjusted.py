"""Sampling options at the call, over the whole catalogue: a view of the same weights.

What a recipe lets be chosen at sampling is an option of its model by the same name, but that the
field `sample_steps` is the option `steps`.
"""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from trilemma.core.adjusting import replaced_options, with_adjusted_part
from trilemma.core.errors import BadInput
from trilemma.core.model import Adjustable
from trilemma.core.noise import Noise
from trilemma.data import sources
from trilemma.families.diffusion.options import DiffusionSampling
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.diffusion_networks import interval
from trilemma.recipes.runs import untrained

SMALL = {
    "vae": {"width": 8},
    "ebm": {"sample_steps": 3, "ais_steps": 30, "width": 8},
    "tabular-autoregressive": {"width": 16, "depth": 1},
    "glow": {"depth": 1, "levels": 1, "width": 8},
    "flow-matching": {"width": 16, "sample_steps": 2},
    "ddpm": {"width": 16, "sample_steps": 2},
    "latent-diffusion": {"width": 16, "sample_steps": 2},
    "sr3": {"width": 16, "sample_steps": 2},
    "geoldm": {"width": 16, "layers": 1, "sample_steps": 2, "property": "alpha"},
}
"""Fields that make each recipe that can be adjusted quick."""
OTHER = {
    "sampler": "euler",
    "sample_steps": 4,
    "grid": "uniform",
    "eta": 0.5,
    "guidance": 2.0,
    "guidance_over": "0.2:0.7",
    "temperature": 0.5,
    "consistent": False,
    "draw": "sample",
    "ais_steps": 40,
}
"""Another value of each field than any default."""
NEEDS = {
    "grid": {"sampler": "euler"},
    "eta": {"sampler": "ddim"},
    "guidance_over": {"guidance": 3.0},
}
"""Fields without which another would do nothing."""
CASES = [(name, field) for name, kind in CATALOG.items() for field in kind.at_sampling]
NAMES = sorted({name for name, _ in CASES})
N = 3


def option(field, value):
    """Return the option that a recipe's field is, with its value."""
    value = interval(value) if field == "guidance_over" else value
    return {field.removeprefix("sample_"): value}


@pytest.fixture(scope="module")
def sets():
    """Return data for each recipe, loaded once."""
    lookup = {
        "points": sources.load("two-moons"),  # of recipes that fit images too, these stand last
        "image": sources.load("digits"),
        "conformer": sources.load("qm9-small"),
    }
    return {
        name: CATALOG[name](**SMALL[name]).data_for(lookup[kind])
        for name in NAMES
        for kind in lookup
        if kind in CATALOG[name].kinds
    }


def built(name, data, **changed):
    """Return a model with weights that are nobody's defaults, prepared for sampling."""
    recipe = CATALOG[name](**SMALL[name] | changed)
    model = untrained(recipe, data.domain, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    for stage in recipe.stages(model, data, 0):
        if stage.prepare:
            stage.prepare()
    return model.eval()


def drawn_from(model):
    return model.sample(N, noise=Noise.for_samples(0, 0, N))


def test_every_recipe_with_options_is_tested():
    assert set(SMALL) == set(NAMES)
    assert {field for _, field in CASES} == set(OTHER)


@pytest.mark.parametrize(("name", "field"), CASES)
def test_an_option_at_the_call_is_the_recipes_field(name, field, sets):
    first = NEEDS.get(field, {})
    changed = first | {field: OTHER[field]}
    model, other = built(name, sets[name]), built(name, sets[name], **changed)
    assert isinstance(model, Adjustable)
    before = drawn_from(model)
    options = {k: v for key, value in first.items() for k, v in option(key, value).items()}
    plain = model.adjusted(**options)
    view = plain.adjusted(**option(field, OTHER[field]))
    assert view.sampling == other.sampling
    assert view.sampling != plain.sampling
    assert torch.equal(drawn_from(view), drawn_from(other))
    if field == "ais_steps":
        estimates = [m.log_partition(noise=Noise.of(0, 4)) for m in (view, other, plain)]
        assert estimates[0] == estimates[1] != estimates[2]
    else:
        assert not torch.equal(drawn_from(view), drawn_from(plain))
    assert torch.equal(drawn_from(model), before), "the model itself was changed"


@pytest.mark.parametrize("name", NAMES)
def test_a_view_shares_all_weights(name, sets):
    model = built(name, sets[name])
    steps = {"steps": 3} if hasattr(model.sampling, "steps") else {}
    view = model.adjusted(**steps)
    workdir, expected = model.state_dict(keep_vars=True), view.state_dict(keep_vars=True)
    assert list(workdir) == list(expected)
    assert all(workdir[key].data_ptr() == expected[key].data_ptr() for key in workdir)
    with torch.no_grad():
        next(iter(model.parameters())).fill_(7.0)
    assert float(next(iter(view.parameters())).detach().flatten()[0]) == 7.0


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_refused_in_a_sentence_that_names_those_there_are(name, sets):
    model = built(name, sets[name])
    is_known = [field.name for field in fields(model.sampling)]
    with pytest.raises(BadInput, match="unknown sampling option 'stpes'") as refusal:
        model.adjusted(stpes=5)
    assert all(option_name in str(refusal.value) for option_name in is_known)
    assert "\n" not in str(refusal.value)


def test_what_the_training_does_not_allow_is_refused(sets):
    ddpm = built("ddpm", sets["ddpm"], chain=10)
    assert ddpm.adjusted(steps=10).sampling.steps == 10
    with pytest.raises(BadInput, match="11 sample steps were asked of a chain of 10"):
        ddpm.adjusted(steps=11)
    for name in ("ddpm", "latent-diffusion", "geoldm", "flow-matching"):
        model = built(name, sets[name], label_dropout=0.0)
        with pytest.raises(BadInput, match="label dropout 0 trains none"):
            model.adjusted(guidance=2.0)
    with pytest.raises(BadInput, match="without a property"):
        built("geoldm", sets["geoldm"], property="").adjusted(guidance=2.0)
    with pytest.raises(BadInput, match="temperature 3"):
        built("sr3", sets["sr3"]).adjusted(temperature=3.0)
    domain = replace(sets["ddpm"].domain, classes=(), frequencies=())
    for name in ("ddpm", "flow-matching"):
        model = untrained(CATALOG[name](**SMALL[name]), domain, 0)
        with pytest.raises(BadInput, match="without classes or captions"):
            model.adjusted(guidance=2.0)


def test_a_model_that_is_drawn_from_in_one_way_has_no_options(sets):
    model = torch.nn.Module()
    model.inner = torch.nn.Linear(1, 1)
    with pytest.raises(BadInput, match="in one way"):
        with_adjusted_part(model, "inner", {"steps": 2})


def test_options_replace_fields_and_leave_the_others():
    sampling = DiffusionSampling("unipc", 10)
    assert replaced_options(sampling, {"steps": 20}) == DiffusionSampling("unipc", 20)
    assert sampling.steps == 10
    with pytest.raises(BadInput, match="did you mean 'guidance'"):
        replaced_options(sampling, {"guidence": 2})
