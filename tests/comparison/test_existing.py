"""Runs that existed, side by side: measured alike, ranked where the test set is the same."""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from trilemma.cli import main
from trilemma.comparison import existing
from trilemma.comparison.differences import differences
from trilemma.comparison.ranking import rank
from trilemma.comparison.row import each
from trilemma.metrics.evaluation import Evaluation, Spent, Training
from trilemma.metrics.score import Score
from trilemma.recipes.evaluate import evaluation_of
from trilemma.report import gallery
from trilemma.report.page import Entry
from trilemma.training.run import Run

pytestmark = pytest.mark.usefixtures("no_previews", "no_pages")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, no_previews, no_pages):
    """Train three runs of a few steps: two of one recipe and data, and one of other data."""
    folder = tmp_path_factory.mktemp("runs")
    small = ["--batch", "16", "--steps"]
    for name, words in {
        "a": ["vae", "--data", "two-moons", *small, "3"],
        "b": ["vae", "--data", "two-moons", *small, "5", "--seed", "1", "--width", "16"],
        "g": ["gan", "--data", "eight-gaussians", *small, "3"],
    }.items():
        assert main(["train", *words, "--run", str(folder / name)]) == 0
    return folder


@pytest.fixture
def runs(trained, tmp_path, monkeypatch):
    """Work in a folder with copies of the runs, of which nothing was measured."""
    shutil.copytree(trained, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def scored(recipe: str, value: float, **fields) -> Evaluation:
    """Make an evaluation with a score of quality, certain within a hundredth."""
    score = Score(value, low=value - 0.01, high=value + 0.01, better="lower", floor=0.01)
    training = Training(seconds=10.0, updates=500, wanted=200, processor="P", threads=1)
    return Evaluation(
        **{
            "recipe": recipe,
            "n": 100,
            "device": "cpu",
            "threads": 1,
            "test_examples": 500,
            "training": training,
            "metrics": {"energy_distance": score},
            "cost": Spent(sample_seconds_each=0.001 * (1 + value)),
            **fields,
        }
    )


@pytest.fixture
def judged(monkeypatch):
    """Measure in no time, and return what was: the folders, in turn."""
    measured = []

    def judge_run(loaded, data, *, session, samples, reference, data_change):
        measured.append(loaded.run.path.name)
        evaluation = scored(
            loaded.recipe.name,
            {"a": 0.5, "b": 0.2}.get(loaded.run.path.name, 0.3),
            n=samples,
            seed=session.seed,
            step=loaded.step,
            data=data.name,
            data_change=data_change,
        )
        (loaded.run.path / "evaluation.json").write_text(json.dumps(evaluation.to_json()))
        return evaluation

    monkeypatch.setattr(existing, "judge_run", judge_run)
    monkeypatch.setattr(existing, "reference_for", lambda *_, **__: None)
    monkeypatch.setattr(gallery, "entry", lambda folder, row, data: Entry(row))
    return measured


def given_json(capsys, *words: str):
    """Run a command, and return the object that it gives."""
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_runs_are_measured_once_and_the_page_says_what_differs(runs, capsys, monkeypatch):
    monkeypatch.setattr(gallery, "pictures_of", lambda subject: [])
    words = ["compare", "runs/a", "runs/b", "--samples", "60"]
    first = given_json(capsys, *words)
    assert [row["label"] for row in first["rows"]] == ["a", "b"]
    assert {row["n"] for row in first["rows"]} == {60}
    one, two = (row["metrics"]["energy_distance"] for row in first["rows"])
    assert one["floor"] == two["floor"]
    assert first["minutes"] is None
    sentences = " ".join(first["differences"])
    assert "Trained for: " in sentences
    assert "Seed of training: 0 (a); 1 (b)." in sentences
    assert "16 (b)." in sentences
    folder = Path("comparisons/runs-001")
    page = (folder / "report.html").read_text()
    assert "Two runs that existed, on two-moons" in page
    assert "Seed of training: 0 (a); 1 (b)." in page
    stamp = (runs / "a" / "evaluation.json").stat().st_mtime_ns
    second = given_json(capsys, *words)
    assert second["rows"] == first["rows"]
    assert (runs / "a" / "evaluation.json").stat().st_mtime_ns == stamp
    assert os.listdir("comparisons") == ["runs-001"]
    assert json.loads((folder / "comparison.json").read_text())["runs"][0] == str(runs / "a")


def test_those_of_one_test_set_are_ranked_and_of_others_listed(runs, judged, capsys):
    output = given_json(capsys, "compare", "runs/a", "runs/g", "runs/b")
    assert output["data"] == ["two-moons", "eight-gaussians"]
    assert output["choice"] is None
    assert "different test sets" in output["why_not"]
    moons, gaussians = output["test_sets"]
    assert (moons["rows"], gaussians["rows"]) == (["a", "b"], ["g"])
    assert moons["choice"] == "b"
    assert "several seeds of each would be surer" in moons["verdict"]
    folder = Path("comparisons/runs-001")
    with (folder / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["kind"], line["data"]) for line in lines] == [
        ("recipe", "two-moons"),
        ("recipe", "two-moons"),
        ("floor", "two-moons"),
        ("recipe", "eight-gaussians"),
        ("floor", "eight-gaussians"),
    ]
    page = (folder / "report.html").read_text()
    assert "Three runs that existed, on two test sets" in page
    assert page.count('id="table"') == 0
    assert page.count('id="1-table"') == page.count('id="2-table"') == 1


def test_what_is_of_other_samples_or_weights_is_measured_anew(runs, judged, capsys):
    main(["compare", "runs/a", "runs/b", "--samples", "70"])
    assert judged == ["a", "b"]
    stale = replace(evaluation_of(runs / "b"), step=1)
    (runs / "b" / "evaluation.json").write_text(json.dumps(stale.to_json()))
    main(["compare", "runs/a", "runs/b", "--samples", "70"])
    assert judged == ["a", "b", "b"]
    assert "it was measured at step 1, and is at step 5 now" in capsys.readouterr().err
    main(["compare", "runs/a", "runs/b", "--samples", "70", "--seed", "3"])
    assert judged == ["a", "b", "b", "a", "b"]
    assert "70 samples with seed 0" in capsys.readouterr().err


def test_a_report_measures_nothing_and_says_so(runs, judged, capsys):
    main(["compare", "runs/a", "runs/g"])
    capsys.readouterr()
    assert main(["report", "runs/a", "runs/b", "--out", "pages"]) == 0
    output = capsys.readouterr().out
    assert judged == ["a", "g"]
    assert "b: not measured: it was not measured yet." in output
    assert "'trilemma compare' with the same runs measures what was not." in output
    assert output.endswith("pages/report.html\n")
    assert main(["report", "runs/a"]) == 0
    assert capsys.readouterr().out == "runs/a/report.html\n"


def test_data_that_were_moved_or_are_gone(runs, judged, capsys):
    rows = "\n".join(f"{i % 7},{i % 5}.5" for i in range(400))
    Path("table.csv").write_text(f"x,y\n{rows}\n")
    words = ["train", "vae", "--data", "table.csv", "--batch", "16", "--steps", "3"]
    assert main([*words, "--run", "runs/t"]) == 0
    capsys.readouterr()
    Path("table.csv").rename("elsewhere.csv")
    first = given_json(capsys, "compare", "runs/t", "runs/a")
    assert judged == ["a"]
    assert first["rows"][0]["metrics"] == {}
    assert "where nothing lies now" in " ".join(first["differences"])
    second = given_json(capsys, "compare", "runs/t", "runs/a", "--data", "elsewhere.csv")
    assert judged == ["a", "t"]
    assert second["rows"][0]["metrics"] != {}
    third = given_json(capsys, "compare", "runs/t", "runs/a")
    assert third["rows"] == second["rows"]
    assert "its figures are those of before" in " ".join(third["differences"])
    assert main(["compare", "runs/a", "runs/b", "--data", "elsewhere.csv"]) == 2
    assert "lie where they lay; leave it out" in capsys.readouterr().err


def test_runs_of_one_folder_name_are_named_by_more_of_their_path(runs, judged, capsys):
    (runs / "more").mkdir()
    (runs / "b").rename(runs / "more" / "a")
    output = given_json(capsys, "compare", "runs/a", "runs/more/a")
    assert [row["label"] for row in output["rows"]] == ["runs/a", "more/a"]


def test_runs_of_different_recipes_are_named_by_these(runs, judged, capsys):
    output = given_json(capsys, "compare", "runs/a", "runs/g")
    assert list(output["folders"]) == ["vae", "gan"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs/a"], "1 run was given, and a comparison takes two or more"),
        (["runs/a", "runs/../runs/a"], "is named twice; name each run once"),
        (["runs/a", "nowhere"], "'nowhere' is no option of compare, and no run lies there"),
        (["runs/a", "."], "is not a run directory"),
        (["runs/a", "runs/b", "--recipes", "vae"], "--recipes is for recipes that are trained"),
        (["--minutes", "2", "runs/a", "runs/b"], "--minutes is for recipes that are trained"),
        (["runs/a", "--batch", "64", "runs/b"], "--batch is for recipes that are trained"),
        (["runs/a", "runs/b", "--with", "x=y.npy"], "--with is for recipes that are trained"),
        (["runs/a", "runs/b", "--out", "runs"], "runs exists and is not this comparison"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(runs, judged, capsys, words, message):
    assert main(["compare", *words]) == 2
    assert message in capsys.readouterr().err
    assert judged == []


def test_a_run_without_weights_and_one_in_training_are_refused(runs, judged, capsys):
    with Run.open(runs / "b").lock():
        assert main(["compare", "runs/a", "runs/b"]) == 2
    assert "runs/b is in use by process" in capsys.readouterr().err
    shutil.rmtree(runs / "b" / "checkpoints")
    assert main(["compare", "runs/a", "runs/b"]) == 2
    assert "has no checkpoint yet; train it first" in capsys.readouterr().err
    assert judged == []


class TestGuards:
    def test_other_processors_bar_a_place_in_a_race_alone(self):
        one, two = scored("a", 0.2), scored("b", 0.5)
        two = replace(two, training=replace(two.training, processor="Q"))
        assert len(rank(each([one, two])).quality) == 1
        assert len(rank(each([one, two], in_race=False)).quality) == 2

    def test_speed_of_drawing_is_ranked_on_one_processor_alone(self):
        one, two = scored("a", 0.2, processor="P"), scored("b", 0.5, processor="P")
        assert len(rank(each([one, two], in_race=False)).speed) == 2
        elsewhere = replace(two, processor="Q")
        ranking = rank(each([one, elsewhere], in_race=False))
        assert ranking.speed == ()
        assert "Speed is not ranked" in ranking.words

    def test_what_was_measured_otherwise_is_not_ranked(self):
        evaluations = [scored("a", 0.2), scored("b", 0.5), scored("c", 0.1, n=50)]
        ranking = rank(each(evaluations, in_race=False))
        assert [p.recipe for p in ranking.quality] == ["a", "b"]
        assert "Not ranked: c (50 samples, seed 0)" in ranking.words


def test_a_run_that_started_from_another_says_so(runs):
    words = ["vae", "--data", "two-moons", "--batch", "16", "--steps", "3"]
    start = ["--from", "runs/a", "--freeze", "encoder"]
    assert main(["train", *words, *start, "--run", "c"]) == 0
    paths = {"a": runs / "a", "c": Path("c")}
    opened = {name: (Run.open(path), Evaluation(recipe="vae")) for name, path in paths.items()}
    assert "Started from: nothing (a); a, step 3, encoder frozen (c)." in differences(opened)
