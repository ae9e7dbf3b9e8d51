"""The contract, over the whole catalogue: a new recipe is tested by being listed."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from small_recipes import small

from trilemma.core.errors import Interrupted
from trilemma.core.model import capabilities
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.core.session import Session, Stop
from trilemma.data import sources
from trilemma.laws.book import timed
from trilemma.laws.trained import trained_laws
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.fields import fields
from trilemma.recipes.runs import begin, go_on, load, untrained
from trilemma.training.budget import Budget
from trilemma.training.run import Run

pytestmark = pytest.mark.usefixtures("no_previews")

NAMES = sorted(CATALOG)
DATA = {
    "image": "digits",
    "points": "two-moons",
    "graph": "community-small",
    "molecule": "qm9-small",
    "conformer": "qm9-small/conformer",
}
FIRST = {name: DATA[CATALOG[name].kinds[0]] for name in NAMES}
"""A data set that each recipe fits."""
CASES = [
    pytest.param(name, DATA[kind], id=f"{name}-{DATA[kind]}")
    for name in NAMES
    for kind in CATALOG[name].kinds
    if kind in DATA
]


@pytest.fixture(scope="module")
def sets():
    """Load each data set once."""
    return {name: loaded(name) for name in DATA.values()}


def loaded(name: str):
    """Load a data set, or the view of it that stands behind a slash."""
    source, _, kind = name.partition("/")
    return sources.load(source).viewed((kind,))


def train(path, name, data, steps, *, seed=0, precision="fp32"):
    run, events = begin(
        small(name),
        data,
        source=data.name,
        path=path,
        budget=Budget(steps=steps),
        session=Session(seed=seed),
        precision=precision,
    )
    return run, list(events)


@pytest.fixture(scope="module")
def unbroken(sets, tmp_path_factory):
    """Return what trains a recipe on a data set for twelve steps, once for all who ask."""

    @cache
    def trained(name, data):
        return train(tmp_path_factory.mktemp("whole") / "run", name, sets[data], 12)

    return trained


@pytest.mark.parametrize(("name", "data"), CASES)
def test_builds_and_every_parameter_gets_a_finite_gradient(name, data, sets):
    recipe, data = small(name), sets[data]
    model = untrained(recipe, data.domain, 0)
    touched = set()
    for stage in recipe.stages(model, data, 0):
        if stage.prepare:
            stage.prepare()
        stream = stage.stream()
        owned = [set(map(id, o.parameters)) for o in stage.model.objectives()]
        assert sum(map(len, owned)) == len(set().union(*owned)), "objectives share parameters"
        for objective in stage.model.objectives():
            parameters = list(objective.parameters)
            loss = objective.loss(stream.batch(0))
            assert loss.value.shape == ()
            # zero-initialised gates may hold back gradients at the very first step
            gradients = torch.autograd.grad(loss.value, parameters)
            assert all(g.isfinite().all() for g in gradients)
            assert any(g.abs().sum() > 0 for g in gradients)
            touched |= set(map(id, parameters))
    missing = [k for k, p in model.named_parameters() if id(p) not in touched]
    assert not missing, f"no objective trains {missing}"


@pytest.mark.parametrize(("name", "data"), CASES)
def test_loss_falls_over_a_few_dozen_steps(name, data, sets, tmp_path):
    # Of geoldm the first stage has a seventh of them.
    _, events = train(tmp_path / "run", name, sets[data], 140 if name == "geoldm" else 60)
    first_stage = events[0].stage
    steps = [e for e in events if e.kind == "step" and e.stage == first_stage]
    key = next(k for k in steps[0].values if k.endswith("/loss"))
    values = [e.values[key] for e in steps]
    start, end = sum(values[:5]) / 5, sum(values[-5:]) / 5
    if (
        len(sets[data].train)
        and len(untrained(small(name), sets[data].domain, 0).objectives()) == 1
    ):
        assert end < start
    else:  # a game: no player's loss need fall, but it stays finite and moves
        assert all(v == v and abs(v) < 1e4 for v in values)
        assert abs(end - start) > 1e-4


@pytest.mark.parametrize(("name", "data"), CASES)
def test_sample_i_is_the_same_for_one_three_and_seventy(name, data, sets):
    data = sets[data]
    model = untrained(small(name), data.domain, 0)
    many = draw(model, 70, seed=3)
    assert many.shape == (70, *data.domain.shape)
    assert many.dtype == data.train.x.dtype
    scale = data.domain.values.scale
    for n in (1, 3):
        gap = (scale(draw(model, n, seed=3)) - scale(many[:n])).abs()
        assert (gap > 1e-5).float().mean() < 1e-3  # a rounding to the next level, if any
    assert not torch.equal(draw(model, 3, seed=4), many[:3])


@pytest.mark.parametrize(("name", "data"), CASES)
def test_resume_is_exact_and_a_run_comes_back(name, data, sets, unbroken, tmp_path):
    (straight, _), data = unbroken(name, data), sets[data]
    stop = Stop()
    _, events = begin(
        small(name),
        data,
        source=data.name,
        path=tmp_path / "parts",
        budget=Budget(steps=12),
        precision="fp32",
        session=Session(stop=stop),
    )
    with pytest.raises(Interrupted, match="resume"):
        stopped_at(events, 7, stop)
    run, events = go_on(tmp_path / "parts", session=Session())
    list(events)
    a, b = straight.checkpoint(pytest.fail), run.checkpoint(pytest.fail)
    assert a.step == b.step == 12
    assert same(a.weights, b.weights)
    assert same(a.state, b.state)
    loaded = load(straight.path, warn=pytest.fail)
    assert torch.equal(
        draw(loaded.model, 5, seed=1), draw(load(run.path, warn=pytest.fail).model, 5, seed=1)
    )


def stopped_at(events, step, stop):
    """Let a signal come at a step."""
    for event in events:
        if event.kind == "step" and event.step == step:
            stop.signal = 2


def same(a, b) -> bool:
    """Tell whether two nests of values are equal bit for bit, but for clocks."""
    if isinstance(a, dict):
        skip = {"spent", "began", "overhead"}
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a if k not in skip)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    return a == b


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_mode_changes_nothing(name, sets):
    data = sets[FIRST[name]]
    model = untrained(small(name), data.domain, 0)
    stage = small(name).stages(model, data, 0)[0]
    batch = stage.stream().batch(0)
    objective = stage.model.objectives()[0]
    trained = float(objective.loss(batch).value)
    model.eval()
    assert float(objective.loss(batch).value) == pytest.approx(trained, rel=1e-6)
    before = copy.deepcopy(model.state_dict())
    model.sample(2, noise=Noise.of(0, 2))
    assert same(before, dict(model.state_dict()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_both_precisions_train(name, precision, sets, unbroken, tmp_path):
    if precision == "fp32":
        run, events = unbroken(name, FIRST[name])
    else:
        run, events = train(tmp_path / "run", name, sets[FIRST[name]], 4, precision=precision)
    assert run.recipe["precision"]["dtype"] == precision
    assert all(v == v for e in events if e.kind == "step" for v in e.values.values())
    assert all(
        t.isfinite().all()
        for t in run.checkpoint(pytest.fail).weights.values()
        if t.is_floating_point()
    )


@pytest.mark.parametrize("name", NAMES)
def test_laws_of_a_trained_model_hold(name, sets, unbroken):
    data = sets[FIRST[name]]
    run, _ = unbroken(name, FIRST[name])
    loaded = load(run.path, warn=pytest.fail)
    broken = [law for law, _ in timed(trained_laws(loaded.model, data.test.x)) if not law.holds]
    assert not broken


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_explains_itself(name):
    kind = CATALOG[name]
    assert kind.name == name
    assert "arXiv" in kind.reference or "doi" in kind.reference
    recipe_fields = fields(kind)
    assert len(recipe_fields) <= 26
    assert all(f.meaning for f in recipe_fields)
    assert "sample" in capabilities(untrained(kind(), loaded(FIRST[name]).domain, 0))


def test_runs_know_their_own(sets, unbroken):
    run, _ = unbroken("vae", "digits")
    assert isinstance(Run.open(run.path), Run)
    assert run.recipe["data"]["fingerprint"] == sets["digits"].fingerprint
