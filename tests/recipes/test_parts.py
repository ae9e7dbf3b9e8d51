"""The same batch has the same gradient, however many parts and processes share its rows.

Over the whole catalogue, and over each choice that a recipe offers for training.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.families.flow_matching import FlowMatching
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.fields import fields
from trilemma.recipes.runs import untrained
from trilemma.training.precision import Precision
from trilemma.training.trainer import Settings, Trainer

CPU = torch.device("cpu")
DATA = {
    "points": "two-moons",
    "image": "digits",
    "graph": "community-small",
    "conformer": "qm9-small",
}


def kinds(name):
    """Return the kinds of data that a recipe fits, the quick ones first."""
    return [kind for kind in DATA if kind in CATALOG[name].kinds]


CASES = [
    (name, field.name, choice)
    for name, recipe in CATALOG.items()
    for field in fields(recipe)
    if field.name not in recipe.at_sampling
    for choice in field.choices
]


@cache
def loaded(kind):
    return sources.load(DATA[kind]).viewed((kind,))


def gradients(recipe, data, parts):
    """Return the first gradient of each objective of the first stage, and what its loss was."""
    model = untrained(recipe, data.domain, 0)
    stage = recipe.stages(model, data, 0)[0]
    if stage.prepare:
        stage.prepare()
    settings = Settings(lr=0.0, clip=0.0, accumulate=parts)
    options = {"session": Session(), "precision": Precision("fp32", False, ""), "total": 10}
    trainer = Trainer(model, stage, stage.stream(), settings, **options)
    values = trainer.step().values
    losses = {key: value for key, value in values.items() if key.endswith("/loss")}
    return losses, {name: o.first for name, o in trainer.optimisers.items()}


def same(recipe, data, parts):
    full_gradients, cut = gradients(recipe, data, 1), gradients(recipe, data, parts)
    for a, b in zip(full_gradients, cut, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-3, atol=2e-5)


def built(name, field, choice):
    """Return a recipe with one choice made, and data that it fits."""
    for kind in kinds(name):
        recipe, data = CATALOG[name](batch=16, **{field: choice}), loaded(kind)
        try:
            untrained(recipe, data.domain, 0)
        except BadInput:
            continue
        return recipe, data
    return None


@pytest.mark.parametrize(("name", "field", "choice"), CASES)
def test_parts_have_the_gradient_of_the_whole(name, field, choice):
    built_recipe = built(name, field, choice)
    if built_recipe is None:
        pytest.skip("a choice that none of these data fit")
    same(*built_recipe, 4)


COST, COUPLED = FlowMatching.cost, FlowMatching.coupled
PAIRED = ("flow-matching", "pairing", "optimal-transport")


def paired_in_its_part(self, y, *, condition, noise):
    label = None if condition is None else condition.label
    return COST(self, y, condition=condition, noise=COUPLED(self, y, label, noise))


@pytest.mark.parametrize("parts", [2, 4])
def test_a_pairing_of_the_rows_of_a_part_is_seen(monkeypatch, parts):
    built_recipe = built(*PAIRED)
    same(*built_recipe, parts)
    monkeypatch.setattr(FlowMatching, "cost", paired_in_its_part)
    monkeypatch.setattr(FlowMatching, "coupled", lambda self, y, label, noise: noise)
    with pytest.raises(AssertionError):
        same(*built_recipe, parts)


def test_a_loss_that_looks_at_its_neighbours_is_seen(monkeypatch):
    def centred(self, y, *, condition, noise):
        return COST(self, y - y.mean(0), condition=condition, noise=noise)

    monkeypatch.setattr(FlowMatching, "cost", centred)
    with pytest.raises(AssertionError):
        same(*built("flow-matching", "pairing", "independent"), 4)
