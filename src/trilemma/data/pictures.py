"""The images of a folder, decoded to squares of one size, and what stood in the way.

Files are found at any depth, their heads are read to settle the size, then all are decoded by
threads (Pillow lets go of the interpreter while it decodes) into one tensor that stays resident.
The result is kept in the cache by the names and the contents of the files (`file_hashes`), so that
a folder that was moved or copied is not decoded again.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.data import cache
from trilemma.data.below import below
from trilemma.data.captions import METADATA
from trilemma.data.file_hashes import FileHashes
from trilemma.data.images import (
    SUFFIXES,
    WHITE,
    ImageHeader,
    UnusableImage,
    brightest,
    centre_square,
    read_header,
)

__all__ = ["Pictures", "Progress", "pictures", "printable"]

FORM = 3
"""Number of this way of decoding; a cache made by another is not used."""
SMALLEST, LARGEST, USUAL, OWN = 8, 1024, 32, 64
"""Pixels on a side: least, most, what mixed sizes are brought to, most that is kept as it is."""

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and microscopes write into 16."""

Progress = Callable[[int, int], None]
"""Called with how many of how many files are done."""

A = TypeVar("A")
R = TypeVar("R")


@dataclass(frozen=True)
class Pictures:
    """What a folder's images are, before anything is decided about them."""

    x: Tensor
    """Usable images, [N, C, S, S] uint8; C is 1 where all are grey."""
    names: tuple[str, ...]
    """Their files, relative to the folder, sorted."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """How many there are of each 'WIDTHxHEIGHT', most frequent first."""
    unreadable: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Files that cannot be used, by reason."""
    converted: Mapping[str, int] = field(default_factory=dict)
    """How many had to be converted, by what was done."""
    own: Sequence[str] = ()
    """Folders of runs, and contact sheets, that `trilemma` wrote itself; left out."""
    other_files: Mapping[str, int] = field(default_factory=dict)
    """Number of files that are no images, by suffix, most frequent first."""
    hidden: int = 0
    """Number of hidden files and folders, which are not looked into."""

    @property
    def files(self) -> int:
        """Return the number of image files, usable or not."""
        return len(self.names) + sum(len(names) for names in self.unreadable.values())


def printable(name: str | Path) -> str:
    """Return a file's name so that it can be printed, whatever bytes it is made of."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def pictures(
    folder: Path, *, size: int | None = None, progress: Progress | None = None
) -> Pictures:
    """Decode a folder's images, or take them from the cache where no file has changed.

    Arguments:
        folder: Where they lie; hidden files and folders are left out.
        size: Side of the squares, pixels; None keeps the images' own where all are squares of
            one size from 8 to 64, and otherwise takes 32.
        progress: Called now and then with how many files are done.

    Raises:
        BadInput: The folder cannot be read or holds no images, or `size` is out of range.
    """
    if size is not None and not SMALLEST <= size <= LARGEST:
        raise BadInput(f"--size {size} is not between {SMALLEST} and {LARGEST} pixels.")
    try:
        os.listdir(folder)
    except OSError as error:
        raise BadInput(
            f"the folder '{printable(folder)}' cannot be read: {error.strerror}."
        ) from None
    listing = below(folder)
    files = listing.files
    names = [name for name in files if name.lower().endswith(SUFFIXES)]
    stems = {os.path.splitext(name)[0] for name in names}
    suffix_counts = Counter(
        os.path.splitext(name)[1].lower() or "without suffix"
        for name in files
        if not name.lower().endswith((*SUFFIXES, *METADATA))
        and not (name.endswith(".txt") and name.removesuffix(".txt") in stems)
    )
    if not names:
        suffix_summary = (
            ", ".join(f"{n} {suffix}" for suffix, n in suffix_counts.most_common(4)) or "no files"
        )
        raise BadInput(
            f"the folder '{printable(folder)}' holds no images ({suffix_summary}); wanted are "
            f"files named {', '.join(SUFFIXES)} in it or in folders below it."
        )
    count = _Count(len(names), progress)
    index = FileHashes(folder, _index_path(folder))
    key = _key(count(_tried(index, names)), size)
    decoded = _from_cache(_cache_path(key))
    if decoded is None:
        decoded = _decoded(folder, names, size, count)
        with suppress(OSError):  # a cache that cannot be written costs only time
            _to_cache(_cache_path(key), decoded)
    count.end()
    _remember(index, key, size)
    unreadable = dict(decoded.unreadable)
    if listing.forbidden:
        unreadable["a folder that may not be read"] = [printable(n) for n in listing.forbidden]
    own = (*map(printable, listing.own), *decoded.own)
    return replace(
        decoded,
        unreadable=unreadable,
        own=own,
        other_files=dict(suffix_counts.most_common()),
        hidden=listing.hidden,
    )


def _decoded(folder: Path, names: Sequence[str], size: int | None, count: _Count) -> Pictures:
    bad: dict[str, list[str]] = {}
    own: list[str] = []
    heads: dict[str, ImageHeader] = {}
    with warnings.catch_warnings():  # Pillow warns of what is reported here by name
        warnings.simplefilter("ignore")
        for name, outcome in count(_tried(lambda name: read_header(folder / name), names)):
            if isinstance(outcome, ImageHeader) and outcome.is_own:
                own.append(printable(name))
            elif isinstance(outcome, ImageHeader):
                heads[name] = outcome
            else:
                bad.setdefault(str(outcome), []).append(name)
        side = size or _own_size(heads.values())
        deep = [name for name, head in heads.items() if head.is_deep]
        count.add(len(deep))
        greatest = _tried(lambda name: brightest(folder / name), deep)
        bits = _bits(value for _, value in count(greatest))
        x = _room(len(heads), side)
        usable: list[str] = []
        # Decoded images come back in order, so that each takes the next place.
        squares = _tried(lambda name: centre_square(folder / name, side, 2**bits - 1), [*heads])
        for name, outcome in count(squares):
            if isinstance(outcome, np.ndarray):
                x[len(usable)] = outcome
                usable.append(name)
            else:
                bad.setdefault(str(outcome), []).append(name)
    x = x[: len(usable)]
    if (x[:, 0] == x[:, 1]).all() and (x[:, 0] == x[:, 2]).all():
        x = np.ascontiguousarray(x[:, :1])
    usable_heads = [heads[name] for name in usable]
    converted = Counter(trait for h in usable_heads for trait in h.traits)
    if bits < 16:
        converted[f"16-bit grey that uses {bits} bits, of which 2^{bits} - 1 is white"] = sum(
            h.is_deep for h in usable_heads
        )
    return Pictures(
        torch.from_numpy(x),
        tuple(usable),
        dict(Counter(f"{h.width}x{h.height}" for h in usable_heads).most_common()),
        {reason: [printable(name) for name in sorted(files)] for reason, files in bad.items()},
        dict(converted.most_common()),
        own,
    )


def _tried(work: Callable[[A], R], jobs: Sequence[A]) -> Iterator[tuple[A, R | UnusableImage]]:
    """Do the work on every job by threads; yield results or reasons in the order of the jobs."""

    def attempt(job: A) -> R | UnusableImage:
        try:
            return work(job)
        except UnusableImage as reason:
            return reason

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        try:
            # A window keeps what is decoded but not yet taken small.
            for start in range(0, len(jobs), 256):
                window = jobs[start : start + 256]
                yield from zip(window, pool.map(attempt, window), strict=True)
        except BaseException:  # an interrupt does not wait for what is still queued
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _Count:
    """Tells how many of some files are done, each of which is looked at three or four times."""

    def __init__(self, files: int, progress: Progress | None) -> None:
        self.files, self.progress = files, progress
        self.done, self.total, self.last = 0, 3 * files, 0

    def add(self, looks: int) -> None:
        """Count further looks at files as work."""
        self.total += looks

    def __call__(self, outcomes: Iterable[A]) -> Iterator[A]:
        """Yield what comes of the files, and tell of every fiftieth."""
        for outcome in outcomes:
            yield outcome
            self.done += 1
            if self.progress is not None and self.done % 50 == 0:
                self.last = max(self.last, self.done * self.files // self.total)
                self.progress(self.last, self.files)

    def end(self) -> None:
        """Tell that all are done."""
        if self.progress is not None:
            self.progress(self.files, self.files)


def _bits(values: Iterable[int | UnusableImage]) -> int:
    """Return how many bits the images of 16-bit grey use, by the brightest of all of them."""
    most = max((value for value in values if isinstance(value, int)), default=WHITE)
    return next(bits for bits in DEPTHS if most < 2**bits)


def _own_size(heads: Iterable[ImageHeader]) -> int:
    sizes = {(h.width, h.height) for h in heads}
    width, height = next(iter(sizes)) if len(sizes) == 1 else (0, 1)
    return width if width == height and SMALLEST <= width <= OWN else USUAL


def _room(count: int, side: int) -> np.ndarray:
    required_bytes = count * 3 * side * side
    with suppress(ValueError, OSError, AttributeError):  # where the system does not tell
        total_memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if required_bytes > total_memory // 2:
            raise BadInput(
                f"{count} images of {side} by {side} pixels take {required_bytes / 1e9:.1f} GB "
                f"and this machine has {total_memory / 1e9:.1f}; give a smaller --size or fewer "
                "images."
            )
    return np.empty((count, 3, side, side), np.uint8)


def _index_path(folder: Path) -> Path:
    path_digest = hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=8).hexdigest()
    return cache.folder() / "folders" / f"{path_digest}-index.safetensors"


def _cache_path(key: str) -> Path:
    return cache.folder() / "folders" / f"{key}.safetensors"


def _key(hashes: Iterable[tuple[str, str | UnusableImage]], size: int | None) -> str:
    """Hash all of which the images are a function: names, contents, size, the way of decoding."""
    digest = hashlib.blake2b(f"{FORM} {size}\0".encode(), digest_size=16)
    for name, content in hashes:
        digest.update(os.fsencode(name) + f"\0{content}\0".encode())
    return digest.hexdigest()


def _remember(index: FileHashes, key: str, size: int | None) -> None:
    """Keep a folder's index, and let go of what was decoded of its files as they were before."""
    before = index.caches.get(str(size), key)
    if before != key:
        with suppress(OSError):
            _cache_path(before).unlink(missing_ok=True)
    index.caches[str(size)] = key
    index.save()


def _to_cache(path: Path, images: Pictures) -> None:
    facts = {
        "names": images.names,
        "sizes": images.sizes,
        "unreadable": images.unreadable,
        "converted": images.converted,
        "own": images.own,
    }
    cache.write(path, {"x": images.x}, facts)


def _from_cache(path: Path) -> Pictures | None:
    cached = cache.read(path)
    if cached is None:
        return None
    facts = cached[1]
    return Pictures(
        cached[0]["x"],
        tuple(facts["names"]),
        facts["sizes"],
        facts["unreadable"],
        facts["converted"],
        facts["own"],
    )
