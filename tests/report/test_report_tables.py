"""The table: floor and baselines as lines, bold for the best and its ties, CSV, terminal."""

from __future__ import annotations

import csv
import io

from rich.console import Console

from trilemma.report.tables import columns, lines, rows_to_csv, terminal_table


def bold(rows, name):
    return [line.name for line in lines(rows) if line.cells.get(name) and line.cells[name].best]


def test_columns_are_in_order_and_hold_what_is_there(rows):
    expected = ["fd", "precision", "coverage", "bits_per_dim", "likelihood"]
    expected += ["sample_seconds_each", "parameters"]
    assert columns(rows) == expected
    assert columns([]) == []


def test_floor_and_baselines_are_lines(rows):
    made = lines(rows)
    assert [line.kind for line in made] == ["recipe"] * 4 + ["floor"] + ["baseline"] * 2
    assert made[4].cells["fd"].text == "6.10"
    assert [line.name for line in made[5:]] == ["uniform noise", "training mean"]
    assert made[6].cells["fd"].text == "530"


def test_the_best_and_its_ties_are_bold(rows):
    assert bold(rows, "fd") == ["ddpm"]
    assert bold(rows, "sample_seconds_each") == ["autoencoder", "vae"]
    assert bold(rows, "bits_per_dim") == ["vae"]
    rows[2]["metrics"]["fd"]["low"] = 18.0
    assert bold(rows, "fd") == ["gan", "ddpm"]


def test_one_row_is_not_the_best_of_anything(rows):
    assert bold(rows[:1], "fd") == []


def test_a_ratio_is_best_at_one(evaluate):
    ratios = {"copies": 0.2, "right": 1.01, "far": 3.0}
    rows = [evaluate(name, nearest_train_ratio=v) for name, v in ratios.items()]
    assert bold(rows, "nearest_train_ratio") == ["right"]


def test_bounds_are_marked(rows):
    texts = [line.cells["bits_per_dim"].text for line in lines(rows)[:4]]
    assert texts == ["–", "≤ 2.11", "–", "≤ 2.31"]
    assert lines(rows)[2].cells["bits_per_dim"].reason == "a GAN has no likelihood"
    likely = lines(rows)[1].cells["likelihood"]
    assert (likely.text, likely.by) == ("≥ −93.00", "lower bound")


def test_the_tightest_likelihood_is_shown_and_named(rows):
    exact = {"value": -90.0, "by": "exact", "better": "higher"}
    rows[1]["metrics"] |= {"log_prob": exact, "bits_per_dim": {"value": 2.05, "by": "exact"}}
    cells = lines(rows)[1].cells
    assert (cells["likelihood"].text, cells["likelihood"].by) == ("−90.00", "exact")
    assert cells["bits_per_dim"].text == "2.05"
    found = list(csv.DictReader(io.StringIO(rows_to_csv(rows))))
    assert (found[1]["likelihood"], found[1]["likelihood_by"]) == ("-90.0", "exact")
    assert found[3]["likelihood_by"] == "lower bound"


def test_csv_keeps_full_precision(rows):
    rows[0]["metrics"]["fd"]["value"] = 96.123456789
    found = list(csv.DictReader(io.StringIO(rows_to_csv(rows))))
    assert [line["kind"] for line in found] == ["recipe"] * 4 + ["floor"] + ["baseline"] * 2
    assert float(found[0]["fd"]) == 96.123456789
    assert float(found[0]["fd_low"]) == 95.0
    assert found[2]["bits_per_dim"] == ""
    assert found[3]["sample_seconds_each"] == "0.0062"
    assert found[5]["recipe"] == "uniform noise"


def test_csv_is_no_formula(evaluate):
    text = rows_to_csv([evaluate("=cmd()", fd=1.0)])
    assert "'=cmd()" in text
    assert list(csv.reader(io.StringIO(rows_to_csv([])))) != []


def test_terminal_table_fits_and_shows_every_figure(rows):
    file = io.StringIO()
    Console(file=file, width=120).print(terminal_table(rows, "digits"))
    text = file.getvalue()
    for figure in ("digits", "ddpm", "17.2", "6.10", "≤ 2.31", "6.2 ms", "123 k", "uniform noise"):
        assert figure in text
    assert max(map(len, text.splitlines())) <= 120


def test_terminal_table_takes_names_as_they_are(evaluate):
    file = io.StringIO()
    Console(file=file, width=100).print(terminal_table([evaluate("[bold]x[/bold]", fd=1.0)]))
    assert "[bold]x[/bold]" in file.getvalue()
