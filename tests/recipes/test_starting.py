"""A run that starts from another's weights: what comes along, what is new, what is frozen."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file
from small_recipes import small

from trilemma.cli import main
from trilemma.core.errors import BadInput, Interrupted
from trilemma.core.session import Session, Stop
from trilemma.data import sources
from trilemma.recipes.catalog import CATALOG
from trilemma.recipes.runs import begin, go_on, load, untrained
from trilemma.recipes.starting import Start
from trilemma.training.budget import Budget

pytestmark = pytest.mark.usefixtures("no_previews", "no_pages")

CONDITIONAL = {"vae": {"conditional": True}, "gan": {"conditional": True}}
FROZEN = {
    "vae": "encoder",
    "gan": "critic.blocks.0",
    "ddpm": "network.down,network.enter.weight",
    "latent-diffusion": "first_stage",
}
"""Parts of each model that may be frozen."""
NEW = {
    "vae": {"embed.table.weight": "[3, 16] here, [11, 16] there"},
    "gan": {
        "generator.conditioned_noise.embed.table.weight": "[3, 32] here, [11, 32] there",
        "critic.projection.embed.table.weight": "[3, 64] here, [11, 64] there",
    },
    "ddpm": {"network.class_embedding.table.weight": "[3, 64] here, [11, 64] there"},
    "latent-diffusion": {
        "diffusion.network.context.classes.weight": "[2, 128] here, [10, 128] there"
    },
}
"""What data of two classes make new."""


def recipe(name, **fields):
    return small(name, batch=16, **CONDITIONAL.get(name, {}), **fields)


@pytest.fixture(scope="module")
def digits():
    return sources.load("digits")


@pytest.fixture(scope="module")
def two_digits(digits):
    """Return the digits 0 and 1 alone: fewer classes."""
    splits = {}
    for name in ("train", "test"):
        split = getattr(digits, name)
        splits[name] = split.select(torch.where(split.labels < 2)[0])
    domain = dataclasses.replace(digits.domain, classes=("0", "1"), frequencies=(0.5, 0.5))
    return dataclasses.replace(digits, name="two digits", domain=domain, **splits)


@pytest.fixture(scope="module")
def runs(digits, tmp_path_factory):
    """Train each recipe for a few steps."""
    folder = tmp_path_factory.mktemp("runs")
    for name in FROZEN:
        train(recipe(name), digits, folder / name, steps=6)
    return folder


def train(recipe, data, path, *, steps=4, start=None, stop=None):
    """Train, and return the run, its events and what was said at its beginning."""
    sentences = []
    run, events = begin(
        recipe,
        data,
        source=data.name,
        path=path,
        budget=Budget(steps=steps),
        session=Session(say=sentences.append, stop=Stop() if stop is None else stop),
        precision="fp32",
        start=start,
    )
    return run, list(events) if stop is None else events, sentences


def stopped_at(events, step, stop):
    """Let a signal come at a step."""
    for event in events:
        if event.kind == "step" and event.step == step:
            stop.signal = 2


def weights(path):
    return dict(load(path, warn=pytest.fail).model.state_dict())


def start_of(runs, name):
    return Start(runs / name, tuple(FROZEN[name].split(",")))


def is_frozen(name, parameter):
    parts = FROZEN[name].split(",")
    return any(parameter == part or parameter.startswith(f"{part}.") for part in parts)


@pytest.mark.parametrize("name", list(FROZEN))
def test_what_fits_is_taken_and_what_is_frozen_stays(name, runs, two_digits, tmp_path):
    run, events, sentences = train(
        recipe(name), two_digits, tmp_path / "run", start=start_of(runs, name)
    )
    before, after = weights(runs / name), weights(run.path)
    names = dict(load(run.path, warn=pytest.fail).model.named_parameters())
    for parameter in names:
        unchanged = parameter in before and torch.equal(before[parameter], after[parameter])
        assert unchanged == is_frozen(name, parameter), parameter
    record = json.loads((run.path / "recipe.json").read_text())["start"]
    assert {k: v for k, v in record["new"].items() if k in names} == NEW[name]
    assert record["step"] == 6
    assert record["freeze"] == FROZEN[name].split(",")
    count, total = record["taken"]["tensors"], record["taken"]["of"]
    assert 0 < total - count == len(record["new"])
    first, domains, frozen = sentences
    assert first.startswith(f"{count} of {total} tensors (")
    assert all(f"{k} {v}" in first for k, v in NEW[name].items())
    assert "differ from those of" in domains
    assert "classes" in domains
    numbers = sum(v.numel() for k, v in names.items() if is_frozen(name, k))
    assert frozen.startswith(f"{numbers:,} of ")
    # a frozen parameter has no moments, no average and no weights of its own in the state
    trainer = run.checkpoint(pytest.fail).state["trainer"]
    assert not any(is_frozen(name, k) for k in trainer["raw"])
    if name == "latent-diffusion":
        assert {e.stage for e in events} == {"diffusion"}


@pytest.mark.parametrize("name", list(FROZEN))
def test_a_run_with_frozen_parts_resumes_bit_for_bit(name, runs, two_digits, tmp_path):
    start = start_of(runs, name)
    straight, _, _ = train(recipe(name), two_digits, tmp_path / "whole", steps=6, start=start)
    stop = Stop()
    moved = tmp_path / "moved"
    moved.symlink_to(runs / name)
    parts, events, _ = train(
        recipe(name),
        two_digits,
        tmp_path / "parts",
        steps=6,
        start=Start(moved, start.freeze),
        stop=stop,
    )
    with pytest.raises(Interrupted, match="resume"):
        stopped_at(events, 4, stop)
    moved.unlink()  # the weights that it started from are never needed again
    run, events = go_on(parts.path, data=two_digits, session=Session())
    list(events)
    a, b = straight.checkpoint(pytest.fail), run.checkpoint(pytest.fail)
    assert a.step == b.step == 6
    assert all(torch.equal(a.weights[k], b.weights[k]) for k in a.weights)
    assert a.state["trainer"].keys() == b.state["trainer"].keys()
    for moment in ("first", "second"):
        for key, optimiser in a.state["trainer"]["optimisers"].items():
            pairs = zip(
                optimiser[moment], b.state["trainer"]["optimisers"][key][moment], strict=True
            )
            assert all(torch.equal(x, y) for x, y in pairs)


def test_a_run_that_has_saved_nothing_takes_its_first_weights_again(runs, two_digits, tmp_path):
    start = start_of(runs, "vae")
    straight, _, _ = train(recipe("vae"), two_digits, tmp_path / "whole", start=start)
    origin = tmp_path / "origin"
    origin.symlink_to(runs / "vae")
    unsaved, _, _ = train(
        recipe("vae"),
        two_digits,
        tmp_path / "begun",
        start=Start(origin, start.freeze),
        stop=Stop(),
    )
    run, events = go_on(unsaved.path, data=two_digits, session=Session())
    list(events)
    a, b = straight.checkpoint(pytest.fail), run.checkpoint(pytest.fail)
    assert all(torch.equal(a.weights[k], b.weights[k]) for k in a.weights)
    unsaved, _, _ = train(
        recipe("vae"),
        two_digits,
        tmp_path / "again",
        start=Start(origin, start.freeze),
        stop=Stop(),
    )
    origin.unlink()
    train(recipe("vae"), two_digits, origin)
    with pytest.raises(BadInput, match="have changed since"):
        go_on(unsaved.path, data=two_digits, session=Session())


def test_fields_of_the_model_are_the_runs_and_those_of_training_the_recipes(runs, tmp_path):
    start, kind = Start(runs / "ddpm"), CATALOG["ddpm"]
    assert start.recipe(kind, {}) == dataclasses.replace(recipe("ddpm"), batch=kind().batch)
    assert start.recipe(kind, {"width": 8, "lr": 0.5}).width == 8
    with pytest.raises(BadInput, match="is of recipe 'ddpm', and 'vae' was asked for"):
        start.recipe(CATALOG["vae"], {})


def test_nothing_that_fits_is_refused(runs, two_digits, tmp_path):
    with pytest.raises(BadInput, match="of this model has its shape in"):
        train(
            small("ddpm", width=24),
            two_digits,
            tmp_path / "run",
            start=Start(runs / "ddpm"),
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "part", "reason"),
    [
        ("vae", "encodr", "'encodr' is no part of this model; did you mean 'encoder'"),
        ("vae", "encoder.net", "is no part of this model"),
        ("vae", "embed", "would leave embed.table.weight as chance made it"),
        ("gan", "critic", "would leave critic.projection.embed.table.weight as chance made it"),
        ("ddpm", "", "'' is no part of this model"),
    ],
)
def test_what_cannot_be_frozen_is_refused(name, part, reason, runs, two_digits, tmp_path):
    start = Start(runs / name, tuple(part.split(",")))
    with pytest.raises(BadInput, match=reason):
        train(recipe(name), two_digits, tmp_path / "run", start=start)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "parts", "objective"),
    [
        ("gan", ("critic",), "critic"),
        ("vae", ("encoder", "decoder", "embed", "likelihood"), "vae"),
        ("latent-diffusion", ("first_stage", "diffusion"), "denoiser"),
    ],
)
def test_freezing_all_that_is_trained_is_refused(name, parts, objective, runs, digits, tmp_path):
    model = untrained(recipe(name), digits.domain, 0)
    parts = [
        part for part in parts if hasattr(model, part) and list(getattr(model, part).parameters())
    ]
    with pytest.raises(BadInput, match=f"leaves objective '{objective}' of"):
        train(recipe(name), digits, tmp_path / "run", start=Start(runs / name, tuple(parts)))
    assert not (tmp_path / "run").exists()


def test_layers_that_start_from_data_start_from_the_run(digits, tmp_path):
    flow = small("glow", batch=16)
    origin, _, _ = train(flow, digits, tmp_path / "a", steps=3)
    run, _, _ = train(flow, digits, tmp_path / "b", steps=1, start=Start(origin.path))
    first = load_file(run.path / "checkpoints/step_0/model.safetensors")
    assert all(torch.equal(first[k], v) for k, v in weights(origin.path).items())


def test_what_a_later_stage_fits_is_fitted_anew(digits, two_digits, tmp_path):
    coder = small("autoencoder", batch=16)
    origin, _, _ = train(coder, digits, tmp_path / "a", steps=10)
    run, _, _ = train(coder, two_digits, tmp_path / "b", steps=10, start=Start(origin.path))
    before, after = weights(origin.path), weights(run.path)
    assert not torch.allclose(before["prior.means"], after["prior.means"], atol=0.1)


def test_counters_of_a_run_begin_anew(digits, tmp_path):
    vae = small("vae", batch=16, kl_warmup=10)
    origin, _, _ = train(vae, digits, tmp_path / "a", steps=6)
    run, _, _ = train(vae, digits, tmp_path / "b", steps=2, start=Start(origin.path))
    assert weights(origin.path)["updates"] == 6
    assert weights(run.path)["updates"] == 2


def test_the_command_says_what_comes_from_where(runs, capsys, tmp_path):
    run = str(tmp_path / "run")
    words = ["train", "ddpm", "--data", "name:digits@20%", "--steps", "2", "--batch", "16"]
    assert (
        main([*words, "--from", str(runs / "ddpm"), "--freeze", "network.down", "--run", run]) == 0
    )
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == run
    assert "69 of 69 tensors (100 % of the numbers) come from" in " ".join(captured.err.split())
    assert json.loads((tmp_path / "run/recipe.json").read_text())["fields"]["width"] == 16
    assert main([*words, "--freeze", "network"]) == 2
    assert "--freeze keeps weights that --from RUN gives" in capsys.readouterr().err
    assert main([*words, "--from", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err
