"""Few examples: batches shrink to them, it is said, and the record says what was trained."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.recipe import updates_wanted
from trilemma.recipes.runs import begin, go_on
from trilemma.training.budget import Budget
from trilemma.training.run import Run

ROWS = 12
PIXELS, LARGE = (Domain("image", (1, side, side), Levels(17)) for side in (16, 17))
DATA = {
    "image": "digits",
    "points": "two-moons",
    "graph": "community-small",
    "molecule": "qm9-small",
    "conformer": "qm9-small",
    "point-cloud": "shapes3d",
}
SLOW = {"ebm": {"sample_steps": 2, "chain_steps": 2}, "graphrl": {"episodes": 8, "width": 8}} | {
    "geoldm": {"width": 16, "layers": 1, "sample_steps": 2}
}


def first_rows(data, rows):
    """Cut a data set's splits."""

    def cut(split):
        tensors = {
            field.name: value[:rows]
            for field in dataclasses.fields(split)
            if isinstance(value := getattr(split, field.name), torch.Tensor)
        }
        return dataclasses.replace(split, **tensors)

    return dataclasses.replace(data, train=cut(data.train), test=cut(data.test))


@pytest.fixture(scope="module")
def sets():
    return {
        kind: first_rows(sources.load(name).viewed((kind,)), ROWS) for kind, name in DATA.items()
    }


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_every_recipe_takes_a_dozen_examples(name, sets, tmp_path):
    data = sets[CATALOG[name].kinds[-1]]
    recipe = CATALOG[name](**SLOW.get(name, {}))
    session = Session()
    _, events = begin(
        recipe,
        data,
        source=data.name,
        path=tmp_path / "run",
        budget=Budget(steps=2),
        precision="fp32",
        session=session,
    )
    events = list(events)
    assert events[-1].kind == "done"
    assert events[-1].values["epochs"] > 0
    warnings = [e.values["message"] for e in events if e.kind == "warning"]
    record = Run.open(tmp_path / "run").recipe["fields"]
    batch_size = recipe.batch_for(data.domain)
    assert record["batch"] == min(batch_size, ROWS)
    if batch_size > ROWS:
        assert f"takes {batch_size} examples" in warnings[0]
        assert f"there are {ROWS} " in warnings[0]
    _, more = go_on(tmp_path / "run", data=data, budget=Budget(steps=4), session=session)
    assert not [e for e in more if e.kind == "warning"]


@pytest.mark.parametrize(
    ("rows", "accumulate", "processes", "batch", "parts"),
    [
        (500, 4, 1, 64, 4),
        (64, 4, 1, 64, 4),
        (63, 1, 1, 63, 1),
        (63, 4, 1, 60, 4),
        (63, 4, 2, 56, 4),
        (3, 4, 1, 3, 3),
        (3, 4, 2, 2, 1),
    ],
)
def test_a_batch_is_shared_evenly_still(rows, accumulate, processes, batch, parts):
    recipe, note = CATALOG["vae"](batch=64, accumulate=accumulate).fitted(
        rows, PIXELS, processes=processes
    )
    assert (recipe.batch, recipe.accumulate) == (batch, parts)
    assert bool(note) == (rows < 64)
    assert recipe.batch % (recipe.accumulate * processes) == 0


def test_fewer_examples_than_processes_are_a_sentence():
    with pytest.raises(BadInput, match="2 training examples, and 4 processes"):
        CATALOG["vae"]().fitted(2, PIXELS, processes=4)


@pytest.mark.parametrize("name", ["pixelcnn", "pixel-transformer", "ddpm", "flow-matching", "ebm"])
def test_small_images_get_small_batches(name):
    recipe = CATALOG[name]()
    assert recipe.fitted(1000, PIXELS) == (dataclasses.replace(recipe, batch=32), "")
    assert recipe.fitted(1000, LARGE)[0].batch == 128
    assert dataclasses.replace(recipe, batch=64).fitted(1000, PIXELS)[0].batch == 64
    assert recipe.fitted(1000, PIXELS, processes=3)[0].batch == 30
    assert updates_wanted(recipe, 32_000) == 1000


def test_a_mixture_has_four_examples_to_a_gaussian_at_least():
    recipe, note = CATALOG["autoencoder"]().fitted(40, PIXELS)
    assert (recipe.batch, recipe.components) == (40, 10)
    assert "takes 128 examples" in note
    assert "32 Gaussians has 10 now" in note
    assert CATALOG["autoencoder"]().fitted(128, PIXELS) == (CATALOG["autoencoder"](), "")
    assert CATALOG["autoencoder"](prior="gaussian", batch=8).fitted(40, PIXELS)[1] == ""


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_what_a_comparison_wants_is_declared(name):
    recipe = CATALOG[name]
    assert recipe.least_updates >= 200
    assert updates_wanted(recipe(batch=8), 80) == recipe.least_updates


def test_a_pass_over_the_data_is_wanted_too():
    assert updates_wanted(CATALOG["vae"](batch=10), 100_001) == 10_001

    class Hasty(CATALOG["vae"]):
        least_updates = 3

    assert updates_wanted(Hasty(), 10) == 200
