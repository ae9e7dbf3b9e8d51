"""The pages say what is so: the drawing, the rooms' own pages, capabilities, names of files."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache

import pytest

import trilemma.core.model as contract
from scripts.draw_house import (
    PAGE,
    ROOT,
    SOURCE,
    cycle,
    floors,
    house,
    imports,
    page,
    reduced,
    room_graph,
    section,
)

MOST_FLOORS = 8
MODEL = SOURCE / "core" / "model.py"


# The drawing


def test_the_drawing_is_that_of_the_imports():
    text = PAGE.read_text()
    assert page(text, house()) == text, "python scripts/draw_house.py --write"


def test_rooms_stand_on_few_floors():
    graph = room_graph(SOURCE)
    assert cycle(graph) == []
    assert len(floors(graph)) <= MOST_FLOORS


@dataclass(frozen=True)
class Survey:
    """What one file has in it."""

    loads: set[str]
    """Names that it imports when it is loaded, and not within a function."""
    asks: set[str]
    """Names that it asks objects about."""
    defines: set[str]


def surveyed(path):
    tree = ast.parse(path.read_text())
    asks = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            kinds = node.args[1:] if ast.unparse(node.func) == "isinstance" else []
            kinds += [key.value for key in node.keywords if key.arg in ("needs", "unless")]
            asks |= {n.id for kind in kinds for n in ast.walk(kind) if isinstance(n, ast.Name)}
    statements = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    loads = set(imports(ast.Module(statements, [])))
    for node in statements:
        if isinstance(node, ast.ImportFrom):
            loads |= {f"{node.module}.{alias.name}" for alias in node.names}
    kinds = ast.ClassDef | ast.FunctionDef
    return Survey(loads, asks, {n.name for n in tree.body if isinstance(n, kinds)})


@cache
def survey():
    """Return what is in every file of the package, by its path."""
    return {path: surveyed(path) for path in SOURCE.rglob("*.py")}


def file_graph():
    """Return which files import which when they are loaded."""
    names = {
        path: ".".join(("trilemma", *path.relative_to(SOURCE).with_suffix("").parts))
        for path in survey()
        if path.name != "__init__.py"
    }
    modules = set(names.values())
    return {name: survey()[path].loads & modules for path, name in names.items()}


def test_no_files_import_one_another_in_a_circle():
    assert cycle(file_graph()) == []


def test_a_circle_is_seen():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}}
    assert cycle(graph) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="a -> b -> c"):
        floors(graph)


def test_floors_and_arrows():
    graph = {"door": {"hall", "cellar"}, "hall": {"cellar"}, "loft": {"cellar"}, "cellar": set()}
    assert floors(graph) == [["cellar"], ["hall", "loft"], ["door"]]
    assert reduced(graph)["door"] == {"hall"}
    lines = section(floors(graph), {room: room for room in graph}).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [line.split("│")[0].strip() for line in lines[1::2]] == ["2", "1", "0"]


@pytest.mark.parametrize("text", ["no marker", page(PAGE.read_text(), "") * 2])
def test_a_page_without_its_markers_is_refused(text):
    with pytest.raises(ValueError, match="the page holds no single"):
        page(text, "")


# The rooms' own pages

PAGES = sorted(SOURCE.glob("*/**/__init__.py"))


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=str(p.parent.relative_to(SOURCE))) for p in PAGES]
)
def test_a_room_says_where_to_begin(path):
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert len(text.splitlines()) >= 3
    assert re.search(r"Begin\s+with\s+`\w+\.py`|begin\s+with\s+`\w+\.py`", text)
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert (path.parent / name).exists() or (SOURCE / name).exists(), name


def test_every_folder_of_a_room_has_a_page():
    folders = {p.parent for p in SOURCE.glob("*/**/*.py")}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()


# Capabilities

AT_THE_CALL = {"Adjustable"}
"""Capabilities that whoever samples uses, and no room asks about."""


def capabilities():
    """Return the names of the protocols of the contract."""
    kinds = (getattr(contract, name) for name in contract.__all__)
    return {k.__name__ for k in kinds if isinstance(k, type) and getattr(k, "_is_protocol", False)}


def test_every_capability_is_asked_by_somebody():
    requested = set().union(*(file.asks for file in survey().values()))
    assert capabilities() - requested - AT_THE_CALL == set()


def rows(heading):
    """Return the cells of the tables of one part of the page."""
    part = re.split(rf"^#+ {re.escape(heading)}.*$", PAGE.read_text(), flags=re.MULTILINE)[1]
    part = re.split(r"^#+ ", part, flags=re.MULTILINE)[0]
    lines = [line for line in part.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def test_every_capability_is_in_the_table_once():
    listed = [name for row in rows("Capabilities") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(listed) == sorted(capabilities())


def test_those_that_ask_do():
    for names, _, where in rows("Capabilities"):
        paths = [SOURCE / path for path in re.findall(r"`(\S+\.py)`", where)]
        requested = set().union(*(survey()[path].asks for path in paths))
        assert set(re.findall(r"`(\w+)`", names)) - requested - AT_THE_CALL == set()


@pytest.mark.parametrize("heading", ["The contract", "What a model is worth"])
def test_every_piece_of_a_table_exists(heading):
    defined = {path.stem for path in survey()}.union(*(f.defines for f in survey().values()))
    listed = {n for row in rows(heading) for n in re.findall(r"`(\w+)`", row[0])}
    assert listed
    assert listed - defined == set()


# Files that the pages name

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
ROOTS = [
    ROOT,
    SOURCE,
    *(ROOT / n for n in ("tests", "scripts", "benchmarks", "examples", "docs")),
]
EXAMPLES = {
    "mine.py": "a user's own file",
    "metrics/width.py": "a metric that is written as an example",
    "egnn_new.py": "a file of the released GeoLDM",
}


@pytest.mark.parametrize(
    "document", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in DOCUMENTS]
)
def test_files_that_a_page_names_exist(document):
    bare = {path.name for root in ROOTS[1:] for path in root.rglob("*.py")}
    missing = []
    for name in re.findall(r"(?<![\w/.-])[\w./-]*\w\.py\b", document.read_text()):
        stem = name.rpartition("/")[2].removesuffix(".py")
        is_placeholder = stem.isupper() or name in EXAMPLES
        is_there = any((root / name).exists() for root in ROOTS) or name in bare
        if not is_placeholder and not is_there:
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize(
    "document", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in DOCUMENTS]
)
def test_folders_of_the_package_that_a_page_names_exist(document):
    rooms = {p.relative_to(SOURCE).parts[0] for p in SOURCE.glob("*/**/*.py")}
    for name in re.findall(r"`((?:\w+/)+)`", document.read_text()):
        if name.split("/")[0] in rooms:
            assert (SOURCE / name).is_dir(), name
