"""A property as a condition: trained, asked for, guided by; and what cannot be asked for."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from trilemma.cli import main
from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.core.point_cloud import sizes
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.conditions import conditions
from trilemma.recipes.runs import begin, go_on, load
from trilemma.training.budget import Budget

SMALL = {"width": 16, "layers": 1, "sample_steps": 3, "batch": 16, "autoencoder": "none"}


def train(path, steps=4, **fields):
    run, events = begin(
        CATALOG["geoldm"](**(SMALL | fields)),
        sources.load("qm9-small"),
        source="qm9-small",
        path=path,
        budget=Budget(steps=steps),
        precision="fp32",
        session=Session(),
    )
    list(events)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("alpha") / "run", property="alpha")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return train(tmp_path_factory.mktemp("plain") / "run")


def test_a_run_knows_its_property_and_its_half_of_the_data(run, plain):
    loaded = load(run.path, warn=print)
    data = loaded.data()
    full = sources.load("qm9-small").viewed(("conformer",))
    assert [one.name for one in loaded.domain.properties] == ["alpha"]
    assert len(data.train) + len(data.aside) == len(full.train)
    assert loaded.model.properties == data.domain.properties
    bare = load(plain.path, warn=print)
    assert bare.domain.properties == bare.model.properties == ()
    assert bare.data().aside is None
    assert len(bare.data().train) == len(full.train)


def test_the_stream_tells_each_cloud_its_own_property(run):
    loaded = load(run.path, warn=print)
    data = loaded.data()
    stage = loaded.recipe.stages(loaded.model, data, 0)[-1]
    stage.prepare()
    stream = stage.stream()
    batch, rows = stream.batch(0), stream.rows(0)
    assert torch.equal(batch.condition.properties, data.train.properties[rows])
    prompts = loaded.model.diffusion.prompts
    pairs = {
        (int(n), float(c)) for n, c in zip(sizes(data.train.x), data.train.properties, strict=True)
    }
    pool = zip(prompts.points.sum(1), prompts.properties, strict=True)
    assert {(int(n), float(c)) for n, c in pool} == pairs


def test_sizes_are_drawn_with_the_property_or_near_the_one_that_is_asked_for(run):
    model = load(run.path, warn=print).model
    pairs = {
        (int(n), float(c))
        for n, c in zip(
            model.diffusion.prompts.points.sum(1), model.diffusion.prompts.properties, strict=True
        )
    }
    cloud_sizes, points = model.sized(None, Noise.of(0, 64))
    assert {
        (int(n), float(c)) for n, c in zip(points.sum(1), cloud_sizes.properties, strict=True)
    } <= pairs
    low, many = (
        model.sized(Condition(properties=torch.full((64, 1), c)), Noise.of(0, 64))[1].sum(1)
        for c in (55.0, 92.0)
    )
    assert low.float().mean() + 3 < many.float().mean()
    x = model.sample(
        3,
        condition=Condition(properties=torch.tensor([[60.0], [75.0], [90.0]])),
        noise=Noise.of(0, 3),
    )
    assert x.isfinite().all()


def test_guidance_of_zero_is_unconditional_and_of_one_conditional(run):
    room = load(run.path, warn=print).domain.shape[0]
    points = torch.arange(room) < torch.full((4, 1), 15)
    noise = Noise.of(3, 4)
    condition = Condition(points=points, properties=torch.full((4, 1), 90.0))
    cloud_sizes = {
        w: load(run.path, warn=print, at_sampling={"guidance": w}).model.sample(
            4, condition=condition, noise=noise
        )
        for w in (0.0, 1.0, 3.0)
    }
    model = load(run.path, warn=print).model
    unconditional = model.sample(4, condition=Condition(points=points), noise=noise)
    assert torch.equal(cloud_sizes[0.0], unconditional)
    assert torch.equal(cloud_sizes[1.0], model.sample(4, condition=condition, noise=noise))
    gaps = [float((cloud_sizes[w] - unconditional)[..., :3].norm()) for w in (1.0, 3.0)]
    assert 0 < gaps[0] < gaps[1]


def test_it_goes_on_with_the_same_data(run, tmp_path):
    train(tmp_path / "run", property="gap")
    _, events = go_on(tmp_path / "run", budget=Budget(steps=6), session=Session())
    assert list(events)[-1].kind == "done"
    with pytest.raises(BadInput, match="no property is known"):
        load(run.path, warn=print).same(sources.load("shapes3d"))


def test_a_transformer_takes_one_too(tmp_path):
    trained_run = train(tmp_path / "run", property="mu", network="transformer", width=32)
    model = load(trained_run.path, warn=print).model
    one, two = (
        model.sample(
            2, condition=Condition(properties=torch.full((2, 1), c)), noise=Noise.of(0, 2)
        )
        for c in (0.0, 9.0)
    )
    assert not torch.equal(one, two)


def test_values_are_read_from_the_command_line(run, tmp_path, capsys):
    out = tmp_path / "m.npz"
    arguments = ["sample", str(run.path), "-n", "4", "--guidance", "2", "--out", str(out)]
    assert main([*arguments, "--cond", "alpha=70,80"]) == 0
    assert "outside" not in capsys.readouterr().err
    assert main([*arguments, "--cond", "alpha=500"]) == 0
    assert "alpha = 500 lies outside of the training examples'" in capsys.readouterr().err
    domain = load(run.path, warn=print).domain
    conditions_drawn = conditions(domain, "alpha = 70, 80", print)(1, 4)
    assert conditions_drawn.properties.tolist() == [[80.0], [70.0], [80.0]]


@pytest.mark.parametrize(
    ("cond", "words"),
    [
        ("alpha", "takes NAME=NUMBER, as in --cond alpha="),
        ("alpha=nan", "takes finite numbers"),
        ("alpha=many", "not 'many'"),
        ("alpha=", "takes finite numbers"),
        ("gap=3", "unknown property of this run 'gap'"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(cond, words, run, capsys):
    assert main(["sample", str(run.path), "--cond", cond]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert "Traceback" not in message


def test_a_run_without_a_property_says_so(plain, capsys):
    assert main(["sample", str(plain.path), "--cond", "alpha=80"]) == 2
    assert "this run was trained without one" in capsys.readouterr().err
    assert main(["sample", str(plain.path), "--guidance", "2"]) == 2
    assert "without a property" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        ("qm9-small", ["--property", "alhpa"], "did you mean 'alpha'"),
        ("shapes3d", ["--property", "alpha"], "no property is known"),
        ("qm9-small", ["--guidance", "2"], "without a property"),
        (
            "qm9-small",
            ["--property", "mu", "--guidance", "2", "--label-dropout", "0"],
            "label dropout 0 trains none",
        ),
        ("qm9-small", ["--property", "mu", "--label-dropout", "2"], "it is a share, 0 to 1"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(data, options, words, tmp_path, capsys):
    path = tmp_path / "run"
    arguments = ["train", "geoldm", "--data", data, "--run", str(path), "--steps", "2"]
    assert main([*arguments, *options]) == 2
    assert words in capsys.readouterr().err
    assert not path.exists()


def test_dropout_of_the_property_is_of_training(run):
    diffusion = load(run.path, warn=print).model.diffusion
    assert diffusion.training_options.label_dropout == 0.1
    recipe = dataclasses.replace(load(run.path, warn=print).recipe, property="")
    assert (
        recipe.model(load(run.path, warn=print).domain).diffusion.training_options.label_dropout
        == 0.0
    )
