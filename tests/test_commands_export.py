"""Weights that travel: what an export holds, what reads it, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import torch
from refusals import refused
from safetensors.torch import load_file

import trilemma as tl
from trilemma.cli import main
from trilemma.core.sampling import draw
from trilemma.metrics.registry import quantity
from trilemma.recipes.runs import load

pytestmark = pytest.mark.usefixtures("no_previews", "no_pages")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train a VAE for a few steps, and measure it."""
    folder = tmp_path_factory.mktemp("runs") / "vae"
    words = ["--steps", "5", "--batch", "32", "--latent", "4"]
    assert main(["train", "vae", "--data", "name:digits@20%", *words, "--run", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def exported(run):
    """Export it before anything was measured."""
    folder = run.parent / "travels"
    assert main(["export", str(run), "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def damaged(exported, tmp_path):
    """Copy the folder, to be changed."""
    return shutil.copytree(exported, tmp_path / "copy")


def change(folder, **values):
    """Change entries of the record's weights."""
    path = folder / "recipe.json"
    record = json.loads(path.read_text())
    record["weights"] |= values
    path.write_text(json.dumps({**record, "weights": record["weights"]}))


def test_it_holds_weights_record_and_card_and_nothing_of_the_machine(run, exported):
    assert {path.name for path in exported.iterdir()} == {
        "model.safetensors",
        "recipe.json",
        "README.md",
    }
    record, original = (json.loads((p / "recipe.json").read_text()) for p in (exported, run))
    data = (exported / "model.safetensors").read_bytes()
    assert record["weights"] == {
        "file": "model.safetensors",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "step": 5,
    }
    assert record["fields"] == original["fields"]
    assert record["environment"]["torch"] == torch.__version__
    assert str(run.parent) not in (exported / "recipe.json").read_text()
    ours = load_file(exported / "model.safetensors")
    theirs = load_file(run / "checkpoints/step_5/model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_is_loaded_and_sampled_as_the_run_is(run, exported, tmp_path, capsys):
    a, b = (load(path, warn=pytest.fail).model for path in (run, exported))
    assert torch.equal(draw(a, 5, seed=1), draw(b, 5, seed=1))
    assert tl.load(exported).steps == 5
    target = tmp_path / "a.png"
    assert main(["sample", str(exported), "-n", "4", "--out", str(target)]) == 0
    assert target.exists()
    assert main(["verify", str(exported)]) in (0, 1)
    assert "laws hold" in capsys.readouterr().out


def test_a_run_starts_from_it_as_from_the_run(run, exported, tmp_path):
    for name, origin in (("a", run), ("b", exported)):
        words = ["--data", "name:digits@20%", "--steps", "2", "--from", str(origin)]
        assert main(["train", "vae", *words, "--run", str(tmp_path / name)]) == 0
    a, b = (load(tmp_path / name, warn=pytest.fail).model.state_dict() for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert main(["export", str(tmp_path / "b"), "--out", str(tmp_path / "c")]) == 0
    assert "started from the weights of travels, step 5" in (tmp_path / "c/README.md").read_text()
    record = json.loads((tmp_path / "c/recipe.json").read_text())
    assert record["start"]["run"] == "travels"


def test_the_card_says_what_is_known_and_that_nothing_was_measured(exported):
    card = (exported / "README.md").read_text()
    assert 'tl.load("travels").sample(16)' in card
    assert "trilemma train vae --from travels" in card
    assert "Nothing was measured of it" in card
    assert "budget: 5 steps" in card
    assert "UCI" in card
    assert "licence: " in card
    assert "arXiv:1312.6114" in card


def test_the_card_has_the_figures_with_floor_n_seed_and_split(run, tmp_path, capsys):
    assert main(["evaluate", str(run), "--samples", "64", "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    folder = tl.load(run).export(tmp_path / "measured")
    card = (folder / "README.md").read_text()
    assert "Of 64 samples, seed 0, on the test split of digits@20%" in card
    assert card.count("\n| ") == len(evaluation["metrics"]) + 1
    rows = {}
    for line in card.splitlines():
        if line.startswith("| "):
            label, value, _, floor, *_ = line.strip("| ").split(" | ")
            rows[label] = value, floor
    for name in ("kd", "bits_per_dim"):
        score, what = evaluation["metrics"][name], quantity(name)
        value = f"{what.written(score['value'])} {score['unit']}".strip()
        assert rows[what.label] == (value, what.written(score["floor"]))
    assert "Not measured: " in card


def test_evaluating_an_export_reads_the_data_by_name(exported, tmp_path, capsys):
    copy = shutil.copytree(exported, tmp_path / "copy")
    assert main(["evaluate", str(copy), "--samples", "64", "--json"]) == 0
    assert "kd" in json.loads(capsys.readouterr().out)["metrics"]


def test_json_says_where_it_is(run, tmp_path, capsys):
    target = tmp_path / "out"
    assert main(["export", str(run), "--out", str(target), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["out"] == str(target)
    assert answer["step"] == 5


@pytest.mark.parametrize("change_it", ["cut", "changed", "missing", "undescribed"])
def test_damage_is_seen(change_it, damaged, tmp_path, capsys):
    weights = damaged / "model.safetensors"
    data = weights.read_bytes()
    match change_it:
        case "cut":
            weights.write_bytes(data[:-1])
            reason = "bytes where"
        case "changed":
            weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
            reason = "its sha256 differs"
        case "missing":
            weights.unlink()
            reason = "is missing"
        case _:
            change(damaged, sha256=None, bytes="many")
            reason = "does not say bytes"
    assert reason in refused(capsys, "sample", str(damaged), "--out", str(tmp_path / "a.png"))
    words = ["--data", "name:digits@20%", "--from", str(damaged), "--run", str(tmp_path / "run")]
    assert reason in refused(capsys, "train", "vae", "--steps", "1", *words)
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_is_refused(run, exported, tmp_path, capsys):
    assert "never overwrites" in refused(capsys, "export", str(run), "--out", str(exported))
    answer = refused(capsys, "resume", str(exported), "--steps", "9")
    assert f"trilemma train vae --from {exported}" in answer
    assert "is an export already" in refused(
        capsys, "export", str(exported), "--out", str(tmp_path / "b")
    )
    assert "does not exist" in refused(
        capsys, "export", str(tmp_path / "none"), "--out", str(tmp_path / "b")
    )
    assert not (tmp_path / "b").exists()
