"""Tables of numbers: read right, and refused by row and column."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import torch

from trilemma.core.domain import Domain, Real
from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.data import location, sources, table
from trilemma.data.check import check


def written(path, rows, head="height,weight,age"):
    path.write_text("\n".join(([head] if head else []) + rows) + "\n")
    return str(path)


def rows(n=60):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=g) * torch.tensor([1.0, 50.0, 0.1]) + torch.tensor(
        [0.0, 1000.0, -5.0]
    )
    return [",".join(f"{v:.6f}" for v in row) for row in x.tolist()]


def test_columns_are_named_and_standardised(tmp_path):
    data = sources.load(written(tmp_path / "people.csv", rows()))
    assert data.domain.columns == ("height", "weight", "age")
    assert len(data.train) + len(data.test) == 60
    x = torch.cat([data.train.x, data.test.x])
    y = data.domain.values.scale(x)
    assert y.mean(0).abs().max() < 1e-3
    assert (y.std(0) - 1).abs().max() < 2e-2  # population and sample
    assert torch.allclose(data.domain.values.unscale(y), x, rtol=1e-5, atol=1e-4)
    spread = torch.tensor(data.domain.values.spread)
    volume = data.domain.dimensions * data.domain.values.log_volume
    assert volume == pytest.approx(-float(spread.log().sum()), rel=1e-5)
    assert Domain.from_json(data.domain.to_json()) == data.domain
    assert check(str(tmp_path / "people.csv")).holds


def test_a_table_may_have_no_names_and_other_marks(tmp_path):
    lines = [r.replace(",", ";") for r in rows()]
    data = sources.load(written(tmp_path / "a.csv", lines, head=""))
    assert data.domain.columns == ("column 1", "column 2", "column 3")
    assert len(data.train) + len(data.test) == 60


def test_the_split_does_not_depend_on_the_order_of_rows(tmp_path):
    data = sources.load(written(tmp_path / "a.csv", rows()))
    back = sources.load(written(tmp_path / "b.csv", rows()[::-1]))
    assert data.fingerprint == back.fingerprint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,inf,3", "line 32 .*column 'weight': 'inf' is no finite number"),
        ("1,1e39,3", "line 32 .*column 'weight': '1e39' is beyond what 32 bits hold"),
        ("1,2,tall", "column 'age': 'tall' is no finite number"),
        ("1,2", "has 2 values, and there are 3 columns"),
    ],
)
def test_what_cannot_be_used_is_named_by_row_and_column(tmp_path, line, message):
    lines = rows()
    lines[30] = line
    with pytest.raises(BadInput, match=message):
        sources.load(written(tmp_path / "a.csv", lines))


def test_constant_columns_are_left_out_and_unresolved_ones_refused(tmp_path):
    constant = [r.rsplit(",", 1)[0] + ",7" for r in rows()]
    data = sources.load(written(tmp_path / "a.csv", constant))
    assert data.domain.columns == ("height", "weight")
    assert "constant columns, which no model sees and samples have back: age = '7'" in data.notes
    with pytest.raises(BadInput, match=r"no column of 'c.csv' changes.*a = 'x', b = missing"):
        sources.load(written(tmp_path / "c.csv", ["x,NA"] * 60, head="a,b"))
    far = [f"{1e9 + i},{r.split(',', 1)[1]}" for i, r in enumerate(rows())]
    with pytest.raises(BadInput, match="subtract a constant"):
        sources.load(written(tmp_path / "b.csv", far))


def test_other_faults_are_sentences(tmp_path):
    with pytest.raises(BadInput, match="at least 50"):
        sources.load(written(tmp_path / "a.csv", rows(10)))
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00broken")
    with pytest.raises(BadInput, match="cannot be read as text"):
        sources.load(str(tmp_path / "b.csv"))
    (tmp_path / "c.csv").write_text("")
    with pytest.raises(BadInput, match="is empty"):
        sources.load(str(tmp_path / "c.csv"))
    with pytest.raises(BadInput, match=r"there is no file 'nowhere.csv'"):
        sources.load("nowhere.csv")
    with pytest.raises(BadInput, match="--size is for folders"):
        sources.load(written(tmp_path / "d.csv", rows()), size=8)
    assert table.is_table(tmp_path / "x.TSV")


# --- what a column is ----------------------------------------------------------------------------

SHOPS = [
    f"{i % 2},{1 + i % 7},{('red', 'blue', 'sea green')[i % 3]},{i * 0.37:.2f}" for i in range(60)
]
HEAD = "member,visits,colour,spent"


def shops(tmp_path, lines=SHOPS, name="shops.csv"):
    return written(tmp_path / name, lines, head=HEAD)


def both(data):
    return torch.cat([data.train.x, data.test.x])


def test_each_column_is_read_by_the_rule(tmp_path):
    data = sources.load(shops(tmp_path))
    assert data.domain.kinds == ("whole", "whole", "category", "real")
    member, visits, colour, _ = data.domain.values.columns
    assert (member.low, member.count) == (0, 2)
    assert (visits.low, visits.count) == (1, 7)
    assert colour.categories == ("blue", "red", "sea green")
    assert Domain.from_json(data.domain.to_json()) == data.domain
    names = [colour.categories[int(code)] for code in both(data)[:, 2]]
    assert sorted(names) == sorted(line.split(",")[2] for line in SHOPS)


def test_columns_are_standardised_as_a_density_sees_them(tmp_path):
    values = sources.load(shops(tmp_path)).domain.values
    x = both(sources.load(shops(tmp_path))).repeat(2000, 1)
    y = values.dequantise(x, Noise.of(0, len(x)))
    assert y.mean(0).abs().max() < 0.02
    assert (y.std(0) - 1).abs().max() < 0.02


def test_a_check_says_how_each_column_was_read(tmp_path):
    lines = check(shops(tmp_path)).lines()
    assert "real columns (numbers): spent" in lines
    assert "whole columns (every value is a whole number): member 0 to 1, visits 1 to 7" in lines
    assert "category columns (words): colour (3: 'blue', 'red', 'sea green')" in lines
    assert any("most densities give a bound" in line for line in lines)
    declared = check(shops(tmp_path) + "@columns:visits=real,member=drop").lines()
    assert "real columns (numbers): visits as declared, spent" in declared
    assert "columns left out as declared: member" in declared


def test_true_and_false_are_categories_and_numbers_with_a_point_may_be_whole(tmp_path):
    lines = [f"{('True', 'False')[i % 2]},{i % 5}.0,x{i % 2},{i}" for i in range(60)]
    data = sources.load(shops(tmp_path, lines))
    assert data.domain.kinds == ("category", "whole", "category", "whole")


def test_a_declared_kind_goes_before_the_rule(tmp_path):
    path = shops(tmp_path)
    data = sources.load(path + "@columns:member=category,visits=real,spent=drop")
    assert data.domain.columns == ("member", "visits", "colour")
    assert data.domain.kinds == ("category", "real", "category")
    assert data.domain.values.columns[0].categories == ("0", "1")
    plain = sources.load(path + "@columns:member=real,visits=real,colour=drop")
    assert plain.domain.values == Real(
        plain.domain.values.location, plain.domain.values.spread
    )  # nothing lies in cells: a density is exact again


def test_categories_of_numbers_are_in_the_order_of_the_numbers(tmp_path):
    lines = [f"{i % 12},1,a,{i * 0.1}" if i else "3,2,b,0.5" for i in range(60)]
    data = sources.load(shops(tmp_path, lines) + "@columns:member=category")
    assert data.domain.values.columns[0].categories == tuple(map(str, range(12)))


def test_data_of_other_kinds_are_other_data(tmp_path):
    path = shops(tmp_path)
    a, b = sources.load(path), sources.load(path + "@columns:visits=real")
    assert torch.equal(a.train.x, b.train.x)
    assert a.fingerprint != b.fingerprint
    assert a.fingerprint == sources.load(shops(tmp_path, SHOPS[::-1], "back.csv")).fingerprint


def test_whole_numbers_that_reach_too_far_are_real_and_it_is_said(tmp_path):
    lines = [f"0.5,{i * 100_000},a,{i * 0.1}" if i % 2 else f"1.5,{i},b,{i}" for i in range(60)]
    data = sources.load(shops(tmp_path, lines))
    assert data.domain.kinds[1] == "real"
    assert any("reach too far for 32 bits" in note for note in data.notes)
    with pytest.raises(BadInput, match=r"declared whole and reaches from 0 to 5900000"):
        sources.load(shops(tmp_path, lines) + "@columns:visits=whole")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("visits=number", "unknown kind of a column 'number'"),
        ("vists=real", "unknown column of 'shops.csv' 'vists'; did you mean 'visits'"),
        ("visits", "give NAME=KIND"),
        ("visits=real,visits=whole", "names 'visits' twice"),
        ("spent=whole", "line 3 of 'shops.csv', column 'spent': '0.37' is no whole number"),
        ("colour=real", "line 2 of 'shops.csv', column 'colour': 'red' is no finite number"),
        ("spent=category", "60 different words in 60 rows"),
        (
            "member=drop,visits=drop,colour=drop,spent=drop",
            "all columns of 'shops.csv' are dropped",
        ),
    ],
)
def test_what_cannot_be_declared_is_a_sentence(tmp_path, columns, message):
    with pytest.raises(BadInput, match=message):
        sources.load(f"{shops(tmp_path)}@columns:{columns}")


def test_columns_are_of_tables(tmp_path):
    with pytest.raises(BadInput, match="'digits' is none"):
        sources.with_columns("digits", "a=real")
    (tmp_path / "album").mkdir()
    with pytest.raises(BadInput, match="'album' is none"):
        sources.load(f"{tmp_path / 'album'}@columns:a=real")
    assert location.moved("b.csv", "a.csv@columns:x=real") == "b.csv@columns:x=real"
    assert location.moved("b.csv@columns:x=whole", "a.csv@columns:x=real").endswith("x=whole")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,red,cheap", "column 'spent': 'cheap' is no finite number.*spent=category"),
        ("1,inf,red,0.5", "column 'visits': 'inf' is no finite number"),
    ],
)
def test_a_cell_that_is_no_value_of_its_column_is_named(tmp_path, line, message):
    lines = list(SHOPS)
    lines[30] = line
    with pytest.raises(BadInput, match=message):
        sources.load(shops(tmp_path, lines))


def test_other_faults_of_columns_are_sentences(tmp_path):
    names = [f"{i % 2},{1 + i % 7},customer {i},{i * 0.37}" for i in range(60)]
    with pytest.raises(BadInput, match=r"holds 60 different words .*colour=drop"):
        sources.load(shops(tmp_path, names))
    with pytest.raises(BadInput, match="two columns 'a'"):
        sources.load(written(tmp_path / "twice.csv", SHOPS, head="a,a,b,c"))


def test_columns_in_memory_are_read_by_the_same_rule(tmp_path):
    cells = [line.split(",") for line in SHOPS]
    arrays = {
        "member": np.array([int(row[0]) for row in cells]),
        "visits": np.array([float(row[1]) for row in cells]),
        "colour": np.array([row[2] for row in cells]),
        "spent": np.array([float(row[3]) for row in cells]),
    }
    data, file = table.of_arrays("shops", arrays), sources.load(shops(tmp_path))
    assert data.domain == file.domain
    assert torch.equal(data.train.x, file.train.x)
    flags = table.of_arrays("flags", arrays | {"member": arrays["member"] > 0})
    assert flags.domain.values.columns[0].categories == ("False", "True")
    arrays["spent"][2] = np.nan
    assert table.of_arrays("shops", arrays).domain.columns[3:] == ("spent", "spent missing")
    with pytest.raises(BadInput, match="row 1 of 'shops', column 'colour': 'red' is no finite"):
        table.of_arrays("shops", arrays, {"colour": "real"})
    with pytest.raises(BadInput, match="arrays of one length"):
        table.of_arrays("shops", {"a": np.zeros(60), "b": np.zeros(61)})


def test_a_frame_is_read_by_its_columns():
    frame = pandas.DataFrame({"level": [1, 2, 3] * 20, "n": list(range(30)) * 2})
    frame["level"] = frame["level"].astype("category")
    data = table.of_arrays("frame", frame)
    assert data.domain.kinds == ("category", "whole")
    assert data.domain.values.columns[0].categories == ("1", "2", "3")
    frame["n"] = frame["n"].astype("Int64").where(frame["n"] > 0)
    optional = table.of_arrays("frame", frame)
    assert optional.domain.columns == ("level", "n", "n missing")
    assert optional.domain.values.columns[1].optional
    assert both(optional)[:, 2].sum() == 2
