"""Natural photographs in colour, cut into patches, split by photograph.

Two Debian packages of desktop backgrounds hold 23 photographs beside drawings; which ones is a
list, made by looking at them. Each is reduced by an antialiased bicubic filter to long sides of
960, 640, 480 and 320 pixels and cut into squares, so that things are seen at four scales; at full
size most squares would be sky or blur. Seven photographs are for testing, and no patch of them is
trained on. They were chosen beforehand, for variety and for as much detail as the others have in
mean: grass on a dune, boats at sunset, a ladybird, a forest path, wet leaves, a lake, a flower.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.data.dataset import DataSet, Split
from trilemma.data.debian_source import Bundle, Debian

__all__ = [
    "BUNDLE", "LICENCE", "ORIGIN", "SIZES", "TEST", "USUAL", "cut", "dataset", "reduced",
    "whole_photos",
]  # fmt: skip

USUAL, SIZES = 64, (16, 32, 64, 128)
"""Side of the patches, pixels: without being asked, and what can be asked for."""
LONGEST = 1280
"""Long side of the photographs that are kept, pixels."""
SCALES: Mapping[int, int] = {960: 1, 640: 2, 480: 2, 320: 2}
"""Long sides at which they are cut, and how many times a pixel's row is covered: 2 is by half."""
ORIGIN = "mate-backgrounds 1.26.0 and plasma-workspace-wallpapers 5.27.5 (Debian)"
LICENCE = "GPL-2+, photograph by photograph in the packages' copyright files"

TEST = ("Dune", "EveningGlow", "LadyBird", "Path", "RainDrops", "summer_1am", "YellowFlower")
MATE = "usr/share/backgrounds/mate/nature/{}.jpg"
PLASMA = "usr/share/wallpapers/{}/contents/images/2560x1600.jpg"
MATE_PHOTOS: Mapping[str, str] = {
    "Aqua": "5c30118205982da441bf7e6a1ada636a8a0be879408140b3148280c665ed6bce",
    "Blinds": "f7aac0dcc2e06d0491643e84df3da1d9db7c4610f58806a880d56e074799f600",
    "Dune": "8a67c2cb0be8c46b70c237311a4fa4d2b4ac7d39568135384787801fa5cc9a91",
    "FreshFlower": "972b0a0c4e5e3fa93f4f244fc84bc64b121a5eac3aaa5856f1308c1f38a02f8e",
    "Garden": "d3095ee09d425ef23d27155412136cf14fc3c9af76ca58b452f55e23da324e78",
    "GreenMeadow": "8fa0de0aa4089f7319c9fb7a6d006d4cab6023e8c8853731557cff53567b4832",
    "LadyBird": "e35a9a4126ef969c90b29c038058c5a575a20eadd84106a37bf1fa9931e7b61d",
    "RainDrops": "3e4ea9671c28c90a86cf67b3db9daf18c4741587c596333a7529ca589aaa0c16",
    "Storm": "77ca53077831d3237f73393a91fc879158abc046d852941c26e90de336356957",
    "TwoWings": "665e5abf8a5399070a91a9a8e455fe071e5b61697ff78fdeda4e9843ef545aeb",
    "Wood": "19c78500ac00a622e19907ab9cc7d06d46fe08c4a6142759a84195696150ec07",
    "YellowFlower": "254da96256acb7add685679775a04d1e4a5bc8cd13e5a5a3d61351ce198a5306",
}
PLASMA_PHOTOS: Mapping[str, str] = {
    "BytheWater": "c272434ef39f2abf1ed48a15a8910088020f3165329a5092f3940ec9464bc05f",
    "ColdRipple": "05bef6722fc0ed81292cceb3ed026c38d17e510f3c84be7d68610c2b1a723c3f",
    "ColorfulCups": "6e0f3a72feb5a4a9fec191b77e34874c3c69e2d93040deb3f07773e73385023d",
    "DarkestHour": "8e3703fae3a3c217b1fc2b399b706cd3720584268d071ba153e4809daa55f1ce",
    "EveningGlow": "586682dcb362b9f620068f10138f87d0d3649939aef238adc5807cb951976a7a",
    "FallenLeaf": "95603a6560c7e8d50e0e03b3f4adbe39c5258c72528e74e4ecaea1daf4e499de",
    "Grey": "88c31d8944b7e6935d1b9a296654c692f0772cb512491713eb30a972a604c0ed",
    "Kite": "bdca288ce296a981e80659c021cf707caddc702c0c8d4247e60bd618476d47f8",
    "OneStandsOut": "cb507baf1dafdcae362264f3aba9483ed4be5f6c9fdd770f0ec0920c6d9e80fd",
    "Path": "7477457d7f17b736259f1b021864778ad4ba802cf3214e6728181ff29126bba8",
    "summer_1am": "c868b50789591dd42910153c768053f1ba0a98cb36bbfc2b7a96a1045d0477f8",
}
PATHS: Mapping[str, str] = {name: MATE.format(name) for name in MATE_PHOTOS} | {
    name: PLASMA.format(name) for name in PLASMA_PHOTOS
}
"""Where each photograph lies, below the root of an installed system."""


def _rescaled_photos(files: Mapping[str, bytes]) -> dict[str, Tensor]:
    """Decode the photographs and reduce them to every long side, as PHOTO@LONGSIDE."""
    photos = {}
    for name, path in PATHS.items():
        with Image.open(io.BytesIO(files[path]), formats=("JPEG",)) as image:
            pixels = np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
        for longest in (LONGEST, *SCALES):
            photos[f"{name}@{longest}"] = reduced(torch.from_numpy(pixels), longest)
    return photos


BUNDLE = Bundle(
    "photos",
    (
        Debian("mate-backgrounds", {PATHS[n]: h for n, h in MATE_PHOTOS.items()}),
        Debian("plasma-workspace-wallpapers", {PATHS[n]: h for n, h in PLASMA_PHOTOS.items()}),
    ),
    _rescaled_photos,
    form=2,
)


def reduced(photo: Tensor, longest: int) -> Tensor:
    """Reduce a photograph by Pillow's bicubic filter, which widens with the reduction.

    Arguments:
        photo: [3, H, W] uint8.
        longest: Long side of the result, pixels; a photograph that is smaller stays as it is.

    Returns:
        The photograph in its own proportions, [3, h, w] uint8.
    """
    height, width = photo.shape[1:]
    factor = longest / max(height, width)
    if factor >= 1:
        return photo
    size = (round(width * factor), round(height * factor))
    image = Image.fromarray(photo.permute(1, 2, 0).contiguous().numpy())
    small = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    return torch.from_numpy(small.transpose(2, 0, 1).copy())


def cut(photo: Tensor, size: int, times: int = 1) -> tuple[Tensor, list[tuple[int, int]]]:
    """Cut a photograph into squares; what is over is left at the edges.

    Arguments:
        photo: [C, H, W].
        size: S, side of a square, pixels.
        times: The step from one square to the next is S / times; 1 is without overlap.

    Returns:
        Squares as views, [down, across, C, S, S], and the (left, top) of each, row by row; none of
        a photograph that is smaller.
    """
    channels, height, width = photo.shape
    if min(height, width) < size:
        return photo.new_empty(0, 0, channels, size, size), []
    step = size // times
    top, left = (height - size) % step // 2, (width - size) % step // 2
    squares = photo[:, top:, left:].unfold(1, size, step).unfold(2, size, step)
    _, down, across = squares.shape[:3]
    corners = [(left + j * step, top + i * step) for i in range(down) for j in range(across)]
    return squares.permute(1, 2, 0, 3, 4), corners


def patches(photos: Mapping[str, Tensor], size: int) -> Split:
    """Cut photographs, PHOTO@LONGSIDE, into patches; each is named PHOTO@LONGSIDE+LEFT+TOP."""
    cuts = [cut(photo, size, SCALES[int(key.rpartition("@")[2])]) for key, photo in photos.items()]
    names = [
        f"{key}+{left}+{top}"
        for key, (_, corners) in zip(photos, cuts, strict=True)
        for left, top in corners
    ]
    # One copy of each pixel; NumPy is three times as fast as torch at short runs of bytes.
    x = np.empty((len(names), 3, size, size), np.uint8)
    start = 0
    for squares, corners in cuts:
        part = x[start : start + len(corners)]
        part.reshape(squares.shape)[...] = squares.numpy()
        start += len(corners)
    return Split(torch.from_numpy(x), names=names)


def dataset(size: int | None = None) -> DataSet:
    """Load the photographs as patches of a size.

    Arguments:
        size: Side of a patch, pixels: 16, 32, 64 or 128; None takes 64.

    Raises:
        BadInput: There is no such size, or the photographs are not here.
    """
    side = USUAL if size is None else size
    if side not in SIZES:
        raise BadInput(
            f"--size {side} is not offered for 'photos'; give one of {', '.join(map(str, SIZES))}."
        )
    photos = BUNDLE.tensors()
    train, test = (
        patches({key: photos[key] for name in _names(part) for key in _scaled(name)}, side)
        for part in ("train", "test")
    )
    notes = (
        f"{ORIGIN}; licence: {LICENCE}",
        f"split by photograph: patches of {len(_names('train'))} for training, of {len(TEST)} "
        f"for testing ({', '.join(TEST)})",
        f"patches are cut at long sides of {', '.join(map(str, SCALES))} pixels, by half "
        "overlapping but in the largest",
    )
    domain = Domain("image", (3, side, side), Levels(256))
    return DataSet("photos", domain, train, test, notes)


def whole_photos(split: str = "test", longest: int | None = None) -> list[tuple[str, Tensor]]:
    """Return whole photographs and their names, in alphabetical order.

    Arguments:
        split: 'train' or 'test'.
        longest: Long side to which they are reduced, pixels; None keeps 1280.

    Returns:
        (name, [3, H, W] uint8) for each.

    Raises:
        BadInput: There is no such split, the size is none, or the photographs are not here.
    """
    if longest is not None and not 1 <= longest <= LONGEST:
        raise BadInput(f"a long side of {longest} is not offered; give 1 to {LONGEST} pixels.")
    names, photos = _names(split), BUNDLE.tensors()
    return [(name, reduced(photos[f"{name}@{LONGEST}"], longest or LONGEST)) for name in names]


def _scaled(name: str) -> list[str]:
    return [f"{name}@{longest}" for longest in SCALES]


def _names(split: str) -> Sequence[str]:
    if split not in ("train", "test"):
        raise BadInput(f"there is no split '{split}' of the photographs; give 'train' or 'test'.")
    is_test = split == "test"
    return sorted((n for n in PATHS if (n in TEST) == is_test), key=str.lower)
