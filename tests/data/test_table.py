"""Tables of numbers: read right, and refused by row and column."""

from __future__ import annotations

import pytest
import torch

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.data import sources, table
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
    there = sources.load(written(tmp_path / "a.csv", rows()))
    back = sources.load(written(tmp_path / "b.csv", rows()[::-1]))
    assert there.fingerprint == back.fingerprint


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,,3", "line 32 .*column 'weight': a value is missing"),
        ("1,nan,3", "column 'weight': 'nan' is no finite number"),
        ("1,2,tall", "column 'age': 'tall' is no finite number"),
        ("1,2", "has 2 values, and there are 3 columns"),
    ],
)
def test_what_cannot_be_used_is_named_by_row_and_column(tmp_path, line, said):
    lines = rows()
    lines[30] = line
    with pytest.raises(BadInput, match=said):
        sources.load(written(tmp_path / "a.csv", lines))


def test_constant_and_unresolved_columns_are_refused(tmp_path):
    constant = [r.rsplit(",", 1)[0] + ",7" for r in rows()]
    with pytest.raises(BadInput, match=r"column 'age' .* is 7 in every row"):
        sources.load(written(tmp_path / "a.csv", constant))
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
