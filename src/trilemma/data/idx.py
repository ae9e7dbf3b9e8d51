"""The idx format of MNIST and its like: four files, raw or gzipped.

bytes 0-1  zero · byte 2  8 = unsigned bytes · byte 3  number of axes
then a big-endian 32-bit length for each axis, then the values
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.data.dataset import DataSet, Split
from trilemma.data.split import frequencies

__all__ = ["FILES", "find", "images", "read"]

FILES: Mapping[str, str] = {
    "train_x": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_x": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
"""What each file holds, and how it is called."""
LARGEST = 1 << 31


def find(folder: Path) -> dict[str, Path] | None:
    """Find the four files in a folder, raw or gzipped; None unless all are there."""
    paths = {}
    for part, name in FILES.items():
        spellings = (name, name.replace("-idx", ".idx"))
        candidates = [folder / (s + end) for s in spellings for end in ("", ".gz")]
        path = next((p for p in candidates if p.is_file()), None)
        if path is None:
            return None
        paths[part] = path
    return paths


def read(path: Path, sha256: str | None = None) -> Tensor:
    """Read one file.

    Arguments:
        path: The file; a name that ends in .gz is unpacked.
        sha256: Hash that the unpacked file must have, if it is known.

    Returns:
        The values, uint8, in the file's shape.

    Raises:
        BadInput: The file is cut short, is no idx file of bytes, or has another hash.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            magic = file.read(4)
            axes = magic[3] if len(magic) == 4 and magic[:3] == b"\0\0\x08" else 0
            lengths = file.read(4 * axes)
            shape = struct.unpack(f">{axes}I", lengths) if axes in (1, 3) else ()
            if not shape or math.prod(shape) > LARGEST:
                raise BadInput(f"'{path}' is no idx file of bytes; get it again.")
            values = bytearray(file.read(math.prod(shape) + 1))
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise BadInput(f"'{path}' cannot be read ({error}); get it again.") from None
    if len(values) != math.prod(shape):
        raise BadInput(f"'{path}' does not hold the {math.prod(shape)} bytes it says it does.")
    if sha256 is not None:
        actual_hash = hashlib.sha256(magic + lengths + values).hexdigest()
        if actual_hash != sha256:
            raise BadInput(
                f"'{path}' is not the file that is known: its sha256 is {actual_hash[:16]}…, "
                f"wanted is {sha256[:16]}…; nothing of it was used."
            )
    return torch.frombuffer(values, dtype=torch.uint8).view(shape)


def images(
    name: str,
    tensors: Mapping[str, Tensor],
    classes: Sequence[str] | None = None,
    notes: Sequence[str] = (),
    extractor: str | None = None,
) -> DataSet:
    """Make a data set with its own split from the tensors of the four files.

    Arguments:
        name: What it is called.
        tensors: As `FILES` names them: images [N, H, W] and labels [N], uint8.
        classes: Names of the classes; None takes the numbers.
        notes: What to know of it.
        extractor: Feature extractor made for it.

    Raises:
        BadInput: Images and labels do not fit each other.
    """
    train_x, test_x = tensors["train_x"], tensors["test_x"]
    train_labels, test_labels = tensors["train_labels"], tensors["test_labels"]
    if (
        train_x.shape[1:] != test_x.shape[1:]
        or (train_x.dim(), test_x.dim()) != (3, 3)
        or train_labels.shape != train_x.shape[:1]
        or test_labels.shape != test_x.shape[:1]
        or 0 in (*train_x.shape, len(test_x))
    ):
        raise BadInput(f"the four idx files of '{name}' do not fit each other; get them again.")
    highest = max(int(train_labels.max()), int(test_labels.max()))
    classes = tuple(classes or map(str, range(highest + 1)))
    train, test = (
        Split(x[:, None], labels.long())
        for x, labels in ((train_x, train_labels), (test_x, test_labels))
    )
    shape = (1, *train_x.shape[1:])
    domain = Domain("image", shape, Levels(256), classes, frequencies(train, classes))
    return DataSet(name, domain, train, test, tuple(notes), extractor)
