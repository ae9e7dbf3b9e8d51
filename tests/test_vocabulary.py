"""The field's words: no name in the sources is a bare participle or a word that says nothing.

A reader who comes from the papers looks for their terms. What a variable, argument, attribute,
function or class holds is its name; `found`, `told` or `place` say that there is something.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import trilemma

ROOT = Path(trilemma.__file__).parent
HOUSE = Path(__file__).parents[1]
"""Its `tests` and `benchmarks` are held to the same words."""
WORDS = """
told found given made left place places silent nought thing things known said drawn kept seen shown
asked taken wanted begun held beside others gone whole placed acted gathered torn here there again
few much
"""
VAGUE = frozenset(WORDS.split())
"""Words that may not be a name, with or without underscores around them."""
ALLOWED = {
    "left": "the left side of a frame, a box or an interval",
    "asked": "a field of the recipe gcpn, and so an option of the command line",
    "wanted": "a key of the evaluation's JSON",
}
"""Names that stand all the same, and where."""
WHERE = {
    "left": (
        "data/photos.py",
        "networks/pixelcnn.py",
        "pictures/canvas.py",
        "pictures/games.py",
        "pictures/graphs.py",
        "pictures/image_strips.py",
        "pictures/plane.py",
        "benchmarks/torchvision_stand_in.py",
        "tests/data/test_photos.py",
        "tests/recipes/test_preview.py",
        "tests/report/test_views.py",
        "tests/report/test_figures.py",
        "tests/report/test_graph_pictures.py",
    ),
    "asked": ("recipes/gcpn.py",),
    "wanted": ("metrics/evaluation.py",),
}
"""The files in which each of them may."""


def assigned(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every name that is bound, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name, node.lineno
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno


def vague(path: Path) -> list[str]:
    """Return what a file binds that it may not, as NAME in line N."""
    where = path.relative_to(ROOT if path.is_relative_to(ROOT) else HOUSE).as_posix()
    return [
        f"{name} in line {line}"
        for name, line in assigned(ast.parse(path.read_text()))
        if (word := name.strip("_").lower()) in VAGUE and where not in WHERE.get(word, ())
    ]


@pytest.mark.parametrize("room", sorted({p.name for p in ROOT.iterdir() if p.is_dir()} | {""}))
def test_names_say_what_they_are(room):
    folder = ROOT / room
    paths = folder.rglob("*.py") if room else folder.glob("*.py")
    assert not {path.name: names for path in paths if (names := vague(path))}


@pytest.mark.parametrize("path", ["benchmarks", "tests"])
def test_names_beside_the_sources_say_what_they_are(path):
    paths = (HOUSE / path).rglob("*.py")
    assert not {page.name: names for page in paths if (names := vague(page))}


def test_a_vague_name_is_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    page = tmp_path / "page.py"
    page.write_text(
        "class Told:\n    made: int\n\ndef rows(given):\n    self.kept = _found = given\n"
        "    scores = 1\n"
    )
    assert sorted(vague(page)) == [
        "Told in line 1",
        "_found in line 5",
        "given in line 4",
        "kept in line 5",
        "made in line 2",
    ]


def test_every_exception_is_needed():
    """An exception that no file needs any more is taken off the list."""
    assert set(WHERE) == set(ALLOWED)
    for word, files in WHERE.items():
        for where in files:
            base = HOUSE if where.startswith(("benchmarks/", "tests/")) else ROOT
            names = {name for name, _ in assigned(ast.parse((base / where).read_text()))}
            assert word in names, f"{where} has no '{word}'"


def test_the_glossary_leads_to_files_that_are_there():
    page = (ROOT.parents[1] / "docs" / "glossary.md").read_text()
    paths = re.findall(r"`([\w/]+\.py)`", page)
    assert len(paths) > 60
    assert not [path for path in paths if not (ROOT / path).is_file()]
