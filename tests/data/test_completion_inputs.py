"""An image of which a part is given: read exactly, or refused in a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.data.completion_inputs import is_image, read_image_with_mask

GREY = Domain("image", (1, 8, 8), Levels(17))


def saved(path, pixels):
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)
    return str(path)


def test_levels_and_mask_are_read_exactly(tmp_path):
    levels = torch.arange(64).view(8, 8) % 17
    image = saved(tmp_path / "a.png", (levels * 255 / 16).round())
    hole = np.zeros((8, 8))
    hole[2:4, 5] = 255
    x, is_known = read_image_with_mask(image, saved(tmp_path / "m.png", hole), GREY)
    assert torch.equal(x[0], levels.to(torch.uint8))
    assert is_known.shape == (1, 8, 8)
    assert torch.equal(~is_known[0], torch.from_numpy(hole > 0))


@pytest.mark.parametrize(
    ("word", "mask_picture"),
    [
        ("bottom", (slice(4, 8), slice(0, 8))),
        ("top", (slice(0, 4), slice(0, 8))),
        ("right", (slice(0, 8), slice(4, 8))),
        ("left", (slice(0, 8), slice(0, 4))),
    ],
)
def test_halves_have_names(tmp_path, word, mask_picture):
    _, is_known = read_image_with_mask(saved(tmp_path / "a.png", np.zeros((8, 8))), word, GREY)
    assert not is_known[0][mask_picture].any()
    assert int(is_known.sum()) == 32


def test_colours_keep_their_channels(tmp_path):
    pixels = np.zeros((8, 8, 3))
    pixels[..., 2] = 200
    domain = Domain("image", (3, 8, 8), Levels(256))
    x, is_known = read_image_with_mask(saved(tmp_path / "a.png", pixels), "bottom", domain)
    assert x[:, 0, 0].tolist() == [0, 0, 200]
    assert is_known.shape == (3, 8, 8)


def test_what_does_not_fit_is_refused(tmp_path):
    image = saved(tmp_path / "a.png", np.zeros((8, 8)))
    other = saved(tmp_path / "b.png", np.zeros((9, 8)))
    with pytest.raises(BadInput, match=r"the mask '.*b.png' is 8 by 9 pixels"):
        read_image_with_mask(image, other, GREY)
    with pytest.raises(BadInput, match=r"the image .* is 8 by 9 pixels, .* 8 by 8; resize"):
        read_image_with_mask(other, "bottom", GREY)
    with pytest.raises(BadInput, match="black all over"):
        read_image_with_mask(image, image, GREY)
    with pytest.raises(BadInput, match="a mask is a file or one of bottom"):
        read_image_with_mask(image, "lower", GREY)
    with pytest.raises(BadInput, match="are points"):
        read_image_with_mask(image, "bottom", Domain("points", (2,), Real()))
    (tmp_path / "c.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match="cannot be used"):
        read_image_with_mask(str(tmp_path / "c.png"), "bottom", GREY)
    assert is_image("x.PNG")
    assert not is_image("7")
