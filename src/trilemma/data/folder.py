"""A user's own folder of images as a data set: classes, captions, split, and what to know of it.

    ROOT/a.png …                 images without classes
    ROOT/CLASS/…/a.png …         the first folder below ROOT is the class
    ROOT/labels.csv              classes and captions, as `trilemma sample` writes them
    ROOT/metadata.jsonl | .csv   captions, which become tokens too (`text`)

How they are split stands in `image_set`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from trilemma.core.errors import BadInput
from trilemma.data.below import OWN
from trilemma.data.captions import captions
from trilemma.data.captions import classes as classes_of
from trilemma.data.dataset import DataSet
from trilemma.data.image_set import ImageSet
from trilemma.data.image_set import dataset as of_images
from trilemma.data.pictures import Pictures, printable

__all__ = ["dataset"]

FEWEST = 16
"""Usable images without which there is nothing to learn from."""
UNUSABLE_SHARE = 0.01
DARK = 16
"""Level that no value of a nearly black image exceeds: what 12 bits in 16 come to."""
NAMED = 4
"""Kinds of files that are named at most."""
NOT_CLASSES = {"train", "training", "test", "testing", "val", "valid", "validation"}


def dataset(folder: Path, images: Pictures) -> DataSet:
    """Make a data set of a folder's images.

    Raises:
        BadInput: More than one file in a hundred cannot be used, there are too few, they are all
            the same, or the captions cannot be read.
    """
    notes = _use(folder, images)
    classes, indices, extra_notes = _classes(folder, images.names)
    image_set = ImageSet(
        x=images.x,
        names=images.names,
        classes=classes,
        labels=indices,
        captions=partial(captions, folder),
    )
    name = printable(folder.resolve().name) or "folder"
    return of_images(name, image_set, (*notes, *extra_notes))


def _use(folder: Path, images: Pictures) -> list[str]:
    """Refuse what cannot be used; say what was done to the rest."""
    bad = [f"{name} ({reason})" for reason, names in images.unreadable.items() for name in names]
    first = ", ".join(bad[:3]) + (", …" if len(bad) > 3 else "")
    if len(bad) > UNUSABLE_SHARE * images.files:
        raise BadInput(
            f"{len(bad)} of {images.files} images in '{printable(folder)}' cannot be used, more "
            f"than {UNUSABLE_SHARE:.0%}: {first}; mend or remove them ('trilemma data check' "
            "lists them all)."
        )
    if len(images.names) < FEWEST:
        raise BadInput(
            f"the folder '{printable(folder)}' holds {len(images.names)} usable images; at least "
            f"{FEWEST} are wanted, and some hundreds to learn from."
        )
    side = images.x.shape[-1]
    notes = []
    if set(images.sizes) != {f"{side}x{side}"}:
        notes.append(
            f"cut to their centre square and resized to {side} by {side} (--size sets this); "
            f"sizes found: {', '.join(list(images.sizes)[:4])}{', …' * (len(images.sizes) > 4)}"
        )
    small = sum(n for size, n in images.sizes.items() if min(map(int, size.split("x"))) < side)
    if small:
        notes.append(f"smaller than {side} pixels and enlarged: {_images(small)}")
    sides = {size: sorted(map(int, size.split("x"))) for size in images.sizes}
    long = sum(n for size, n in images.sizes.items() if sides[size][1] > 2 * sides[size][0])
    if long:
        notes.append(f"longer than two squares, of which the middle one is taken: {_images(long)}")
    notes += [f"{what}: {_images(n)}" for what, n in images.converted.items()]
    dark = int((images.x.flatten(1).amax(1) <= DARK).sum())
    if dark:
        notes.append(f"nearly black, no value above {DARK} of 255: {_images(dark)}")
    if bad:
        notes.append(f"left out {len(bad)} of {images.files} images: {first}")
    if images.own:
        own = ", ".join(images.own[:4]) + (", …" if len(images.own) > 4 else "")
        notes.append(f"left out, {OWN} ({len(images.own)}): {own}")
    if images.other_files:
        kinds = [f"{n} {suffix}" for suffix, n in images.other_files.items()]
        further = sum(list(images.other_files.values())[NAMED:])
        listed = ", ".join(kinds[:NAMED] + [f"{further} others"] * (further > 0))
        notes.append(f"files that are no images of a known kind were left out: {listed}")
    if images.hidden:
        notes.append(f"hidden files and folders were not looked at: {images.hidden}")
    return notes


def _images(n: int) -> str:
    return f"{n} image{'s' * (n != 1)}"


def _classes(
    folder: Path, names: Sequence[str]
) -> tuple[tuple[str, ...], Sequence[int], list[str]]:
    """Read classes from labels.csv or the first folder below the root, or say why there are none.

    Returns:
        Names of the classes; the class of each file, 0 without classes; notes.
    """
    labels, notes = classes_of(folder, names)
    if labels is not None:
        class_index = {name: i for i, name in enumerate(sorted(set(labels)))}
        return tuple(class_index), [class_index[label] for label in labels], notes
    class_folders = [name.split("/", 1)[0] if "/" in name else "" for name in names]
    counts = Counter(class_folders)
    classes = sorted(counts)
    reason = ""
    if classes == [""]:
        return (), [0] * len(names), notes
    if counts[""]:
        reason = f"beside the folders: {_images(counts[''])}"
    elif len(classes) == 1:
        reason = (
            f"all images are in one folder; if the folders in it are classes, give {classes[0]}"
        )
    elif {name.lower() for name in classes} <= NOT_CLASSES:
        part = printable(classes[0])
        reason = f"'{part}' is a part, not a class; give '{printable(folder / classes[0])}'"
    elif len(classes) > len(names) / 2:
        reason = f"{len(classes)} folders hold {len(names)} images, fewer than two each"
    if reason:
        return (), [0] * len(names), [*notes, f"folders are not taken for classes: {reason}"]
    class_index = {name: i for i, name in enumerate(classes)}
    single = [printable(name) for name in classes if counts[name] == 1]
    if single:
        notes.append(
            f"classes with one image, which is for training: {', '.join(single[:5])}"
            + (", …" if len(single) > 5 else "")
        )
    return tuple(map(printable, classes)), [class_index[name] for name in class_folders], notes
