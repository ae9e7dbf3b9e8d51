"""Comparisons over grids, through the command line: cells, groups, pages, refusals, going on."""

from __future__ import annotations

import csv
import json
import math
import shutil
import statistics
from pathlib import Path

import pytest

from trilemma.cli import main
from trilemma.comparison.cells import cells, read_grid, read_settings
from trilemma.comparison.race import Race
from trilemma.core.errors import Diverged
from trilemma.report import gallery
from trilemma.report.page import Entry

LOSSES = "loss=ns,saturating"
LABELS = ["gan loss=ns", "gan loss=saturating"]
QUICK = ["compare", "--data", "two-moons", "--minutes", "0.005", "--samples", "100"]
SMALL = [*QUICK, "--recipes", "gan", "--set", "width=16", "--set", "batch=16"]
SEEDED = [*SMALL, "--grid", LOSSES, "--grid", "seed=0,1", "--json"]


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_pages(monkeypatch):
    """Leave the pages out where they are not what is tested: they take longest."""
    monkeypatch.setattr(gallery, "entry", lambda folder, row, data: Entry(row))
    monkeypatch.setattr(gallery, "run_report", lambda run, data, model=None: None)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """Compare two losses with two seeds each; return the folder that the command wrote."""
    folder = tmp_path_factory.mktemp("grid") / "made"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "run_report", lambda run, data, model=None: None)
        assert main([*SEEDED, "--out", str(folder)]) == 0
    return folder


def refused(capsys, *words: str) -> str:
    """Run a command that must be refused in one line, before it makes anything; return it."""
    assert main(list(words)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert not list(Path().iterdir())
    return captured.err.strip().splitlines()[-1]


# --- what it makes -------------------------------------------------------------------------------


def test_a_run_for_each_cell_and_a_group_for_each_label(seeded):
    table = json.loads((seeded / "table.json").read_text())
    assert [(row["label"], row["seed"]) for row in table["rows"]] == [
        (label, seed) for label in LABELS for seed in (0, 1)
    ]
    assert table["rows"][2]["fields"] == {"loss": "saturating"}
    assert table["seed"] == [0, 1]
    assert table["settings"] == {"width": "16", "batch": "16"}
    assert {path.name for path in (seeded / "runs").iterdir()} == {
        f"gan-loss-{loss}-seed-{seed}" for loss in ("ns", "saturating") for seed in (0, 1)
    }
    record = json.loads((seeded / "runs/gan-loss-saturating-seed-1/recipe.json").read_text())
    assert record["seed"] == 1
    chosen = {"loss": "saturating", "width": 16, "batch": 16}
    assert chosen.items() <= record["fields"].items()


def test_groups_hold_mean_deviation_and_number(seeded):
    table = json.loads((seeded / "table.json").read_text())
    assert [group["label"] for group in table["groups"]] == LABELS
    for group in table["groups"]:
        rows = [row for row in table["rows"] if row["label"] == group["label"]]
        assert group["seeds"] == group["measured"] == [0, 1]
        assert set(group["metrics"]) == set(rows[0]["metrics"])
        values = [row["metrics"]["fd"]["value"] for row in rows]
        fd = group["metrics"]["fd"]
        assert fd["mean"] == pytest.approx(statistics.fmean(values))
        assert fd["sd"] == pytest.approx(statistics.stdev(values))
        assert fd["n"] == 2
        reach = 12.706 * fd["sd"] / math.sqrt(2)
        assert fd["high"] - fd["mean"] == pytest.approx(reach, rel=1e-4)
        assert (
            fd["floor"] == rows[0]["metrics"]["fd"]["floor"] == rows[1]["metrics"]["fd"]["floor"]
        )
        assert group["cost"]["parameters"]["sd"] == 0
    assert "means over 2 seeds" in table["verdict"]
    assert any(label in table["verdict"] for label in LABELS)


def test_the_tables_hold_runs_and_groups(seeded):
    with (seeded / "table.csv").open() as file:
        runs = [line for line in csv.DictReader(file) if line["kind"] == "recipe"]
    assert [(r["label"], r["recipe"], r["seed"]) for r in runs] == [
        (label, "gan", seed) for label in LABELS for seed in "01"
    ]
    with (seeded / "groups.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["label"] for line in lines if line["kind"] == "recipe"] == LABELS
    assert lines[0]["recipe"] == "gan"
    assert lines[0]["seed"] == "0 1"
    assert lines[0]["fd_seeds"] == "2"
    assert float(lines[0]["fd_sd"]) > 0
    assert [line["recipe"] for line in lines if line["kind"] == "floor"] == ["real data"]


def test_the_page_has_the_labels_and_says_what_the_spread_is(seeded):
    page = (seeded / "report.html").read_text()
    for words in (*LABELS, "Two variants on two-moons", "seeds 0 and 1", "width = 16", " ± "):
        assert words in page
    assert "sample standard deviation over the seeds" in page
    assert "of the first seed that was measured" in page


def test_the_command_goes_on_and_prints_one_json_object(seeded, workdir, capsys, no_pages):
    shutil.copytree(seeded, "stopped")
    runs = Path("stopped/runs")
    (runs / "gan-loss-ns-seed-1/evaluation.json").unlink()
    shutil.rmtree(runs / "gan-loss-saturating-seed-1")
    (Path("stopped") / "report.html").unlink()
    stamp = (runs / "gan-loss-ns-seed-0/evaluation.json").stat().st_mtime_ns
    assert main([*SEEDED, "--out", "stopped"]) == 0
    output = json.loads(capsys.readouterr().out)
    before = json.loads((seeded / "table.json").read_text())
    assert (runs / "gan-loss-ns-seed-0/evaluation.json").stat().st_mtime_ns == stamp
    assert [row["metrics"] for row in output["rows"][:3]] == [
        row["metrics"] for row in before["rows"][:3]
    ]
    verdict_keys = {"choice", "verdict", "why_not"}
    assert set(output) == verdict_keys | {
        "data",
        "seed",
        "minutes",
        "grid",
        "settings",
        "rows",
        "groups",
    }
    assert (Path("stopped") / "report.html").exists()


def test_another_grid_is_another_comparison(seeded, workdir, capsys):
    out = ["--out", str(seeded)]
    assert main([*SMALL, "--grid", LOSSES, "--grid", "seed=0,2", *out]) == 2
    assert "is not this comparison" in capsys.readouterr().err
    assert main([*SMALL[:-2], "--grid", LOSSES, "--grid", "seed=0,1", *out]) == 2


def test_without_seeds_each_run_is_a_line_and_a_failure_keeps_the_others(
    workdir, capsys, monkeypatch, no_pages
):
    trained = Race.trained

    def fails(self, cell):
        if cell.fields["loss"] == "ns":
            raise Diverged("training left the finite numbers.")
        return trained(self, cell)

    monkeypatch.setattr(Race, "trained", fails)
    assert main([*SMALL, "--grid", LOSSES, "--out", "made"]) == 0
    printed = capsys.readouterr().out
    assert all(label in printed for label in LABELS)
    assert "±" not in printed
    assert "gan loss=ns has no fd" in printed
    table = json.loads(Path("made/table.json").read_text())
    assert table["rows"][0]["metrics"] == {}
    assert table["rows"][1]["metrics"]["fd"]["value"] > 0
    assert table["seed"] == 0
    assert "groups" not in table
    assert not Path("made/groups.csv").exists()
    assert "left the finite numbers" in Path("made/report.html").read_text()


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--grid", "lss=ns,wgan"], "unknown field of recipe 'gan' 'lss'; did you mean 'loss'"),
        (["--recipes", "gan,vae", "--grid", "critic_steps=1,2"], "field of recipe 'vae'"),
        (["--grid", "loss=ns,wgna"], "gan loss=wgna: unknown loss 'wgna'; did you mean 'wgan'"),
        (["--grid", "latent=8,two"], "gan latent=two: --latent takes a whole number, not 'two'"),
        (["--grid", "augment=none,colour"], "gan augment=colour: --augment colour moves"),
        (["--grid", "loss=ns,ns"], "has the value ns twice"),
        (["--grid", "lr=0.001,1e-3"], "gan lr=1e-3 is the same as gan lr=0.001"),
        (["--grid", "loss="], "has an empty value"),
        (["--grid", "loss=ns,,wgan"], "has an empty value"),
        (["--grid", "loss"], "--grid takes FIELD=A,B,…"),
        (["--grid", "loss=ns", "--grid", "loss=wgan"], "is given twice"),
        (["--grid", "seed=0,00"], "has the value 0 twice"),
        (["--grid", "seed=0,x"], "whole numbers from 0, not 'x'"),
        (["--grid", "seed=0,1", "--seed", "3"], "--seed and --grid seed"),
        (["--set", "width"], "--set takes FIELD=VALUE"),
        (["--set", "widht=8"], "did you mean 'width'"),
        (["--set", "width=many"], "--width takes a whole number"),
        (["--set", "width="], "has no value"),
        (["--set", "width=8", "--set", "width=9"], "is given twice"),
        (["--set", "seed=4"], "with --seed"),
        (["--set", "loss=ns", "--grid", "loss=ns,wgan"], "both give loss"),
    ],
)
def test_mistakes_get_one_sentence_before_anything_is_trained(words, says, workdir, capsys):
    assert says in refused(capsys, *QUICK, "--recipes", "gan", *words)


def test_a_refusal_by_the_model_names_the_cell(workdir, capsys, monkeypatch):
    from trilemma.core.errors import BadInput
    from trilemma.recipes.gan import AdversarialNet

    table = AdversarialNet.model

    def model(self, domain):
        if self.loss == "saturating":
            raise BadInput("that makes no sense.")
        return table(self, domain)

    monkeypatch.setattr(AdversarialNet, "model", model)
    captured = refused(capsys, *QUICK, "--recipes", "gan", "--grid", LOSSES)
    assert captured == "trilemma: gan loss=saturating: that makes no sense."


# --- cells ---------------------------------------------------------------------------------------


def test_cells_are_the_product_in_the_order_given():
    grid = read_grid(["latent=1,2", "seed=3,4"])
    table = cells(["vae", "gan"], grid, read_settings(["clip=0.5"]), seed=0)
    assert [cell.title for cell in table[:3]] == [
        "vae latent=1 seed=3",
        "vae latent=1 seed=4",
        "vae latent=2 seed=3",
    ]
    assert len(table) == 8
    assert table[-1].folder == "gan-latent-2-seed-4"
    assert table[-1].label == "gan latent=2"
    assert all(cell.recipe.clip == 0.5 for cell in table)


def test_folders_of_different_values_are_different():
    table = cells(["gan"], read_grid(["penalty=r1+r2,r1"]), (), seed=0)
    assert [cell.folder for cell in table] == ["gan-penalty-r1-r2", "gan-penalty-r1"]
    table = cells(["gan"], read_grid(["gamma=1.5,1_5"]), (), seed=0)
    assert len({cell.folder for cell in table}) == 2
