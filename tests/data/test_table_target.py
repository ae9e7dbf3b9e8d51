"""A column as target: its words are classes, by which rows are asked for and which they carry."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from trilemma.cli import main
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.data import table
from trilemma.data.ready import ready
from trilemma.data.sources import declared, load

ROWS = 200
JOBS = ["nurse", "cook, chef", "driver"]


def columns():
    g = np.random.default_rng(0)
    job = g.integers(3, size=ROWS)
    age = (20 + 10 * job + g.integers(9, size=ROWS)).astype(float)
    age[::10] = np.nan
    return {"job": [JOBS[i] for i in job], "age": age, "size": job + g.standard_normal(ROWS)}


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    with path.open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(columns())
        write.writerows(zip(*columns().values(), strict=True))
    return path


def test_words_of_the_target_are_classes_and_no_coordinate(people):
    data = load(declared(str(people), radius=None, columns=None, target="job"))
    domain = data.domain
    assert domain.columns == ("age", "age missing", "size")
    assert (domain.target, domain.classes) == ("job", ("cook, chef", "driver", "nurse"))
    assert sum(domain.frequencies) == pytest.approx(1)
    assert data.train.labels.bincount().min() > 10
    labels = torch.cat([data.train.labels, data.test.labels])
    ages = torch.cat([data.train.x, data.test.x])
    nurses = ages[(labels == 2) & (ages[:, 1] == 0), 0]
    assert nurses.max() < 30
    assert any(note.startswith("target: job, 3 classes") for note in data.notes)
    assert Domain.from_json(domain.to_json()) == domain


def test_samples_carry_their_class_and_are_read_back(people, tmp_path):
    run, driver_rows, drawn_rows = (tmp_path / name for name in ("run", "asked.csv", "drawn.csv"))
    common = ["--data", str(people), "--target", "job"]
    options = ["--steps", "3", "--run", str(run)]
    assert main(["train", "flow-matching", *common, *options]) == 0
    assert (
        main(["sample", str(run), "-n", "6", "--cond", "driver", "--out", str(driver_rows)]) == 0
    )
    assert main(["sample", str(run), "-n", "60", "--out", str(drawn_rows)]) == 0
    rows = list(csv.DictReader(driver_rows.open()))
    assert list(rows[0]) == ["job", "age", "size"]
    assert {row["job"] for row in rows} == {"driver"}
    assert {row["job"] for row in csv.DictReader(drawn_rows.open())} == set(JOBS)
    data = load(declared(str(people), radius=None, columns=None, target="job"))
    assert ready(drawn_rows, data).shape == (60, 3)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"job": "target", "age": "target"}, "2 columns are declared to be the target"),
        ({"age": "target"}, "value is missing, and the column is the target"),
        ({"size": "target"}, "different words"),
        ({"job": "target", "age": "drop", "size": "drop"}, "leave one at least"),
        ({"jop": "target"}, "did you mean 'job'"),
    ],
)
def test_what_is_no_target_is_refused_in_a_sentence(kinds, message):
    with pytest.raises(BadInput, match=message):
        table.of_arrays("people", columns(), kinds)
