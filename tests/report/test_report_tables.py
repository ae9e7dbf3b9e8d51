"""The table: floor and baselines as lines, bold for the best and its ties, CSV, terminal."""

from __future__ import annotations

import csv
import io

import pytest
from given import columns, lines, rows_to_csv, terminal_tables
from rich.console import Console


def bold(rows, name):
    return [line.name for line in lines(rows) if line.cells.get(name) and line.cells[name].best]


def test_columns_are_in_order_and_hold_what_is_there(rows):
    expected = ["fd", "coverage", "precision", "bits_per_dim", "likelihood"]
    expected += ["sample_seconds_each", "parameters"]
    assert columns(rows) == expected
    assert columns([]) == []


def test_floor_and_baselines_are_lines(rows):
    table_lines = lines(rows)
    assert [line.kind for line in table_lines] == ["recipe"] * 4 + ["floor"] + ["baseline"] * 2
    assert table_lines[4].cells["fd"].text == "6.10"
    assert [line.name for line in table_lines[5:]] == ["uniform noise", "training mean"]
    assert table_lines[6].cells["fd"].text == "530"


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
    metrics = rows[1]["metrics"]
    metrics["log_prob"] = metrics["bound"] | {"value": -90.0, "by": "exact", "better": "higher"}
    metrics["bits_per_dim"] |= {"value": 2.05, "by": "exact"}
    cells = lines(rows)[1].cells
    assert (cells["likelihood"].text, cells["likelihood"].by) == ("−90.00", "exact")
    assert cells["bits_per_dim"].text == "2.05"
    table_rows = list(csv.DictReader(io.StringIO(rows_to_csv(rows))))
    assert (table_rows[1]["likelihood"], table_rows[1]["likelihood_by"]) == ("-90.0", "exact")
    assert table_rows[3]["likelihood_by"] == "lower bound"


def test_csv_keeps_full_precision(rows):
    rows[0]["metrics"]["fd"]["value"] = 96.123456789
    table_rows = list(csv.DictReader(io.StringIO(rows_to_csv(rows))))
    assert [line["kind"] for line in table_rows] == ["recipe"] * 4 + ["floor"] + ["baseline"] * 2
    assert float(table_rows[0]["fd"]) == 96.123456789
    assert float(table_rows[0]["fd_low"]) == 95.0
    assert table_rows[2]["bits_per_dim"] == ""
    assert table_rows[3]["sample_seconds_each"] == "0.0062"
    assert table_rows[5]["recipe"] == "uniform noise"


def test_csv_is_no_formula(evaluate):
    text = rows_to_csv([evaluate("=cmd()", fd=1.0)])
    assert "'=cmd()" in text
    assert list(csv.reader(io.StringIO(rows_to_csv([])))) != []


def printed(tables, width):
    """Print tables of rich at a width, as to a file."""
    file = io.StringIO()
    for table in tables:
        Console(file=file, width=width).print(table)
    return file.getvalue()


def test_terminal_table_fits_and_shows_every_figure(rows):
    (table,) = terminal_tables(rows, "digits", width=120)
    text = printed([table], 120)
    for figure in ("digits", "ddpm", "17.2", "6.10", "≤ 2.31", "6.2 ms", "123 k", "uniform noise"):
        assert figure in text
    assert max(map(len, text.splitlines())) <= 120


def test_terminal_table_takes_names_as_they_are(evaluate):
    tables = terminal_tables([evaluate("[bold]x[/bold]", fd=1.0)], width=100)
    assert "[bold]x[/bold]" in printed(tables, 100)


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("labelled", [False, True])
def test_names_are_never_folded(evaluate, width, labelled):
    names = [f"pixel-transformer loss={loss}" for loss in ("ns", "wgan", "lsgan", "hinge")]
    more = {"precision": 0.5, "recall": 0.5, "seconds": 1e-3}
    rows = [evaluate(name, fd=20.0, coverage=0.5, **more) for name in names]
    if labelled:
        rows = [row | {"label": row["recipe"]} for row in rows]
    text = printed(terminal_tables(rows, width=width), width)
    assert all(name in text for name in [*names, "real data", "training mean"])
    assert "…" not in text
    lines = [line for line in text.splitlines() if "loss=ns" in line]
    assert (len(lines) > 1) == (labelled and width < 140)
    for line in lines * labelled:
        assert line.startswith("pixel-transformer loss=ns ")


def test_several_seeds_are_mean_and_spread(seeded_rows):
    cells = {line.name: line.cells for line in lines(seeded_rows)}
    assert cells["gan loss=ns"]["fd"].text == "34.0 ± 2.0"
    assert cells["gan loss=ns"]["fd"].interval == "29.0 … 39.0"
    assert cells["gan loss=wgan"]["fd"].text == "30.0"
    assert cells["real data"]["fd"].text == "6.10"
    text = printed(terminal_tables(seeded_rows), 80)
    assert "mean ± sample standard deviation over seeds 0, 1 and 2" in text
    assert "34.0 ± 2.0" in text
    table_rows = list(csv.DictReader(io.StringIO(rows_to_csv(seeded_rows))))
    assert (table_rows[0]["label"], table_rows[0]["recipe"]) == ("gan loss=ns", "gan")
    assert (table_rows[0]["fd"], table_rows[0]["fd_sd"], table_rows[0]["fd_seeds"]) == (
        "34.0",
        "2.0",
        "3",
    )
    assert (table_rows[1]["fd_sd"], table_rows[1]["fd_seeds"]) == ("", "1")
