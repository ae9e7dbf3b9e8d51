"""A split that belongs to the examples, not to their names or their order.

Each example has a hash h of its content, uniform on [0, 1); it is a test example when h < share.
So a copy lies on the side of its original, and adding, renaming or reordering files moves nothing.
Rows of a table are another thing: copies are what the data are like, and `row_hashes` gives each
of them a hash of its own, so that they lie on both sides.

Repairs, for small sets, that depend on content alone: a class without training examples gets the
one with its largest hash, an empty test set takes the smallest hashes, and so does one of fewer
than 50 examples where there are 250 or more: fewer cannot tell models apart.
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

__all__ = [
    "content_hashes",
    "duplicates",
    "frequencies",
    "is_test",
    "row_hashes",
    "split_warning",
]

FEWEST_TEST, FROM = 50, 250
"""Test examples at least, where there are so many examples in all."""
CROWDED = 0.2
"""Share of test examples that are copies of another, from which on it is warned of."""
FAR = 1.5
"""How many times its wanted share a split may be, or that share may be of it, unwarned."""


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


def row_hashes(hashes: Sequence[int]) -> list[int]:
    """Hash each example by its content and by how many of the same came before it.

    The set of the hashes does not depend on the order of the examples.

    >>> len(set(row_hashes([7, 7, 9])))
    3
    """
    occurrences: Counter[int] = Counter()
    unique_hashes = []
    for h in hashes:
        count = occurrences[h]
        unique_hashes.append(_rehashed(f"{h} {count}") if count else h)
        occurrences[h] = count + 1
    return unique_hashes


def _rehashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def split_warning(hashes: Sequence[int], test: Sequence[bool], share: float) -> str:
    """Say where a split is far from its share, or its test examples are full of copies.

    Arguments:
        hashes: Content hashes of all examples.
        test: Which are for testing.
        share: The share that was wanted.

    Returns:
        A sentence, or nothing.

    >>> split_warning([1, 1, 1, 2], [True, True, True, False], 0.5)
    'of 4 examples 3 are for testing, 2 of them copies of another: scores rest on few examples'
    """
    test_hashes = [h for h, is_in_test in zip(hashes, test, strict=True) if is_in_test]
    n, expected = (
        len(test_hashes),
        max(share * len(hashes), FEWEST_TEST if len(hashes) >= FROM else 1),
    )
    copies = n - len(set(test_hashes))
    is_far = max(n, expected) > FAR * min(n, expected) and abs(n - expected) > 3 * math.sqrt(
        expected
    )
    if not is_far and copies < CROWDED * n:
        return ""
    return (
        f"of {len(hashes)} examples {n} are for testing, {copies} of them copies of another: "
        "scores rest on few examples"
    )


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
    test_hashes = {h for h in hashes if h < share * 2**64}
    train_hashes = set()
    for members in _groups(hashes, labels):
        if members <= test_hashes:
            train_hashes.add(max(members))
    test_hashes -= train_hashes
    copies = Counter(hashes)
    rows = sum(copies[h] for h in test_hashes)
    least = FEWEST_TEST if len(hashes) >= FROM else 1
    if rows < least:
        # Copies of an example count, so that the share is one of rows; the last hash stays.
        train_hashes |= {max(members) for members in _groups(hashes, labels)}
        target_count = max(least, 0 if test_hashes else math.ceil(share * len(hashes)))
        for h in sorted(set(hashes) - train_hashes - test_hashes):
            if rows >= target_count:
                break
            test_hashes.add(h)
            rows += copies[h]
    if not test_hashes:
        raise BadInput(
            f"there are {len(set(hashes))} different examples among {len(hashes)}, too few to "
            "keep some for training and some for testing; give more data."
        )
    return torch.tensor([h in test_hashes for h in hashes])


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
    train_hashes = set(train)
    return {
        "train": len(train) - len(train_hashes),
        "test": len(test) - len(set(test)),
        "across": sum(h in train_hashes for h in test),
    }


def frequencies(train: Split, classes: Sequence[str]) -> tuple[float, ...]:
    """Return the share of each class among the training examples; empty without labels."""
    if train.labels is None:
        return ()
    counts: Mapping[int, int] = Counter(train.labels.tolist())
    return tuple(counts.get(i, 0) / len(train) for i in range(len(classes)))
