"""Pictures of one's own: read, completed, edited, blended, enlarged, written whole."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.errors import BadInput
from trilemma.core.model import Model
from trilemma.core.session import Session
from trilemma.recipes import editing
from trilemma.report import drawing

SQUARE = Domain("image", (1, 8, 8), Levels(17))
COLOUR = Domain("image", (3, 16, 16), Levels(256))


class Editor(Model):
    """Adds noise of a strength, and walks straight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        return torch.zeros(n, 1, 8, 8, dtype=torch.uint8)

    def edit(self, x, strength, *, condition=None, noise=None):
        moved = x + strength * noise.uniform(*x.shape[1:])
        return moved.clamp(0, 16).to(torch.uint8)

    def between(self, a, b, count, *, condition=None):
        shares = torch.linspace(0, 1, count).view(-1, 1, 1, 1, 1)
        return ((1 - shares) * a + shares * b).round().to(torch.uint8)


class Plain(Model):
    """Can nothing but sample."""

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        return torch.zeros(n, 1, 8, 8, dtype=torch.uint8)


def loaded(model, domain=SQUARE):
    return SimpleNamespace(model=model, domain=domain, recipe=SimpleNamespace(name="made"))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "given.png"
    Image.fromarray(
        np.arange(40 * 30 * 3, dtype=np.uint32).astype(np.uint8).reshape(30, 40, 3)
    ).save(path)
    return path


def write(loaded_run, target, source, n=3, seed=0):
    return drawing.write_samples(loaded_run, n, target, session=Session(seed=seed), source=source)


def test_a_picture_is_read_at_the_models_size(file):
    x = editing.picture(file, SQUARE)
    assert x.shape == (1, 8, 8)
    assert x.dtype == torch.uint8
    assert int(x.max()) <= 16
    assert editing.picture(file, COLOUR).shape == (3, 16, 16)


def test_a_picture_wants_square_images_of_levels(file, tmp_path):
    with pytest.raises(BadInput, match="are points"):
        editing.picture(file, Domain("points", (2,), Real()))
    with pytest.raises(BadInput, match="squares"):
        editing.picture(file, Domain("image", (1, 8, 9), Levels(2)))
    with pytest.raises(BadInput, match="there is no file"):
        editing.picture(tmp_path / "none.png", SQUARE)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(BadInput, match="cannot be used"):
        editing.picture(tmp_path / "text.png", SQUARE)


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3), ("LA", 1), ("1", 1), ("P", 3)]
)
def test_a_photo_is_read_whole(tmp_path, mode, channels):
    path = tmp_path / "photo.png"
    Image.new("L", (23, 11), 255).convert(mode).save(path)
    x = editing.photo(path)
    assert x.shape == (channels, 11, 23)
    assert x.dtype == torch.uint8
    assert int(x.min()) >= 199


def test_a_photo_of_sixteen_bits_keeps_its_greys(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((5, 6), 32768, np.uint16)).save(path)
    assert abs(int(editing.photo(path)[0, 0, 0]) - 127) <= 1


def test_edits_are_samples_of_their_own_noise(file, tmp_path):
    loaded_run = loaded(Editor())
    source = editing.editing(loaded_run, file, 1.0)
    target = write(loaded_run, tmp_path / "out.npz", source, n=3)
    longer = write(
        loaded_run, tmp_path / "longer.npz", editing.editing(loaded_run, file, 1.0), n=5
    )
    a, b = np.load(target)["x"], np.load(longer)["x"]
    assert a.shape == (3, 1, 8, 8)
    assert (a == b[:3]).all()
    assert write(loaded_run, tmp_path / "out.png", source).exists()
    with pytest.raises(BadInput, match=r"no way to show as a \.gif"):
        write(loaded_run, tmp_path / "out.gif", source)


@pytest.mark.parametrize("strength", [0.0, -1.0, 1.5])
def test_a_strength_is_a_time(file, strength):
    with pytest.raises(BadInput, match="strength"):
        editing.editing(loaded(Editor()), file, strength)


def test_the_way_between_pictures_is_written(file, tmp_path):
    loaded_run = loaded(Editor())
    other = tmp_path / "white.png"
    Image.new("RGB", (9, 9), "white").save(other)
    x = editing.blended(loaded_run, file, other, 5)
    assert x.shape == (5, 1, 8, 8)
    assert (x[-1] == 16).all()
    assert torch.equal(x[0], editing.picture(file, SQUARE))
    row = drawing.write_between(loaded_run, file, other, 5, tmp_path / "row.png")
    with Image.open(row) as image:
        assert image.width > 4 * image.height
    film = drawing.write_between(loaded_run, file, other, 5, tmp_path / "row.gif")
    with Image.open(film) as image:
        assert image.n_frames == 9
    with pytest.raises(BadInput, match="2 or more"):
        editing.blended(loaded_run, file, other, 1)
    with pytest.raises(BadInput, match=r"asks for \.doc"):
        drawing.write_between(loaded_run, file, other, 5, tmp_path / "row.doc")


def test_what_a_model_cannot_is_refused_by_ability(file, tmp_path, monkeypatch):
    stop_checks = []

    def able(ability, domain):
        stop_checks.append(ability.__name__)
        return "ddpm can"

    monkeypatch.setattr(editing, "able", able)
    loaded_run = loaded(Plain())
    for act in (
        lambda: drawing.refuse_completion(loaded_run),
        lambda: editing.editing(loaded_run, file, 0.5),
        lambda: editing.blended(loaded_run, file, file, 3),
        lambda: drawing.write_enlarged(loaded_run, file, tmp_path / "big.png", Session()),
    ):
        with pytest.raises(BadInput, match=r"recipe 'made' cannot .*; ddpm can\."):
            act()
    assert stop_checks == ["Completing", "Editing", "Editing", "Restoring"]


def test_recipes_are_named_by_what_they_can(monkeypatch):
    class Kind:
        def __init__(self, model):
            self.model = model

        def __call__(self):
            return self

    catalog = {"one": Kind(Editor()), "two": Kind(Plain()), "three": Kind(Editor())}
    monkeypatch.setattr(editing, "CATALOG", catalog)
    monkeypatch.setattr(editing, "untrained", lambda recipe, domain, seed: recipe.model)
    assert editing.able(editing.Editing, SQUARE) == "one and three can"
    assert editing.able(editing.Restoring, SQUARE) == "no recipe can, on such data"


class Enlarger(Editor):
    scale = 2

    def shrink(self, x):
        return x[:, :, ::2, ::2]

    def restore(self, small, *, noise=None):
        return small.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_photo_is_enlarged_whole_or_not_at_all(file, tmp_path, monkeypatch):
    progress = []

    def enlarge(model, photo, *, noise, at_once, check):
        for _ in range(4):
            check()
        return model.restore(photo[None])[0]

    monkeypatch.setattr(editing, "enlarge", enlarge)
    loaded_run = loaded(Enlarger(), COLOUR)
    target = tmp_path / "big.png"
    drawing.write_enlarged(
        loaded_run, file, target, session=Session(progress=lambda *at: progress.append(at))
    )
    with Image.open(target) as image:
        assert image.size == (80, 60)
    assert progress[-1][1] == progress[-1][2]
    target.unlink()

    def stopped():
        raise BadInput("stopped")

    with pytest.raises(BadInput, match="stopped"):
        drawing.write_enlarged(loaded_run, file, target, session=Session(guard=stopped))
    assert not target.exists()
    with pytest.raises(BadInput, match=r"written as \.png"):
        drawing.write_enlarged(loaded_run, file, tmp_path / "big.jpg", Session())
    monkeypatch.setattr(editing, "LARGEST", 100)
    with pytest.raises(BadInput, match="megapixels"):
        drawing.write_enlarged(loaded_run, file, target, Session())


def test_captions_stand_below_samples(tmp_path):
    loaded_run = loaded(Plain())
    loaded_run.model.weight = nn.Parameter(torch.zeros(()))
    target = drawing.write_samples(
        loaded_run, 4, tmp_path / "x.png", session=Session(), captions=["red", "b"]
    )
    with Image.open(target) as image:
        assert image.height > image.width / 2 + 20
