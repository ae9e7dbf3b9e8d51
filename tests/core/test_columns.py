"""Columns of a table: each of a kind, standardised, spread over cells, and written back."""

from __future__ import annotations

import json
import math

import pytest
import torch

from trilemma.core.columns import DAY, PRESENCE, Column, Columns
from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.noise import Noise

DICE = Column("whole", 4.0, 2.0, low=1, count=6)
TOWN = Column("category", 1.5, 0.9, count=3, categories=("Bern", "Rom", "Wien"))
SIZE = Column("real", 170.0, 8.0)
MIXED = Columns((DICE, TOWN, SIZE))
ROWS = torch.tensor([[1.0, 0.0, 171.5], [6.0, 2.0, 150.25], [3.0, 1.0, 190.0]])


def domain(*columns):
    names = tuple(f"c{i}" for i in range(len(columns)))
    return Domain("points", (len(columns),), Columns(columns), columns=names)


def test_rows_come_back_by_their_middles_and_from_anywhere_in_their_cells():
    assert torch.allclose(MIXED.unscale(MIXED.scale(ROWS)), ROWS)
    for seed in range(20):
        y = MIXED.dequantise(ROWS, Noise.of(seed, len(ROWS)))
        assert torch.allclose(MIXED.quantise(y), ROWS)
        assert torch.equal(MIXED.quantise(y)[:, :2], ROWS[:, :2])


def test_noise_reaches_only_what_lies_in_cells():
    one, two = (MIXED.dequantise(ROWS, Noise.of(seed, 3)) for seed in (0, 1))
    assert torch.equal(one[:, 4], two[:, 4])
    assert (one[:, :4] != two[:, :4]).all()
    assert torch.allclose(MIXED.scale(ROWS)[:, 4], (ROWS[:, 2] - 170) / 8)


def test_whole_numbers_of_a_wide_range_keep_their_cells():
    wide = Columns((Column("whole", 5e5, 3e5, low=0, count=2**20),))
    x = torch.tensor([[0.0], [1.0], [524_288.0], [1_048_575.0]])
    assert torch.equal(wide.unscale(wide.scale(x)), x)


def test_log_volume_is_the_logarithm_of_the_slope():
    low, high = MIXED.scale(ROWS[:1]), MIXED.scale(ROWS[:1] + 1)
    slopes = (high - low)[:, MIXED.number_coordinates]
    assert slopes.double().log().sum().item() == pytest.approx(
        len(MIXED.columns) * MIXED.log_volume, abs=1e-4
    )


def test_names_have_a_coordinate_each_and_their_order_says_nothing():
    assert (MIXED.width, len(MIXED.blocks)) == (5, 1)
    y = MIXED.scale(ROWS)[:, 1:4]
    assert torch.equal(y, 2 * torch.eye(3)[[0, 2, 1]] - 1)
    many = Column("category", 20.0, 11.0, count=40, categories=tuple(map(str, range(40))))
    assert (many.coordinates, Columns((many, TOWN)).width) == (1, 4)


GROWN = Columns(
    (
        Column("date", 20.0, 9.0, count=40, unit=DAY, origin="2024-02-20", optional=True),
        Column("category", 0.6, 0.4, count=2, categories=PRESENCE),
        Column("real", 1.0, 2.0),
        Column("whole", 4.7, 2.0, low=1, count=9, optional=True),
        Column("category", 0.6, 0.4, count=2, categories=PRESENCE),
    )
)


def test_what_is_missing_is_empty_in_a_file_and_has_no_column_of_its_own():
    rows = torch.tensor([[9.0, 0, 0.5, 3, 0], [0, 1, 1.5, 8, 1]])
    rows = GROWN.canonical(rows)
    assert GROWN.words(rows[0].tolist()) == ["2024-02-29", "0.5", "3"]
    assert GROWN.words(rows[1].tolist()) == ["", "1.5", ""]
    assert GROWN.header(["born", "born missing", "size", "calls", "calls missing"]) == [
        "born", "size", "calls"
    ]  # fmt: skip
    assert rows[1].tolist() == [20.0, 1.0, 1.5, 4.0, 1.0]
    assert torch.equal(GROWN.unscale(GROWN.scale(rows)), rows)
    assert torch.equal(GROWN.quantise(GROWN.dequantise(rows, Noise.of(3, 2))), rows)


def test_times_are_written_to_the_minute_of_their_cells():
    stamp = Column("date", 5.0, 3.0, count=90, unit=60, origin="2024-01-01T23:00")
    assert stamp.word(61.0) == "2024-01-02 00:01:00"


@pytest.mark.parametrize(
    ("columns", "binned", "discrete"),
    [((SIZE,), False, False), ((DICE, SIZE), True, False), ((DICE, TOWN), True, True)],
)
def test_what_lies_in_cells_is_known(columns, binned, discrete):
    values = Columns(columns)
    assert (values.binned, values.discrete) == (binned, discrete)


def test_kinds_of_other_data_are_as_they_were():
    assert Domain("points", (2,), Real()).kinds == ("real", "real")
    assert Domain("points", (2,), Levels(3)).kinds == ("whole", "whole")
    assert Domain("image", (1, 8, 8), Levels(17)).kinds == ()
    assert domain(DICE, TOWN, SIZE).kinds == ("whole", "category", "real")


def test_a_domain_of_columns_survives_json():
    decoded = domain(DICE, TOWN, SIZE)
    plain = json.loads(json.dumps(decoded.to_json()))
    assert plain["values"]["type"] == "columns"
    assert [column["kind"] for column in plain["values"]["columns"]] == list(decoded.kinds)
    assert Domain.from_json(plain) == decoded


def test_rows_are_written_as_they_stand_in_a_file():
    assert MIXED.words(ROWS[1].tolist()) == ["6", "Wien", "150.25"]


def test_an_estimate_is_cut_at_certainty_only_where_all_is_counted():
    nats = torch.tensor([-1.0, 0.5])
    assert domain(DICE, TOWN).at_most_certain(nats).tolist() == [-1.0, 0.0]
    for other in (domain(DICE, SIZE), Domain("points", (1,), Real())):
        assert torch.equal(other.at_most_certain(nats), nats)


@pytest.mark.parametrize(
    "columns",
    [
        {"kind": "date"},
        {"kind": "date", "count": 3},
        {"kind": "whole", "count": 3, "unit": 60},
        {"kind": "category", "count": 1, "categories": ("one",), "optional": True},
        {"spread": 0.0},
        {"spread": math.nan},
        {"kind": "whole"},
        {"kind": "real", "count": 3},
        {"kind": "category", "count": 2, "categories": ("one",)},
        {"kind": "whole", "count": 1, "categories": ("one",)},
    ],
)
def test_what_is_no_column_is_refused(columns):
    with pytest.raises(ValueError, match="is no column"):
        Column(**columns)


@pytest.mark.parametrize("after", [(), (SIZE,), (TOWN,)])
def test_what_may_be_missing_without_a_column_that_tells_is_refused(after):
    with pytest.raises(ValueError, match="no column after it tells"):
        Columns((Column("real", 1.0, 2.0, optional=True), *after))
