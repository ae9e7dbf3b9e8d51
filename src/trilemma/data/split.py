"""A split that belongs to the examples, not to their names or their order.

Each example has a hash h of its content, uniform on [0, 1); it is a test example when h < share.
So a copy lies on the side of its original, and adding, renaming or reordering files moves nothing.
Two repairs, for small sets, that depend on content alone: a class without training examples gets
the one with its largest hash, and an empty test set takes the smallest hashes.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.data.dataset import Split

__all__ = ["content_hashes", "duplicates", "frequencies", "is_test"]


def content_hashes(x: Tensor) -> list[int]:
    """Hash each example to 64 bits.

    Arguments:
        x: Examples, [N, ...].

    Returns:
        N integers in [0, 2^64); equal for equal examples.
    """
    rows = x.contiguous().view(len(x), -1).view(torch.uint8).numpy()
    shape = str((tuple(x.shape[1:]), x.dtype)).encode()
    start = hashlib.blake2b(shape, digest_size=8)
    hashes = []
    for row in rows:
        digest = start.copy()
        digest.update(row.data)
        hashes.append(int.from_bytes(digest.digest(), "big"))
    return hashes


def is_test(hashes: Sequence[int], share: float, labels: Sequence[int] | None = None) -> Tensor:
    """Choose the test examples.

    Arguments:
        hashes: Content hashes of N examples.
        share: Wanted share of test examples.
        labels: Classes; each is given at least one training example.

    Returns:
        Which examples are for testing, [N] bool; equal hashes are chosen together.

    Raises:
        BadInput: All examples are the same, or no split leaves both sides an example.
    """
    chosen = {h for h in hashes if h < share * 2**64}
    kept = set()
    for members in _groups(hashes, labels):
        if members <= chosen:
            kept.add(max(members))
    chosen -= kept
    if not chosen:
        # Copies of an example count, so that the share is one of rows; the last hash stays.
        kept |= {max(members) for members in _groups(hashes, labels)}
        copies, rows = Counter(hashes), 0
        for h in sorted(set(hashes) - kept):
            if rows >= math.ceil(share * len(hashes)):
                break
            chosen.add(h)
            rows += copies[h]
    if not chosen:
        raise BadInput(
            f"there are {len(set(hashes))} different examples among {len(hashes)}, too few to "
            "keep some for training and some for testing; give more data."
        )
    return torch.tensor([h in chosen for h in hashes])


def _groups(hashes: Sequence[int], labels: Sequence[int] | None) -> list[set[int]]:
    """Return the sets of examples that must not be all test examples."""
    groups: dict[int, set[int]] = {}
    for h, label in zip(hashes, labels if labels is not None else [0] * len(hashes), strict=True):
        groups.setdefault(label, set()).add(h)
    return list(groups.values())


def duplicates(train: Sequence[int], test: Sequence[int]) -> dict[str, int]:
    """Count examples that are copies of another.

    >>> duplicates([1, 1, 2], [2, 3, 2])
    {'train': 1, 'test': 1, 'across': 2}
    """
    seen = set(train)
    return {
        "train": len(train) - len(seen),
        "test": len(test) - len(set(test)),
        "across": sum(h in seen for h in test),
    }


def frequencies(train: Split, classes: Sequence[str]) -> tuple[float, ...]:
    """Return the share of each class among the training examples; empty without labels."""
    if train.labels is None:
        return ()
    counts: Mapping[int, int] = Counter(train.labels.tolist())
    return tuple(counts.get(i, 0) / len(train) for i in range(len(classes)))
