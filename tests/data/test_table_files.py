"""Tables as people have them: separators, names, marks, dates and gaps are found, and said."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import torch

from trilemma.core.columns import DAY, PRESENCE
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.data import sources, table, table_frames, table_writing
from trilemma.data.ready import ready

N = 120
DRAW = np.random.default_rng(0)
REALS = [f"{v:.4f}" for v in DRAW.normal(100, 20, N)]
DATES = [f"2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(N)]


def loaded(tmp_path, head, columns, *, sep=",", name="people.csv", encoding="utf-8"):
    """Load a file of columns of words."""
    lines = [sep.join(cells) for cells in zip(*columns, strict=True)]
    text = "\n".join([*([head] if head is not None else []), *lines]) + "\n"
    (tmp_path / name).write_bytes(text.encode(encoding))
    return sources.load(str(tmp_path / name))


def both(data):
    return torch.cat([data.train.x, data.test.x])


def has_note(data, text):
    return any(text in note for note in data.notes)


# --- separators, encodings, marks ----------------------------------------------------------------


@pytest.mark.parametrize("sep", list(",;\t|"))
def test_separators_are_counted_outside_quotes(sep, tmp_path):
    words = ['"a;b, c|d\te"', '"say ""x"""', "plain", '"two\nlines"'] * 30
    data = loaded(tmp_path, sep.join("txy"), [words, REALS, REALS[::-1]], sep=sep)
    assert data.domain.columns == ("t", "x", "y")
    names = data.domain.values.columns[0].categories
    assert names == ("a;b, c|d\te", "plain", 'say "x"', "two\nlines")


def test_a_spreadsheet_s_csv_has_decimal_commas(tmp_path):
    euros = [f"{v:,.2f}".translate(str.maketrans(",.", ".,")) for v in DRAW.gamma(2, 2000, N)]
    rates = [word.replace(".", ",") for word in REALS]
    thousands = [f"{i}.{i + 100}" for i in range(1, N + 1)]
    data = loaded(tmp_path, "a;b;c", [euros, rates, thousands], sep=";")
    assert data.domain.kinds == ("real", "real", "whole")
    assert both(data)[:, 1].mean().item() == pytest.approx(np.mean([*map(float, REALS)]), abs=1e-3)
    assert both(data)[:, 0].max() > 2000
    assert both(data)[:, 2].max() == 120_220
    assert has_note(data, "numbers with a decimal comma: a, b, c")
    declared_text = "sep=;\n" + (tmp_path / "people.csv").read_text()
    (tmp_path / "said.csv").write_text(declared_text)
    assert torch.equal(both(sources.load(str(tmp_path / "said.csv"))), both(data))


def test_commas_between_thousands_are_read_where_they_cannot_be_others(tmp_path):
    dollars = [f'"{v:,.2f}"' for v in DRAW.gamma(2, 2000, N)]
    unclear = [f'"{i},{100 + i}"' for i in range(1, N + 1)]
    data = loaded(tmp_path, "a,b", [dollars, unclear])
    assert data.domain.kinds == ("real", "whole")
    assert has_note(data, "numbers with commas between thousands: a, b")
    with pytest.raises(BadInput, match=r"line 2 .*column 'b': '1,101' may be 1.101 or 1101"):
        loaded(tmp_path, "a,b", [REALS, unclear])


@pytest.mark.parametrize(
    ("encoding", "note"), [("utf-8-sig", ""), ("utf-16", "UTF-16"), ("cp1252", "Windows-1252")]
)
def test_encodings(encoding, note, tmp_path):
    data = loaded(tmp_path, "Größe,x", [["Käse", "Öl"] * 60, REALS], encoding=encoding)
    assert data.domain.columns == ("Größe", "x")
    assert data.domain.values.columns[0].categories == ("Käse", "Öl")
    assert has_note(data, note)
    assert has_note(data, "the text is read as") == bool(note)


# --- names of columns ----------------------------------------------------------------------------


def test_years_and_numbers_as_names_are_a_question_of_types(tmp_path):
    cities = ["Graz", "Linz", "Wien"] * 40
    data = loaded(tmp_path, "place,1990,2000,2010", [cities, REALS, REALS, REALS[::-1]])
    assert data.domain.columns == ("place", "1990", "2000", "2010")
    assert has_note(data, "names, 1990 to 2010 among them")
    born = [str(1950 + i % 60) for i in range(N)]
    data = loaded(tmp_path, "1990,2000", [born, born[::-1]])
    assert data.domain.columns == ("column 1", "column 2")
    assert len(both(data)) == N + 1
    assert has_note(data, "the first line is a row")
    data = loaded(tmp_path, "0,1,2", [REALS, REALS[::-1], REALS])
    assert data.domain.columns == ("0", "1", "2")


def test_names_of_words_alone(tmp_path):
    colours, sizes = ["red", "blue"] * 60, ["S", "M", "L"] * 40
    assert loaded(tmp_path, "colour,size", [colours, sizes]).domain.columns == ("colour", "size")
    data = loaded(tmp_path, "red,M", [colours, sizes])
    assert data.domain.columns == ("column 1", "column 2")
    assert loaded(tmp_path, None, [REALS, colours]).domain.columns == ("column 1", "column 2")
    assert loaded(tmp_path, ",size", [colours, sizes]).domain.columns == ("column 1", "size")


@pytest.mark.parametrize("head", [",x,y", "Unnamed: 0,x,y", '"x","y"'])
def test_an_index_without_a_name_is_left_out_and_said(head, tmp_path):
    first = 1 if head[0] == '"' else 0
    index = [str(i + first) for i in range(N)]
    data = loaded(tmp_path, head, [index, REALS, REALS[::-1]])
    assert data.domain.columns == ("x", "y")
    assert has_note(data, "counts the rows, and is left out")


def test_comments_and_blank_lines(tmp_path):
    lines = [f"{a},{b}" for a, b in zip(REALS, DATES, strict=True)]
    text = "\n".join(["# of 2024", "", "#x,day", *lines[:50], "# half, of, it", "", *lines[50:]])
    (tmp_path / "a.csv").write_text(text)
    data = sources.load(str(tmp_path / "a.csv"))
    assert data.domain.columns == ("#x", "day")
    assert len(both(data)) == N
    assert has_note(data, "lines of comments, left out: 2")
    (tmp_path / "a.csv").write_text(text + "\n1.5,never")
    with pytest.raises(BadInput, match=r"line 126 of 'a.csv', column 'day': 'never' is no date"):
        sources.load(f"{tmp_path / 'a.csv'}@columns:day=date")


def test_faults_of_form_name_their_line(tmp_path):
    with pytest.raises(BadInput, match=r"line 2 of 'people.csv' has 3 values, .* 2 columns"):
        loaded(tmp_path, "x,y", [REALS, REALS, ["1"] * N])
    quoted = [f'"{word}"' for word in REALS]
    for column in (quoted, REALS):
        text = "\n".join(["x,y", *[f"{word},1" for word in column], "3"])
        (tmp_path / "short.csv").write_text(text)
        with pytest.raises(BadInput, match=f"line {N + 2} of 'short.csv' has 1 values"):
            sources.load(str(tmp_path / "short.csv"))
    (tmp_path / "open.csv").write_text("x,y\n" + "1,2\n" * 60 + '3,"4\n' + "1,2\n" * 60)
    with pytest.raises(BadInput, match="quotation mark that is not closed"):
        sources.load(str(tmp_path / "open.csv"))


# --- what is missing -----------------------------------------------------------------------------


def gaps(words, *spellings):
    return [spellings[i // 7 % len(spellings)] if i % 7 == 0 else w for i, w in enumerate(words)]


def test_missing_values_have_a_column_that_tells_of_them(tmp_path):
    data = loaded(
        tmp_path,
        "x,k,day,colour,bonus",
        [
            gaps(REALS, "", "NA", "?"),
            gaps([str(i % 9) for i in range(N)], "-", "null"),
            gaps(DATES, "N/A"),
            gaps(["red", "blue"] * 60, "", "None"),
            gaps(["100"] * N, "NaN"),
        ],
    )
    names = ("x", "x missing", "k", "k missing", "day", "day missing", "colour", "bonus")
    assert data.domain.columns == names
    columns = data.domain.values.columns
    assert [c.optional for c in columns] == [True, False] * 3 + [False] * 2
    assert [c.categories for c in columns[1:6:2]] == [PRESENCE] * 3
    assert columns[6].categories == ("", "blue", "red")
    assert columns[7].categories == ("", "100")
    x = both(data)
    for i in (0, 2, 4):
        is_missing = x[:, i + 1] == 1
        assert int(is_missing.sum()) == 18
        assert torch.all(x[is_missing, i] == torch.tensor(columns[i].fill))
    assert torch.equal(data.domain.values.canonical(x), x)
    assert has_note(data, "missing values: x 18 (6 empty, 6 '?', 6 'NA'), k 18 (9 '-', 9 'null')")
    assert columns[0].location == pytest.approx(
        np.mean([float(w) for i, w in enumerate(REALS) if i % 7]), abs=1e-9
    )


def test_a_minus_beside_a_plus_is_a_word(tmp_path):
    data = loaded(tmp_path, "rhesus,x", [["+", "-"] * 60, REALS])
    assert data.domain.values.columns[0].categories == ("+", "-")


# --- dates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "unit", "first"),
    [
        (DATES, DAY, "2024-01-01"),
        ([f"{1 + i % 28}.{1 + i % 12}.2024" for i in range(N)], DAY, "2024-01-01"),
        ([f"{1 + i % 12}/{1 + i % 28}/2024" for i in range(N)], DAY, "2024-01-01"),
        ([f"2024-01-{1 + i % 28:02} {i % 24:02}:00" for i in range(N)], 3600, "2024-01-01 00:00"),
        ([f"2024-01-01T{i % 24:02}:{i % 60:02}:00Z" for i in range(N)], 60, "2024-01-01 00:00"),
        ([f"2024-01-01 10:00:{i % 60:02}" for i in range(N)], 1, "2024-01-01 10:00"),
        ([f"{1 + i % 28} Mar 2024" for i in range(N)], DAY, "2024-03-01"),
    ],
)
def test_dates_are_counted_by_their_coarsest_unit(words, unit, first, tmp_path):
    data = loaded(tmp_path, "when,x", [words, REALS])
    column = data.domain.values.columns[0]
    assert (column.kind, column.unit) == ("date", unit)
    assert column.word(float(both(data)[:, 0].min())).startswith(first)


def test_what_is_not_certain_of_dates_is_said(tmp_path):
    unclear = [f"{1 + i % 12}/{1 + i % 9}/2024" for i in range(N)]
    data = loaded(tmp_path, "when,x", [unclear, REALS])
    assert has_note(data, "of which day or month may be first: the day is taken")
    far = [f"{2020 + i % 4}-03-01 10:20:{i % 60:02}" for i in range(N)]
    data = loaded(tmp_path, "when,x", [far, REALS])
    assert data.domain.values.columns[0].unit == 3600
    assert has_note(data, "is cut off to the hour: there are too many seconds")
    compact = [word.replace("-", "") for word in DATES]
    loaded(tmp_path, "when,x", [compact, REALS])
    data = sources.load(f"{tmp_path / 'people.csv'}@columns:when=date")
    assert data.domain.values.columns[0].origin == "2024-01-01"


# --- kinds ---------------------------------------------------------------------------------------


def test_few_numbers_among_words_are_categories_and_many_are_refused(tmp_path):
    children = [str(i % 4) if i % 5 else "more" for i in range(N)]
    data = loaded(tmp_path, "children,x", [children, REALS])
    assert data.domain.values.columns[0].categories == ("0", "1", "2", "3", "more")
    assert has_note(data, "column 'children' has numbers among its words")
    with pytest.raises(BadInput, match=r"line 2 .*'unknown' is no finite number.*age=category"):
        loaded(tmp_path, "age,x", [["unknown", *map(str, range(N - 1))], REALS])


def test_sixty_columns_of_ninety_categories(tmp_path):
    columns = [[f"c{i} {v}" for v in DRAW.integers(0, 90, 500)] for i in range(60)]
    data = loaded(tmp_path, ",".join(f"q{i}" for i in range(60)), columns)
    assert data.domain.kinds == ("category",) * 60
    assert data.domain.shape == (60,)
    assert max(c.count for c in data.domain.values.columns) == 90


# --- there and back ------------------------------------------------------------------------------


def people():
    """Return a frame with every kind of column, and missing values in each."""
    frame = pandas.DataFrame(
        {
            "height, m": DRAW.normal(1.7, 0.1, 300),
            "visits": DRAW.integers(-3, 40, 300).astype(float),
            "born": pandas.Timestamp("1950-03-01")
            + pandas.to_timedelta(DRAW.integers(0, 20_000, 300), "D"),
            "seen": pandas.Timestamp("2024-03-01")
            + pandas.to_timedelta(DRAW.integers(0, 5_000, 300), "min"),
            "diet": DRAW.choice(['none "yet"', "fish; meat", "a, b|c", " plain"], 300),
            "member": DRAW.integers(0, 2, 300) == 1,
            "weight": DRAW.normal(70, 10, 300),
        }
    )
    for i, name in enumerate(("height, m", "visits", "born", "seen", "diet")):
        frame.loc[i :: 9 + i, name] = None
    return frame


def written(path, data, x, labels=None):
    table_writing.write(path, *table_writing.rows_of(x, data.domain, labels=labels))
    return path


def test_samples_come_back_as_they_were(tmp_path):
    frame = people()
    data = table.of_arrays("people", frame)
    assert data.domain.kinds == (
        *("real", "category", "whole", "category", "date", "category", "date", "category"),
        *("category", "category", "real"),
    )
    x = both(data)[torch.arange(200) % 290]
    x[:, -1] += 0.01  # none of the data
    path = written(tmp_path / "rows.csv", data, x)
    assert torch.equal(ready(path, data), x)
    reread = table.dataset(path)
    assert reread.domain.columns == data.domain.columns
    assert reread.domain.kinds == data.domain.kinds
    back = pandas.read_csv(path, parse_dates=["born", "seen"])
    assert list(back) == list(frame)
    for name in ("height, m", "visits", "weight"):
        assert back[name].dtype == "float64"
    assert back["member"].dtype == "bool"
    assert pandas.api.types.is_datetime64_any_dtype(back["seen"])
    assert set(back["diet"].dropna()) == {'none "yet"', "fish; meat", "a, b|c", "plain"}
    assert int(back["born"].isna().sum()) == int((x[:, 5] == 1).sum())


@pytest.mark.parametrize(
    ("separator", "rate", "word"), [(",", "00.50", "00.50"), (";", "0,50", "0.5")]
)
@pytest.mark.parametrize("kinds", [{}, {"job": "target"}])
def test_constant_columns_come_back_where_they_stood(tmp_path, separator, rate, word, kinds):
    path, n = tmp_path / "a.csv", 120
    rows = [
        ["land", "pay", "rate", "job", "void", "age"],
        *(["DE, EU", f"{i}{rate[-3]}25", rate, "ab"[i % 2], "NA", f"{i % 40}"] for i in range(n)),
    ]
    path.write_text("\n".join(separator.join(map(_quoted, row)) for row in rows))
    data = table.dataset(path, kinds)
    assert dict(data.domain.constants) == {"land": "DE, EU", "rate": word, "void": ""}
    assert Domain.from_json(data.domain.to_json()) == data.domain
    assert any("samples have back: land = 'DE, EU'" in note for note in data.notes)
    x = data.train.x.clone()
    x[:, 0] += 0.001  # none of the data
    sample = written(tmp_path / "rows.csv", data, x, data.train.labels)
    frame = pandas.read_csv(sample)
    assert list(frame) == rows[0]
    assert set(frame["land"]) == {"DE, EU"}
    assert set(frame["rate"]) == {0.5}
    assert frame["void"].isna().all()
    assert torch.equal(ready(sample, data), x)
    in_memory = table_frames.frame(x, data.domain, data.train.labels)
    assert list(in_memory) == rows[0]
    assert set(in_memory["rate"]) == {0.5}
    assert in_memory["void"].isna().all()
    back = table.dataset(sample, kinds)
    assert back.domain.order == data.domain.order
    assert back.domain.constants == data.domain.constants
    sample.write_text(sample.read_text().replace("DE, EU", "CH"))
    with pytest.raises(BadInput, match=r"line 2 .*'CH' stands there, and 'DE, EU' in all"):
        ready(sample, data)


def _quoted(word):
    return f'"{word}"' if "," in word else word


def test_samples_without_what_never_changes_are_read_too(tmp_path):
    frame = people().assign(land="DE")
    data = table.of_arrays("people", frame)
    x = both(data)
    x[:, -1] += 0.01  # none of the data
    sample = written(
        tmp_path / "rows.csv", table.of_arrays("people", frame.drop(columns="land")), x
    )
    assert torch.equal(ready(sample, data), x)


def test_a_table_of_one_column_with_gaps_comes_back(tmp_path):
    data = table.of_arrays("one", {"k": np.array([i % 7 if i % 5 else None for i in range(200)])})
    x = both(data)
    text = written(tmp_path / "one.csv", data, x).read_text()
    assert text.startswith("k\n")
    assert '\n""\n' in text
    assert torch.equal(both(table.dataset(tmp_path / "one.csv")), x)


def test_a_file_and_its_frame_are_one_data_set(tmp_path):
    frame = people()
    frame.to_csv(tmp_path / "people.csv", index=False)
    data, file = table.of_arrays("people", frame), table.dataset(tmp_path / "people.csv")
    assert data.domain == file.domain
    assert torch.equal(both(data), both(file))
    nullable = frame.convert_dtypes()
    assert table.of_arrays("people", nullable).domain == data.domain
    nullable["diet"] = nullable["diet"].astype("category")
    assert table.of_arrays("people", nullable).domain == data.domain
    indexed = table.of_arrays("people", frame.set_index("weight"))
    assert has_note(indexed, "the index of the DataFrame is not read")


def test_a_parquet_is_read_by_its_types(tmp_path):
    frame = people()
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(BadInput, match=r"pip install 'trilemma\[parquet\]'"):
            sources.load(str(tmp_path / "broken.parquet"))
        pytest.skip("the extra 'parquet' is not installed")
    with pytest.raises(BadInput, match=r"cannot be read as a .parquet"):
        sources.load(str(tmp_path / "broken.parquet"))
    frame.to_parquet(tmp_path / "people.parquet")
    data = sources.load(str(tmp_path / "people.parquet"))
    assert data.domain == table.of_arrays("people", frame).domain


def test_progress_counts_rows(tmp_path):
    calls = []
    (tmp_path / "a.csv").write_text("x,y\n" + "".join(f"{w},{w}\n" for w in REALS))
    table.dataset(tmp_path / "a.csv", progress=lambda done, total: calls.append((done, total)))
    assert calls[-1][0] == N
