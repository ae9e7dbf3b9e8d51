"""What a check says of each column of a table, and draws of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas
import torch

from trilemma.core.columns import Columns
from trilemma.data import table
from trilemma.data.check import check
from trilemma.data.table_facts import column_facts
from trilemma.pictures import figures, table_columns

N = 300
DRAW = np.random.default_rng(0)
FRAME = pandas.DataFrame(
    {
        "height": DRAW.normal(1.7, 0.1, N),
        "salary": np.where(np.arange(N) == 7, 1e7, DRAW.normal(2000, 100, N)),
        "visits": DRAW.integers(0, 9, N).astype(float),
        "born": pandas.Timestamp("1950-03-01") + pandas.to_timedelta(np.arange(N) % 50, "D"),
        "diet": np.array(["fish", "meat", None])[np.minimum(np.arange(N) % 5, 2)],
    }
)
FRAME.loc[::10, ["visits", "born"]] = None


def test_each_column_has_a_line():
    facts = {one.name: one for one in column_facts(table.of_arrays("people", FRAME))}
    assert list(facts) == list(FRAME)
    assert facts["visits"].line() == "visits: whole, 0 to 8, 9 different, 30 missing"
    assert facts["born"].line().startswith("born: date, 1950-03-02 to 1950-04-19, 45 different")
    assert facts["diet"].line() == (
        "diet: category, 2 different, 180 missing, most often 'fish' 60, 'meat' 60"
    )
    assert "heavy tails (1e+07 lies" in facts["salary"].line()
    assert "excess kurtosis" in facts["salary"].tails
    assert not facts["height"].tails


def test_a_check_holds_them_as_words_and_as_json(tmp_path):
    FRAME.to_csv(tmp_path / "people.csv", index=False)
    report = check(str(tmp_path / "people.csv"))
    assert "visits: whole, 0 to 8, 9 different, 30 missing" in report.lines()
    columns = report.to_json()["columns"]
    assert [one["kind"] for one in columns] == ["real", "real", "whole", "date", "category"]
    assert columns[4]["frequent"] == {"fish": 60, "meat": 60}
    assert check("two-moons").columns == []


def test_each_column_has_a_chart():
    data = table.of_arrays("people", FRAME)
    picture = table_columns.sheet(data.train.x, data.domain)
    plain = table.of_arrays("plain", FRAME[["height", "salary"]])
    assert picture.width > table_columns.sheet(plain.train.x, plain.domain).width
    wide = table.of_arrays("wide", {f"x{i}": DRAW.normal(size=60) for i in range(70)})
    most = table_columns.sheet(wide.train.x, wide.domain)
    assert most.width < 2500
    assert most.height < 1500


def test_pairs_leave_out_what_is_missing():
    data = table.of_arrays("people", FRAME)
    values = data.domain.values
    assert isinstance(values, Columns)
    picture = figures.show(data.train.x, data.domain, data.test.x)
    assert np.asarray(picture).std() > 1
    without_visits = data.test.x.clone()
    without_visits[:, 3] = 1  # all visits are missing
    figures.show(values.canonical(without_visits), data.domain)
    nameless = dataclasses.replace(data.domain, columns=())
    assert figures.show(torch.cat([without_visits, without_visits]), nameless).size == picture.size
