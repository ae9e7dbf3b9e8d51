import json
from itertools import pairwise

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.data.check import check
from trilemma.data.sources import load


def test_digits():
    report = check("digits")
    assert report.holds
    assert report.counts == {"train": 1418, "test": 379}
    assert report.sizes == {"8x8": 1797}
    assert sum(report.classes.values()) == 1797
    assert report.duplicates == {"train": 0, "test": 0, "across": 0}
    assert report.sheet.shape == (64, 1, 8, 8)


def test_points():
    report = check("two-moons")
    assert report.counts == {"train": 20_000, "test": 5_000}
    assert report.sizes == report.classes == {}
    assert report.sheet.shape == (4096, 2)


def test_sheet_shows_every_class_alike(album):
    album(60, "many")
    album(12, "few", start=100)
    album(20, "some", start=200)
    report = check(str(album(1, "lone", start=300)))
    data_classes = list(report.classes)
    assert data_classes == ["few", "lone", "many", "some"]
    assert report.classes == {"few": 12, "lone": 1, "many": 60, "some": 20}
    assert len(report.sheet) == 64
    assert any("lone" in note for note in report.notes)


def test_folder_that_holds(album):
    folder = album(150)
    (folder / "broken.png").write_bytes(b"x")
    album(2, "extra", start=0)  # copies of 000 and 001
    report = check(str(folder))
    assert report.holds
    assert report.counts["files"] == 153
    assert report.counts["train"] + report.counts["test"] == 152
    assert report.sizes == {"20x20": 152}
    assert report.unreadable == {"not an image of a known kind": ["broken.png"]}
    assert sum(report.duplicates.values()) == 2
    assert report.duplicates["across"] == 0


def test_folder_that_does_not_hold_is_reported_whole(album):
    folder = album(30)
    for i in range(7):
        (folder / f"bad{i}.png").write_bytes(b"" if i < 4 else b"x")
    report = check(str(folder))
    assert not report.holds
    assert "7 of 37" in report.problem
    assert report.unreadable["empty file"] == [f"bad{i}.png" for i in range(4)]
    assert report.unreadable["not an image of a known kind"] == [f"bad{i}.png" for i in (4, 5, 6)]
    assert report.counts == {"files": 37}
    assert report.sheet.shape == (30, 3, 20, 20)


def test_all_unreadable(album):
    folder = album(20)
    for path in folder.iterdir():
        path.write_bytes(b"x")
    report = check(str(folder))
    assert "20 of 20" in report.problem
    assert len(report.sheet) == 0


def test_report_is_json(album):
    folder = album(150)
    (folder / "broken.png").write_bytes(b"x")
    plain = json.loads(json.dumps(check(str(folder)).to_json()))
    assert plain["holds"] is True
    assert plain["counts"]["files"] == 151
    assert plain["unreadable"] == {"not an image of a known kind": ["broken.png"]}
    assert plain["domain"]["shape"] == [3, 20, 20]
    assert "sheet" not in plain


def test_nothing_to_look_through_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="holds no images"):
        check(str(tmp_path))
    with pytest.raises(BadInput, match="did you mean 'digits'"):
        check("digit")


def test_sheet_is_taken_at_equal_distances_and_has_its_captions(album):
    folder = album(200)
    rows = [json.dumps({"file_name": f"{i:03}.png", "caption": f"number {i}"}) for i in range(200)]
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    report = check(str(folder))
    train = load(str(folder)).train
    indices = [train.captions.index(caption) for caption in report.captions]
    assert len(indices) == 64
    assert {b - a for a, b in pairwise(indices)} <= {len(train) // 64, len(train) // 64 + 1}
    assert torch.equal(report.sheet, train.x[torch.tensor(indices)])
    assert any(line.startswith('captions, for example: "number ') for line in report.lines())
    assert report.to_json()["captions"] == list(report.captions)


def test_sheet_is_the_data(album):
    report = check(str(album(40)), size=16)
    assert report.sheet.dtype == torch.uint8
    assert report.sheet.shape[1:] == (3, 16, 16)


def test_lines_say_it_all(album):
    lines = check("digits").lines()
    assert lines[0] == "digits: can be used"
    assert "examples: train 1418, test 379" in lines
    assert any(line.startswith("10 classes: 0 178, 1 182") for line in lines)
    folder = album(30)
    (folder / "a.png").write_bytes(b"")
    lines = check(str(folder)).lines()
    assert "1 of 31 images" in lines[0]
    assert "unreadable, empty file (1): a.png" in lines
    assert "sizes: 20x20 30" in lines
