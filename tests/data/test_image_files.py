"""One file at a time: the ~25 kinds of file that break other loaders."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from trilemma.data.images import UnusableImage, brightest, centre_square, read_header

SIDE = 16


def png(width, height, body=b""):
    """Bytes of a PNG whose head claims a size, whatever the body holds."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def encoded(image, kind, **how):
    to = io.BytesIO()
    image.save(to, kind, **how)
    return to.getvalue()


def flat(colour, mode="RGB", size=(24, 24)):
    return Image.new(mode, size, colour)


def noisy(size=(64, 64)):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))


def refused(tmp_path):
    encoded_images = {
        kind: encoded(noisy(), kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP")
    }
    flipped = bytearray(encoded_images["PNG"])
    flipped[len(flipped) // 2] ^= 255
    return {
        "empty.png": (b"", "empty file"),
        "text.png": (b"hello, I am no picture", "not an image"),
        "page.jpg": (b"<html><body>404</body></html>", "not an image"),
        "zeros.jpg": (bytes(4000), "not an image"),
        "svg.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not an image"),
        "tiff.png": (encoded(noisy(), "TIFF"), "not an image"),
        "cut.png": (encoded_images["PNG"][:5000], "damaged"),
        "cut.jpg": (encoded_images["JPEG"][:1500], "damaged"),
        "cut.gif": (encoded_images["GIF"][:2000], "damaged"),
        "cut.bmp": (encoded_images["BMP"][:5000], "damaged"),
        "cut.webp": (encoded_images["WEBP"][:1000], "damaged|not an image"),
        "head.png": (encoded_images["PNG"][:20], "damaged|not an image"),
        "head.jpg": (encoded_images["JPEG"][:3], "damaged|not an image"),
        "flipped.png": (bytes(flipped), "damaged"),
        "bomb.png": (png(30_000, 30_000, zlib.compress(bytes(1000))), "40 megapixels"),
        "large.png": (png(8_000, 6_000, zlib.compress(bytes(1000))), "40 megapixels"),
        "greedy.png": (png(2**31 - 1, 2**31 - 1), "40 megapixels"),
        "void.png": (png(0, 0), "damaged|not an image|one pixel"),
        "dot.png": (encoded(flat("red", size=(1, 1)), "PNG"), "one pixel"),
        "line.png": (encoded(flat("red", size=(300, 1)), "PNG"), "one pixel"),
    }


@pytest.mark.parametrize("name", sorted(refused(None)))
def test_refused_with_a_reason(tmp_path, name):
    content, reason = refused(tmp_path)[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnusableImage, match=reason):
        centre_square(tmp_path / name, SIDE)


def test_size_is_refused_by_the_head_before_decoding(tmp_path, monkeypatch):
    (tmp_path / "bomb.png").write_bytes(png(7_000, 6_000, zlib.compress(bytes(1000))))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    for look in (read_header, lambda path: centre_square(path, SIDE)):
        with pytest.raises(UnusableImage, match="megapixels"):
            look(tmp_path / "bomb.png")


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "missing")
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    for name in ("nowhere.png", "self.png"):
        with pytest.raises(UnusableImage, match="a link to nothing"):
            read_header(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnusableImage, match="no ordinary file"):  # opening it would wait for ever
        read_header(tmp_path / "pipe.png")


def test_forbidden_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "mine.png"
    path.write_bytes(encoded(noisy(), "PNG"))
    if os.geteuid() == 0:  # root may read anything: let Pillow meet the refusal

        def deny(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Image, "open", deny)
    else:
        path.chmod(0)
    with pytest.raises(UnusableImage, match="no permission"):
        centre_square(path, SIDE)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_every_kind_is_read(tmp_path, kind):
    path = tmp_path / "a.bin"
    path.write_bytes(encoded(flat((200, 40, 90)), kind))
    got = centre_square(path, SIDE)
    assert got.shape == (3, SIDE, SIDE)
    assert got.dtype == np.uint8
    assert np.abs(got.mean(axis=(1, 2)) - [200, 40, 90]).max() < 4


def saved(tmp_path, image, name="a.png", **how):
    image.save(tmp_path / name, **how)
    return centre_square(tmp_path / name, SIDE), read_header(tmp_path / name).traits


def test_transparency_is_laid_on_white(tmp_path):
    got, traits = saved(tmp_path, flat((255, 0, 0, 0), "RGBA"))
    assert (got == 255).all()
    assert traits == ("transparency laid on white",)
    got, _ = saved(tmp_path, flat((0, 0, 0, 128), "RGBA"))
    assert np.abs(got.astype(int) - 127).max() <= 1
    got, traits = saved(tmp_path, flat((0, 0), "LA"))
    assert (got == 255).all()
    assert traits


def test_transparent_palette_is_laid_on_white(tmp_path):
    image = Image.new("P", (24, 24), 3)
    image.putpalette([10] * 768)
    got, traits = saved(tmp_path, image, transparency=3)
    assert (got == 255).all()
    assert traits == ("transparency laid on white",)


def test_palette_gives_its_colours(tmp_path):
    image = Image.new("P", (24, 24), 3)
    image.putpalette([0, 0, 0] * 3 + [12, 200, 99] + [0, 0, 0] * 252)
    got, traits = saved(tmp_path, image)
    assert got[:, 5, 5].tolist() == [12, 200, 99]
    assert traits == ()


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    wide = Image.fromarray(np.full((24, 24), 0x8000, np.uint16))
    got, traits = saved(tmp_path, wide)
    assert np.abs(got.astype(int) - 128).max() <= 1
    assert traits == ("16 bits reduced to 8",)
    ramp = np.linspace(0, 65535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    got, _ = saved(tmp_path, Image.fromarray(ramp))
    assert (got.min(), got.max()) == (0, 255)
    assert np.abs(got[0].astype(float) - ramp / 257).max() <= 0.5


def test_cmyk_becomes_rgb(tmp_path):
    got, traits = saved(tmp_path, flat((0, 255, 255, 0), "CMYK"), "a.jpg")
    assert np.abs(got.mean(axis=(1, 2)) - [255, 0, 0]).max() < 12
    assert traits == ("CMYK converted to RGB",)


def test_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [flat(c) for c in ("red", "green", "blue")]
    for name in ("a.gif", "a.webp"):
        got, traits = saved(
            tmp_path, frames[0], name, save_all=True, append_images=frames[1:], duration=50
        )
        assert np.abs(got.mean(axis=(1, 2)) - [255, 0, 0]).max() < 8
        assert "animated, first frame taken" in traits


def test_one_bit_and_grey_are_read(tmp_path):
    got, _ = saved(tmp_path, flat(1, "1"))
    assert (got == 255).all()
    got, _ = saved(tmp_path, flat(77, "L"))
    assert (got == 77).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_puts_it_upright(tmp_path, orientation):
    """The image, laid down as the tag says, must come out as it was."""
    array = np.zeros((32, 32, 3), np.uint8)
    array[:16, :16] = [255, 0, 0]
    array[:16, 16:] = [0, 255, 0]
    upright = Image.fromarray(array)
    lay = {
        1: None, 2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM",
        5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270",
    }[orientation]  # fmt: skip
    laid = upright.transpose(Image.Transpose[lay]) if lay else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    got, traits = saved(tmp_path, laid, "a.png", exif=exif)
    want = np.asarray(upright.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.abs(got.astype(int) - want).max() <= 1
    assert bool(traits) == (orientation != 1)


def test_size_is_that_of_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    flat("red", size=(30, 20)).save(tmp_path / "a.jpg", exif=exif)
    about = read_header(tmp_path / "a.jpg")
    assert (about.width, about.height) == (20, 30)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_no_reason_to_refuse(tmp_path):
    flat((9, 99, 9)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\xff\xffrubbish")
    assert np.abs(centre_square(tmp_path / "a.jpg", SIDE).mean(axis=(1, 2)) - [9, 99, 9]).max() < 4


@pytest.mark.parametrize(("name", "how"), [("a.png", {}), ("a.jpg", {"quality": 95})])
def test_reduction_does_not_alias(tmp_path, name, how):
    """A fine board averages to grey; sampling without a filter would keep its extremes."""
    board = np.indices((512, 512)).sum(axis=0) % 2 * 255
    image = Image.fromarray(board.astype(np.uint8)).convert("RGB")
    got, _ = saved(tmp_path, image, name, **how)
    assert np.abs(got.astype(int) - 127).max() < 12


def test_centre_is_cut_out(tmp_path):
    array = np.zeros((20, 60, 3), np.uint8)
    array[:, 20:40] = 200
    got, _ = saved(tmp_path, Image.fromarray(array))
    assert (got[:, 3:-3, 3:-3] > 190).all()
    assert got.mean() > 180


def test_own_size_is_left_untouched(tmp_path):
    image = noisy((SIDE, SIDE))
    got, _ = saved(tmp_path, image)
    assert np.array_equal(got, np.asarray(image).transpose(2, 0, 1))


def ramp(top, dtype):
    """A row of levels from 0 to top, in each of 16 rows."""
    return np.linspace(0, top, SIDE).round().astype(dtype)[None].repeat(SIDE, 0)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_grey_of_fewer_bits_in_sixteen_is_scaled_by_them(tmp_path, bits):
    Image.fromarray(ramp(2**bits - 1, np.uint16)).save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png").is_deep
    assert brightest(tmp_path / "a.png") == 2**bits - 1
    got = centre_square(tmp_path / "a.png", SIDE, 2**bits - 1)
    assert np.abs(got.astype(float) - ramp(255, np.float64)).max() <= 1


def test_transparent_grey_of_sixteen_bits_is_laid_on_white(tmp_path):
    values = ramp(65535, np.uint16)
    got, traits = saved(tmp_path, Image.fromarray(values), transparency=0)
    assert set(traits) == {"transparency laid on white", "16 bits reduced to 8"}
    assert (got[:, :, 0] == 255).all()
    assert np.abs(got[0, :, 1:].astype(float) - values[:, 1:] / 257).max() <= 1


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_of_every_animation_the_first_frame_is_taken(tmp_path, name):
    frames = [flat(c) for c in ("red", "green", "blue")]
    how = {"lossless": True} if name.endswith("webp") else {}
    got, traits = saved(
        tmp_path, frames[0], name, save_all=True, append_images=frames[1:], duration=50, **how
    )
    assert (got == np.array([255, 0, 0])[:, None, None]).all()
    assert "animated, first frame taken" in traits


def test_of_an_animated_png_with_a_still_picture_this_is_taken(tmp_path):
    later = [flat("green"), flat("blue")]
    how = {"save_all": True, "append_images": later, "default_image": True}
    got, traits = saved(tmp_path, flat("red"), **how)
    assert (got == np.array([255, 0, 0])[:, None, None]).all()
    assert traits == ("animated, first frame taken",)


@pytest.mark.parametrize(
    ("mode", "transparency"),
    [("LA", None), ("RGBA", None), ("L", 0), ("P", 0), ("RGB", (0, 0, 0))],
)
def test_transparency_in_every_form_is_laid_on_white(tmp_path, mode, transparency):
    """The left half is transparent, the right half is of one grey."""
    pixels = np.zeros((24, 24), np.uint8)
    pixels[:, 12:] = 90
    grey = Image.fromarray(pixels)
    how = {}
    if transparency is None:
        image = grey.convert(mode)
        image.putalpha(Image.fromarray(np.where(pixels == 0, 0, 255).astype(np.uint8)))
    else:
        image = grey.convert("RGB").quantize(2) if mode == "P" else grey.convert(mode)
        index = image.getpixel((0, 0)) if mode == "P" else transparency
        how = {"transparency": index}
    got, traits = saved(tmp_path, image, **how)
    assert traits == ("transparency laid on white",)
    assert (got[:, :, :7] > 250).all()
    assert np.abs(got[:, :, 9:].astype(int) - 90).max() <= 8


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.gif"])
def test_one_bit_is_black_and_white(tmp_path, name):
    pixels = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 3 == 0
    got, traits = saved(tmp_path, Image.fromarray(pixels), name)
    assert (got == pixels * 255).all()
    assert traits == ()


@pytest.mark.parametrize("size", [(2000, 20), (20, 2000), (900, 2), (2, 900)])
def test_of_a_panorama_the_middle_square_is_taken(tmp_path, size):
    side, (width, height) = min(size), size
    pixels = np.zeros((height, width, 3), np.uint8)
    rows, columns = ((length - side) // 2 for length in (height, width))
    margin = 2  # the filter looks a little beyond the square
    pixels[max(rows - margin, 0) : rows + side + margin][
        :, max(columns - margin, 0) : columns + side + margin
    ] = 200
    got, _ = saved(tmp_path, Image.fromarray(pixels))
    assert (got == 200).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_exif_puts_every_kind_upright(tmp_path, name):
    pixels = np.zeros((24, 24, 3), np.uint8)
    pixels[:12] = 255  # a bright top, which lies on its side in the file
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(pixels).rotate(90)
    got, traits = saved(tmp_path, image, name, exif=exif)
    assert traits == ("turned upright by EXIF",)
    assert got[:, :6].mean() > 240
    assert got[:, 10:].mean() < 15
