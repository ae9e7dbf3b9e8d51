"""Views: declared beside their code, found by walking a package, drawn of what fits them."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.core.model import Coded, Improving, Termwise
from trilemma.data import sources
from trilemma.report import registry, views
from trilemma.report.model_view import Subject
from trilemma.report.page import Picture
from trilemma.report.view import SECTIONS, View

MODULE = '''"""Toy pictures."""

from trilemma.core.errors import BadInput
from trilemma.core.model import Coded
from trilemma.report.page import Picture
from trilemma.report.view import View


def toy(subject):
    """Draw a word."""
    return [Picture("a toy", b"", str(subject.model.encode(subject.data.test.x[:1]).shape[1]))]


def refusing(subject):
    """Refuse."""
    raise BadInput("not today")


VIEWS = (
    View(name="refused", section="likeness", needs=(), draw=refusing),
    View(name="toy", section="likeness", needs=(Coded,), kinds=("points",), draw=toy),
)
'''


class Coder:
    """Codes points as they are."""

    def encode(self, x, *, noise=None):
        return x

    def decode(self, z):
        return z


@pytest.fixture
def points():
    return sources.load("two-moons")


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Add a file to the package, as somebody who has one more picture does."""
    (tmp_path / "toy.py").write_text(MODULE)
    monkeypatch.setattr(views, "__path__", [*views.__path__, str(tmp_path)])
    registry.views.cache_clear()
    yield
    registry.views.cache_clear()
    sys.modules.pop("trilemma.report.views.toy", None)


def described():
    def draw(subject):
        """Draw nothing."""
        return []

    return draw


def titles(model, data):
    return [picture.title for picture in registry.pictures_of(Subject(model, data))]


@pytest.mark.usefixtures("toy")
def test_one_more_file_is_one_more_picture(points):
    assert "toy" in [view.name for view in registry.views()]
    pictures = registry.pictures_of(Subject(Coder(), points))
    assert [(p.title, p.caption) for p in pictures if p.title == "a toy"] == [("a toy", "2")]
    assert pictures[0].title == "a toy"  # its section is the first


@pytest.mark.usefixtures("toy")
def test_it_is_not_drawn_of_models_and_data_that_it_does_not_fit(points):
    assert "a toy" not in titles(SimpleNamespace(), points)
    assert "a toy" not in titles(None, points)
    digits = sources.load("digits")
    decoder = Coder()
    decoder.encode = lambda x, noise=None: torch.zeros(len(x), 2)
    decoder.decode = lambda z: torch.zeros(len(z), 1, 8, 8)
    assert "a toy" not in titles(decoder, digits)


def test_what_a_model_may_not_have_leaves_a_picture_out(points):
    view = View(
        name="one",
        section="codes",
        needs=(Coded,),
        unless=(Improving, Termwise),
        draw=described(),
    )
    assert view.fits(Subject(Coder(), points))
    model = Coder()
    model.bound_terms = lambda x, noise=None: x
    assert not view.fits(Subject(model, points))


def undescribed(subject):
    return []


@pytest.mark.parametrize(
    ("declared", "complaint"),
    [
        ({"needs": None}, r"^the view 'mine' does not state what it needs of a model; .*\.$"),
        (
            {"draw": undescribed},
            r"^the view 'mine' does not say what it draws; give undescribed a do",
        ),
        ({"section": "attic"}, r"^the view 'mine' stands in a section 'attic'; there are likene"),
        ({"kinds": ("song",)}, r"^the view 'mine' is about data of the kind 'song'; there are i"),
    ],
)
def test_a_view_that_is_not_declared_whole_fails_by_name(declared, complaint):
    full = {"name": "mine", "section": "codes", "needs": (), "draw": described()}
    View(**full)
    with pytest.raises(ValueError, match=complaint):
        View(**{**full, **declared})


def test_two_views_of_one_name_are_refused():
    one = View(name="mine", section="codes", needs=(), draw=described())
    with pytest.raises(ValueError, match="two views are called 'mine'"):
        registry.ordered([one, one])


def test_pictures_stand_by_section_and_within_it_as_declared():
    def view(name, section):
        return View(name=name, section=section, needs=(), draw=described())

    entries = [view("z", "codes"), view("a", "training"), view("b", "codes"), view("c", "density")]
    assert [v.name for v in registry.ordered(entries)] == ["c", "z", "b", "a"]


def test_every_section_has_a_view_and_none_draws_of_a_model_that_is_not_there(points):
    assert {view.section for view in registry.views()} == set(SECTIONS)
    assert titles(None, points) == []


def test_a_refusal_costs_its_own_picture(points, monkeypatch):
    def refusing(subject):
        """Refuse."""
        raise BadInput("not today")

    def drawing(subject):
        """Draw a word."""
        return [Picture("kept", b"")]

    entries = [
        View(name=name, section="codes", needs=(), draw=draw)
        for name, draw in (("no", refusing), ("yes", drawing))
    ]
    monkeypatch.setattr(registry, "views", lambda: registry.ordered(entries))
    assert titles(None, points) == ["kept"]
