import json
import os
import shutil
import time

import numpy as np
import pytest
import torch
from PIL import Image

from trilemma.core.domain import Levels
from trilemma.core.errors import BadInput
from trilemma.data import cache, file_hashes, pictures
from trilemma.data.sources import load


def all_notes(data):
    return "\n".join(data.notes)


def test_plain_folder(album):
    data = load(str(album(60)))
    assert data.name == "album"
    assert data.domain.kind == "image"
    assert data.domain.shape == (3, 20, 20)
    assert data.domain.values == Levels(256)
    assert data.domain.classes == ()
    assert data.train.labels is None
    assert data.train.captions is None
    assert data.train.x.dtype == torch.uint8
    assert len(data.train) + len(data.test) == 60
    assert 1 <= len(data.test) <= 15
    assert len(data.train.names) == len(data.train)
    assert data.extractor is None


def test_pixels_belong_to_their_files(album):
    folder = album(30)
    data = load(str(folder))
    for part in (data.train, data.test):
        for x, name in zip(part.x, part.names, strict=True):
            want = np.asarray(Image.open(folder / name)).transpose(2, 0, 1)
            assert np.array_equal(x.numpy(), want)


def test_grey_in_any_dress_has_one_channel(album, picture):
    folder = album(20, colour=False)
    picture(99, colour=False).convert("RGB").save(folder / "dressed.png")
    assert load(str(folder)).domain.shape == (1, 20, 20)
    picture(98).save(folder / "coloured.png")
    assert load(str(folder)).domain.shape == (3, 20, 20)


@pytest.mark.parametrize(
    ("sizes", "size_given", "side"),
    [
        ([(28, 28)], None, 28),
        ([(64, 64)], None, 64),
        ([(65, 65)], None, 32),
        ([(6, 6)], None, 32),
        ([(28, 30)], None, 32),
        ([(28, 28), (29, 29)], None, 32),
        ([(100, 40), (40, 90)], 48, 48),
    ],
)
def test_size_follows_the_data_or_the_user(tmp_path, picture, sizes, size_given, side):
    for i in range(20):
        picture(i, sizes[i % len(sizes)]).save(tmp_path / f"{i}.png")
    data = load(str(tmp_path), size=size_given)
    assert data.domain.shape == (3, side, side)
    assert ("resized" in all_notes(data)) == (sizes != [(side, side)])
    assert ("enlarged" in all_notes(data)) == any(min(s) < side for s in sizes)


@pytest.mark.parametrize("size", [0, -3, 7, 5000])
def test_size_out_of_range_is_refused(album, size):
    with pytest.raises(BadInput, match=rf"--size {size} is not between 8 and 1024"):
        load(str(album(20)), size=size)


def test_names_and_order_change_nothing(album, tmp_path):
    first = load(str(album(50, "cat")))
    before = first.fingerprint
    folder = tmp_path / "album" / "cat"
    for i, path in enumerate(sorted(folder.iterdir(), reverse=True)):
        path.rename(folder / f"renamed {i:02} ü.PNG")
    reloaded = load(str(tmp_path / "album"))
    assert reloaded.fingerprint == before
    assert set(reloaded.test.names).isdisjoint(first.test.names)


def test_more_images_leave_the_split_of_the_rest(album):
    folder = album(80)
    before = load(str(folder))
    album(40, start=80)
    after = load(str(folder))
    assert set(before.test.names) <= set(after.test.names)
    assert set(before.train.names) <= set(after.train.names)


def test_copies_share_a_side_and_are_counted(album, picture):
    folder = album(40)
    for i in range(40):
        picture(i).save(folder / f"copy-{i:03}.bmp")
    data = load(str(folder))
    train, test = ({name[-7:-4] for name in part.names} for part in (data.train, data.test))
    assert train.isdisjoint(test)
    assert len(train | test) == 40
    assert 2 * len(test) == len(data.test)
    assert "copies of another image, on the same side of the split: 40" in all_notes(data)


def test_classes_are_the_first_folders(album):
    album(12, "b cat/deep/er")
    album(12, "Äpfel", start=20)
    data = load(str(album(12, "a", start=40)))
    assert data.domain.classes == ("a", "b cat", "Äpfel")
    assert sum(data.domain.frequencies) == pytest.approx(1)
    for part in (data.train, data.test):
        for label, name in zip(part.labels.tolist(), part.names, strict=True):
            assert name.startswith(data.domain.classes[label] + "/")


def test_class_with_one_image_is_for_training_and_is_named(album):
    for seed in range(20, 45):
        album(1, f"lone{seed}", start=seed)
    data = load(str(album(200, "many", start=100)))
    assert not any(name.startswith("lone") for name in data.test.names)
    assert "classes with one image" in all_notes(data)
    assert "lone20" in all_notes(data)
    assert min(data.domain.frequencies) > 0


@pytest.mark.parametrize(
    ("layout", "why"),
    [
        ({"only/x": 10, "only/y": 10}, "give only"),
        ({"train/x": 10, "test/x": 10}, "is a part, not a class"),
        ({"": 5, "x": 10, "y": 10}, "beside the folders: 5 images"),
        ({f"one{i}": 1 for i in range(20)}, "fewer than two each"),
    ],
)
def test_wrong_level_is_said_and_no_class_is_made_up(album, layout, why):
    start = 0
    for below, n in layout.items():
        folder = album(n, below, start=start)
        start += n
    data = load(str(folder))
    assert data.train.labels is None
    assert data.domain.classes == data.domain.frequencies == ()
    assert why in all_notes(data)


def test_hidden_files_and_other_kinds_are_left_out(album):
    folder = album(20)
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "._000.png").write_bytes(b"x")
    (folder / ".thumbs").mkdir()
    (folder / ".thumbs" / "a.png").write_bytes(b"x")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "a.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    (folder / "photo.heic").write_text("x")
    data = load(str(folder))
    assert len(data.train) + len(data.test) == 20
    assert "1 .txt" in all_notes(data)
    assert "1 .heic" in all_notes(data)
    assert "hidden files and folders were not looked at: 4" in all_notes(data)


def test_every_file_of_another_kind_is_counted(album):
    folder = album(20)
    for i, suffix in enumerate(["a", "b", "c", "d", "e", "f"]):
        for j in range(6 - i):
            (folder / f"{j}.{suffix}").write_text("x")
    assert "6 .a, 5 .b, 4 .c, 3 .d, 3 others" in all_notes(load(str(folder)))


def deep(folder, top, count=20, start=0):
    """Write pictures in 16-bit grey whose brightest value is `top`."""
    folder.mkdir(exist_ok=True)
    for i in range(start, start + count):
        values = np.random.default_rng(i).integers(0, top + 1, (8, 8)).astype(np.uint16)
        values[0, 0] = top
        Image.fromarray(values).save(folder / f"{i:03}.png")
    return folder


@pytest.mark.parametrize(("top", "bits"), [(200, 8), (1000, 10), (4095, 12), (16000, 14)])
def test_grey_of_fewer_bits_than_sixteen_is_bright_and_said(tmp_path, top, bits):
    data = load(str(deep(tmp_path / "album", top)))
    brightest = int(torch.cat([data.train.x, data.test.x]).max())
    assert brightest == round(255 * top / (2**bits - 1))
    assert f"16-bit grey that uses {bits} bits" in all_notes(data)
    assert "16 bits reduced to 8: 20 images" in all_notes(data)


def test_bits_are_those_of_the_folder_and_not_of_each_image(tmp_path):
    folder = deep(tmp_path / "album", 4095)
    deep(folder, 65535, count=1, start=100)
    data = load(str(folder))
    assert "that uses" not in all_notes(data)
    assert "nearly black, no value above 16 of 255: 20 images" in all_notes(data)
    assert len(data.train) + len(data.test) == 21


def test_a_dark_or_damaged_image_does_not_decide(tmp_path, album, picture):
    folder = album(120, colour=False, size=(8, 8))
    (folder / "cut.png").write_bytes(
        (deep(tmp_path / "other", 4095) / "000.png").read_bytes()[:90]
    )
    data = load(str(folder))
    assert "left out 1 of 121 images" in all_notes(data)
    assert "nearly black" not in all_notes(data)


def test_panoramas_are_counted(album, picture):
    folder = album(20)
    for i, size in enumerate([(200, 20), (20, 61), (40, 20), (50, 20)]):
        picture(200 + i, size).save(folder / f"long{i}.png")
    assert "longer than two squares, of which the middle one is taken: 3" in all_notes(
        load(str(folder))
    )


def test_conversions_are_counted(album, picture):
    folder = album(20)
    picture(50).convert("RGBA").save(folder / "alpha.png")
    picture(51).convert("CMYK").save(folder / "press.jpg")
    picture(52).save(folder / "move.gif", save_all=True, append_images=[picture(53)])
    notes = all_notes(load(str(folder)))
    assert "transparency laid on white: 1 image" in notes
    assert "CMYK converted to RGB: 1 image" in notes
    assert "animated, first frame taken: 1 image" in notes


def test_links_are_followed_and_loops_are_not(album, tmp_path, picture):
    folder = album(20, "a")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "a" / "self").symlink_to(folder / "a" / "self")
    outside = tmp_path / "outside"
    outside.mkdir()
    for i in range(100, 110):
        picture(i).save(outside / f"{i}.png")
    (folder / "b").symlink_to(outside)
    data = load(str(folder))
    assert len(data.train) + len(data.test) == 30
    assert data.domain.classes == ("a", "b")


def test_names_of_any_bytes(album, picture):
    folder = album(20)
    picture(60).save(folder / ("x" * 240 + ".png"))
    picture(61).save(folder / " leading space & 'quotes' <b>.png")
    raw = os.fsencode(folder) + b"/not-utf8-\xff.png"
    with open(raw, "wb") as file:
        picture(62).save(file, "PNG")
    data = load(str(folder))
    names = [*data.train.names, *data.test.names]
    assert len(names) == 23
    assert r"not-utf8-\xff.png" in names
    "".join(names).encode()  # can be printed


def test_one_in_a_hundred_may_be_unreadable(album):
    folder = album(99)
    (folder / "broken.png").write_bytes(b"no")
    data = load(str(folder))
    assert len(data.train) + len(data.test) == 99
    assert "left out 1 of 100 images: broken.png (not an image" in all_notes(data)
    (folder / "second.jpg").write_bytes(b"")
    with pytest.raises(BadInput, match=r"2 of 101 images in .*1%: .*second\.jpg \(empty file\)"):
        load(str(folder))


def test_forbidden_folder_is_counted_among_the_unreadable(album, monkeypatch):
    folder = album(20)
    album(5, "shut", start=30)
    if os.geteuid() == 0:
        scan = os.scandir

        def deny(where):
            if str(where).endswith("shut"):
                raise PermissionError(13, "Permission denied", str(where))
            return scan(where)

        monkeypatch.setattr(pictures.os, "scandir", deny)
    else:
        (folder / "shut").chmod(0)
    with pytest.raises(BadInput, match=r"shut \(a folder that may not be read\)"):
        load(str(folder))


def test_what_cannot_be_used_is_refused_in_a_sentence(tmp_path, album, picture):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BadInput, match=r"holds no images \(no files\)"):
        load(str(empty))
    (empty / "a.txt").write_text("x")
    (empty / "b.txt").write_text("x")
    (empty / "metadata.csv").write_text("file_name,caption\n")
    with pytest.raises(BadInput, match=r"holds no images \(2 \.txt\)"):
        load(str(empty))
    with pytest.raises(BadInput, match="is a file"):
        load(str(empty / "a.txt"))
    with pytest.raises(BadInput, match="there is no folder"):
        load(str(tmp_path / "missing"))
    small_album = album(15)
    with pytest.raises(BadInput, match="15 usable images; at least 16"):
        load(str(small_album))
    for path in small_album.iterdir():
        picture(0).save(path)
    picture(0).save(small_album / "more.png")
    with pytest.raises(BadInput, match="1 different examples among 16"):
        load(str(small_album))


def test_images_of_one_pixel_are_refused(album):
    with pytest.raises(BadInput, match=r"20 of 20 .*one pixel wide or high"):
        load(str(album(20, size=(1, 1))))


def test_bomb_is_refused_unread(album, monkeypatch):
    folder = album(120)
    monkeypatch.setattr("trilemma.data.images.LARGEST", 399)
    with pytest.raises(BadInput, match="larger than"):
        load(str(folder))


def test_more_than_memory_is_refused_before_decoding(album, monkeypatch):
    monkeypatch.setattr(pictures.os, "sysconf", lambda name: 100)
    with pytest.raises(BadInput, match="smaller --size or fewer"):
        load(str(album(20)))


def test_progress_is_told_to_the_end(album):
    progress = []
    load(str(album(120)), progress=lambda done, total: progress.append((done, total)))
    assert progress == [(n, 120) for n in (16, 33, 50, 66, 83, 100, 116, 120)]


def test_progress_of_deep_pictures_never_goes_back(tmp_path):
    progress = []
    folder = deep(tmp_path / "album", 4095, count=120)
    load(str(folder), progress=lambda done, total: progress.append((done, total)))
    assert progress == sorted(progress)
    assert progress[-1] == (120, 120)


def test_a_file_whose_size_and_time_are_set_back_is_read_again(album, picture):
    folder = album(20)
    before = load(str(folder)).fingerprint
    file = folder / "000.png"
    times, size = os.stat(file), file.stat().st_size
    for seed in range(300, 400):
        picture(seed).save(file)
        if file.stat().st_size <= size:
            break
    with file.open("ab") as end:  # what follows the end of a PNG is not read
        end.write(bytes(size - file.stat().st_size))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == size
    assert load(str(folder)).fingerprint != before


def test_error_in_progress_ends_at_once(album):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(str(album(120)), progress=stop)


def test_cache_is_used_until_a_file_changes(album, picture, monkeypatch, own_cache):
    folder = album(30)
    before = load(str(folder))
    decode = pictures.centre_square
    monkeypatch.setattr(pictures, "centre_square", lambda *_: pytest.fail("decoded again"))
    reloaded = load(str(folder))
    assert reloaded.fingerprint == before.fingerprint
    assert reloaded.notes == before.notes
    assert reloaded.test.names == before.test.names
    monkeypatch.setattr(pictures, "centre_square", decode)
    picture(77).save(folder / "000.png")
    os.utime(folder / "000.png", ns=(time.time_ns(), time.time_ns() + 10**9))
    assert load(str(folder)).fingerprint != before.fingerprint
    load(str(folder), size=16)
    # One for each size, and the index of the folder; none is left over.
    assert len(list((own_cache / "folders").iterdir())) == 3


def test_a_folder_that_was_moved_or_copied_is_not_decoded_again(album, monkeypatch):
    folder = album(30)
    before = load(str(folder)).fingerprint
    shutil.copytree(folder, folder.with_name("copy"))
    folder.rename(folder.with_name("moved"))
    monkeypatch.setattr(pictures, "read_header", lambda *_: pytest.fail("looked at again"))
    for name in ("copy", "moved"):
        assert load(str(folder.with_name(name))).fingerprint == before


def test_files_are_read_again_only_where_they_may_have_changed(album, monkeypatch):
    folder = album(30)
    monkeypatch.setattr(file_hashes, "SETTLED", 0.0)
    before = load(str(folder)).fingerprint
    reads = []
    real = file_hashes._digest
    monkeypatch.setattr(file_hashes, "_digest", lambda path: reads.append(path.name) or real(path))
    assert load(str(folder)).fingerprint == before
    assert reads == []
    os.utime(folder / "007.png")
    assert load(str(folder)).fingerprint == before
    assert reads == ["007.png"]


def test_a_file_that_was_changed_just_now_is_read_again(album, monkeypatch):
    folder = album(30)
    monkeypatch.setattr(file_hashes, "SETTLED", 3600.0)
    load(str(folder))
    reads = []
    real = file_hashes._digest
    monkeypatch.setattr(file_hashes, "_digest", lambda path: reads.append(path.name) or real(path))
    load(str(folder))
    assert len(reads) == 30


def test_damaged_cache_is_made_again(album, own_cache):
    folder = album(30)
    before = load(str(folder))
    entries = list((own_cache / "folders").iterdir())
    assert len(entries) == 2
    for entry in entries:
        content = bytearray(entry.read_bytes())
        content[-100] ^= 1
        entry.write_bytes(content)
    assert load(str(folder)).fingerprint == before.fingerprint


def test_cache_that_cannot_be_written_is_no_error(album, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write", full)
    assert len(load(str(album(30))).train) > 0


def test_captions_from_lines_of_json(album):
    folder = album(20, "x")
    rows = [{"file_name": f"x/{i:03}.png", "caption": f" number {i} "} for i in range(19)]
    rows += [{"file_name": "gone.png", "text": "nothing"}]
    text = "\n".join(json.dumps(row) for row in rows) + "\n\n"
    (folder / "metadata.jsonl").write_text("\ufeff" + text, encoding="utf-8")
    (folder / "metadata.csv").write_text("nonsense")
    data = load(str(folder))
    for part in (data.train, data.test):
        for caption, name in zip(part.captions, part.names, strict=True):
            i = int(name[2:5])
            assert caption == (f"number {i}" if i < 19 else "")
    assert data.domain.words == 2
    assert set(data.domain.vocabulary) <= {"number", *map(str, range(19))}
    numbers = data.domain.vocabulary.index("number") + 1
    for part in (data.train, data.test):
        without_caption = torch.tensor([caption == "" for caption in part.captions])
        assert torch.equal(part.mask.any(1), ~without_caption)
        assert torch.equal(part.tokens[:, 0] == numbers, ~without_caption)
    notes = all_notes(data)
    assert "no caption for 1 of 20 images" in notes
    assert "captions of files that are not among the images: 1" in notes
    assert "metadata.csv was not read" in notes


def test_captions_from_a_table(album, picture):
    folder = album(20)
    picture(70).save(folder / "e\u0301te\u0301.png")
    rows = ["file_name,caption"] + [f'{i:03}.png,"one, two {i}"' for i in range(20)]
    rows += ["./été.png,summer"]
    (folder / "metadata.csv").write_text("\r\n".join(rows), encoding="utf-8")
    data = load(str(folder))
    captions = dict(zip(data.train.names, data.train.captions, strict=True))
    captions |= dict(zip(data.test.names, data.test.captions, strict=True))
    assert captions["007.png"] == "one, two 7"
    assert captions["e\u0301te\u0301.png"] == "summer"


def captions_of(data):
    return dict(
        zip(
            (*data.train.names, *data.test.names),
            (*data.train.captions, *data.test.captions),
            strict=True,
        )
    )


def test_captions_as_people_have_them(album):
    """Of a folder within, by whole paths, several of an image, and rows that say nothing."""
    folder = album(20, "x")
    rows = [{"file_name": f"{i:03}.png", "captions": [f"number {i}", "again"]} for i in range(5)]
    rows += [
        {"file_name": str(folder.resolve() / f"x/{i:03}.png"), "text": "whole"} for i in (5, 6)
    ]
    rows += [{"file_name": "005.png", "caption": "second"}]
    rows += [{"file_name": "007.png"}, {"file_name": "007.png", "caption": "  "}]
    (folder / "x" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for i in (0, 8, 9):
        (folder / "x" / f"{i:03}.txt").write_text(f"beside\n  {i}\n")
    data = load(str(folder))
    captions = captions_of(data)
    assert [captions[f"x/{i:03}.png"] for i in range(11)] == [
        *(f"number {i}" for i in range(5)),
        *("whole", "whole", "", "beside 8", "beside 9", ""),
    ]
    notes = all_notes(data)
    assert "captions from .txt files beside the images: 2" in notes
    assert "rows without a caption: 2" in notes
    further = dict(zip(data.train.names, data.train.further, strict=True))
    several = {f"x/{i:03}.png" for i in range(6)} & set(further)
    assert {name for name, texts in further.items() if texts} == several
    assert all(further[name] == [{"x/005.png": "second"}.get(name, "again")] for name in several)
    assert data.test.further is None
    assert f"training images with several captions: {len(several)}; one of them is drawn" in notes
    assert "no caption for 11 of 20 images" in notes
    assert ".txt" not in notes.replace("from .txt", "")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("metadata.jsonl", b"{not json}\n", "line 1, is not JSON"),
        ("metadata.jsonl", b"[1, 2]\n", "line 1, is not a JSON object"),
        ("metadata.jsonl", b'{"file_name": "a"}\n', "no row with 'file_name' and 'caption'"),
        ("metadata.jsonl", b'{"file_name": 3, "caption": "a"}\n', "no row with"),
        ("metadata.jsonl", b"[" * 100_000, "line 1, is not JSON"),
        ("metadata.csv", b"name,words\n000.png,hello\n", "no row with"),
        ("metadata.csv", b"file_name,caption\n000.png\n", "no row with"),
        ("000.txt", b"\xff\xfe", "UTF-8"),
        ("metadata.csv", b"file_name,caption\n000.png,\xff\xfe\n", "UTF-8"),
    ],
)
def test_captions_that_cannot_be_read_are_refused(album, name, content, why):
    folder = album(20)
    (folder / name).write_bytes(content)
    with pytest.raises(BadInput, match=why):
        load(str(folder))


@pytest.mark.parametrize(
    ("content", "classes", "note"),
    [
        (
            "file_name,class\n" + "".join(f"{i:03}.png,{'cd'[i % 2]}\n" for i in range(20)),
            2,
            "from",
        ),
        ("class,file_name\n" + "".join(f"{'cd'[i % 2]},./{i:03}.png\n" for i in range(20)), 2, ""),
        ("file_name,class\n000.png,c\n001.png,d\n", 0, "not used: 18 of 20 have none"),
        ("file_name,class\n" + "".join(f"{i:03}.png,c\n" for i in range(20)), 0, "one class"),
        ("a,b\n1,2\n", 0, ""),
        ("", 0, ""),
    ],
)
def test_classes_from_a_table_of_labels(album, content, classes, note):
    folder = album(20)
    (folder / "labels.csv").write_text(content)
    data = load(str(folder))
    assert len(data.domain.classes) == classes
    assert note in all_notes(data)
    assert data.train.captions is None
    if classes:
        for name, label in zip(data.train.names, data.train.labels.tolist(), strict=True):
            assert label == int(name[:3]) % 2


def test_a_table_of_labels_beside_metadata(album):
    folder = album(20)
    lines = [json.dumps({"file_name": f"{i:03}.png", "text": f"cat {i}"}) for i in range(20)]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    rows = "".join(f"{i:03}.png,{'cd'[i % 2]}\n" for i in range(20))
    (folder / "labels.csv").write_text("file_name,class\n" + rows)
    data = load(str(folder))
    assert data.domain.classes == ("c", "d")
    assert {*data.train.captions, *data.test.captions} == {f"cat {i}" for i in range(20)}
    assert "was not read" not in all_notes(data)


def test_labels_that_are_no_text_are_refused(album):
    folder = album(20)
    (folder / "labels.csv").write_bytes(b"\xff\xfe\x00class")
    with pytest.raises(BadInput, match=r"labels\.csv' cannot be read as UTF-8 text"):
        load(str(folder))
