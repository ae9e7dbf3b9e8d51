import gzip
import hashlib
import struct

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.data import idx
from trilemma.data.sources import load


def packed(x):
    head = struct.pack(f">BBBB{x.dim()}I", 0, 0, 8, x.dim(), *x.shape)
    return head + x.numpy().tobytes()


def tensors(train=40, test=10, side=9):
    return {
        "train_x": torch.randint(0, 256, (train, side, side), dtype=torch.uint8),
        "train_labels": torch.arange(train, dtype=torch.uint8) % 4,
        "test_x": torch.randint(0, 256, (test, side, side), dtype=torch.uint8),
        "test_labels": torch.arange(test, dtype=torch.uint8) % 4,
    }


def put(folder, images, zipped=False, dotted=False):
    for part, x in images.items():
        name = idx.FILES[part].replace("-idx", ".idx" if dotted else "-idx")
        content = gzip.compress(packed(x)) if zipped else packed(x)
        (folder / (name + (".gz" if zipped else ""))).write_bytes(content)
    return folder


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_folder_of_ones_own_idx_files(tmp_path, zipped, dotted):
    images = tensors()
    data = load(str(put(tmp_path, images, zipped, dotted)))
    assert torch.equal(data.train.x[:, 0], images["train_x"])
    assert torch.equal(data.test.labels, images["test_labels"].long())
    assert data.domain.shape == (1, 9, 9)
    assert data.domain.classes == ("0", "1", "2", "3")
    assert data.domain.frequencies == (0.25,) * 4
    assert data.extractor is None


def test_one_file_short_is_no_set(tmp_path):
    put(tmp_path, tensors())
    (tmp_path / idx.FILES["test_labels"]).unlink()
    assert idx.find(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no idx file"),
        (b"\x89PNG\r\n\x1a\n" * 9, "no idx file"),
        (b"\0\0\x0d\x01\0\0\0\x02" + bytes(8), "no idx file"),
        (b"\0\0\x08\x03\0\0", "cannot be read|no idx file"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "no idx file"),
        (b"\0\0\x08\x01\0\0\0\x05abcd", "does not hold the 5 bytes"),
        (b"\0\0\x08\x01\0\0\0\x05abcdef", "does not hold the 5 bytes"),
    ],
)
def test_damaged_files_are_refused(tmp_path, content, why):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=why):
        idx.read(path)


def test_damaged_gzip_is_refused(tmp_path):
    path = tmp_path / "a.gz"
    packed_bytes = gzip.compress(packed(torch.randint(0, 256, (50, 9, 9), dtype=torch.uint8)))
    for content in (
        b"no gzip",
        packed_bytes[:-500],
        packed_bytes[:5],
        packed_bytes[:200] + b"\xff" * 50 + packed_bytes[250:],
    ):
        path.write_bytes(content)
        with pytest.raises(BadInput):
            idx.read(path)


def test_hash_is_of_the_unpacked_file(tmp_path):
    x = torch.arange(6, dtype=torch.uint8)
    digest = hashlib.sha256(packed(x)).hexdigest()
    for name, content in (("a", packed(x)), ("a.gz", gzip.compress(packed(x)))):
        (tmp_path / name).write_bytes(content)
        assert torch.equal(idx.read(tmp_path / name, digest), x)
        with pytest.raises(BadInput, match="not the file that is known"):
            idx.read(tmp_path / name, digest[::-1])


@pytest.mark.parametrize(
    "change",
    [
        {"train_labels": torch.zeros(39, dtype=torch.uint8)},
        {"test_x": torch.zeros(10, 8, 9, dtype=torch.uint8)},
        {"test_x": torch.zeros(10, dtype=torch.uint8)},
        {"test_x": torch.zeros(0, 9, 9, dtype=torch.uint8),
         "test_labels": torch.zeros(0, dtype=torch.uint8)},
    ],
)  # fmt: skip
def test_files_that_do_not_fit_each_other_are_refused(change):
    with pytest.raises(BadInput, match="do not fit each other"):
        idx.images("a", tensors() | change)
