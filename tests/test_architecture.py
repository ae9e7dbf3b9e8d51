"""The house as a table: which room may know which, and what may be done where."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from scripts.draw_house import imports

SOURCE = Path(__file__).parents[1] / "src" / "trilemma"

MAY_IMPORT = {
    "core": {"core"},
    "maths": {"maths"},
    "networks": {"networks", "core", "maths"},
    "families": {"families", "core", "maths"},
    "data": {"data", "core", "maths"},
    "training": {"training", "core"},
    "pictures": {"pictures", "core", "data"},
    "metrics": {"metrics", "core", "data", "maths"},
    "laws": {"laws", "core", "maths", "families", "networks", "metrics"},
    "recipes": {
        "recipes",
        "core",
        "maths",
        "networks",
        "families",
        "data",
        "training",
        "pictures",
        "metrics",
    },
    "comparison": {"comparison", "core", "data", "metrics", "training", "recipes"},
    "report": {
        "report",
        "core",
        "maths",
        "data",
        "training",
        "pictures",
        "metrics",
        "recipes",
        "comparison",
    },
    "api": {
        "api",
        "core",
        "maths",
        "data",
        "training",
        "pictures",
        "metrics",
        "laws",
        "recipes",
        "comparison",
        "report",
    },
    "cli": {
        "cli",
        "api",
        "core",
        "data",
        "training",
        "metrics",
        "laws",
        "recipes",
        "comparison",
        "report",
    },
    "registry": set(),
    "plugins": set(),
    "__main__": {"cli"},
    "__init__": {"api"},
}
"""Room -> the rooms of this package that it may import, besides what all may."""

BY_ALL = {"registry", "plugins", "__version__"}
"""What stands below all rooms."""

OUTSIDE = {
    "core": {"torch", "jaxtyping"},
    "maths": {"torch", "jaxtyping", "scipy"},
    "networks": {"torch", "jaxtyping"},
    "families": {"torch", "jaxtyping"},
    "training": {"torch", "jaxtyping", "numpy", "safetensors"},
    "registry": set(),
    "plugins": set(),
}
"""Room -> the only packages beyond the standard library that it may import."""

FORBIDDEN_ANYWHERE = {"torchvision", "lightning", "timm", "tyro"}
ONLY_IN = {
    "matplotlib": {"pictures", "report"},
    "pandas": {"data/table_cells.py"},
    "rich": {"api", "cli", "report"},
    "rdkit": {
        "data/chemistry.py",
        "data/guacamol.py",
        "data/molecule_scores.py",
        "data/oracles.py",
        "pictures/molecules.py",
    },
}
STANDARD = set(__import__("sys").stdlib_module_names) | {"__future__"}


def modules():
    """Yield each file of the package with its room."""
    for path in sorted(SOURCE.rglob("*.py")):
        relative = path.relative_to(SOURCE)
        yield path, relative.parts[0].removesuffix(".py")


@cache
def tree(path: Path) -> ast.Module:
    """Parse a file, once for all who ask."""
    return ast.parse(path.read_text())


def offences(room: str, relative: str, module: ast.Module) -> list[str]:
    """List what a file imports against the table."""
    violations = []
    for name in imports(module):
        top, *rest = name.split(".")
        if top == "trilemma":
            if rest and rest[0] not in MAY_IMPORT[room] | BY_ALL:
                violations.append(f"{relative}: room '{room}' may not import trilemma.{rest[0]}")
            continue
        if top in STANDARD:
            continue
        if top in FORBIDDEN_ANYWHERE:
            violations.append(f"{relative}: nobody imports {top}")
        if room in OUTSIDE and top not in OUTSIDE[room]:
            violations.append(f"{relative}: room '{room}' may not import {top}")
        if top in ONLY_IN and not {room, relative} & ONLY_IN[top]:
            violations.append(f"{relative}: {top} belongs to {sorted(ONLY_IN[top])}")
    return violations


@pytest.mark.parametrize(
    "path", [pytest.param(p, id=str(p.relative_to(SOURCE))) for p, _ in modules()]
)
def test_imports_follow_the_table(path):
    relative = path.relative_to(SOURCE).as_posix()
    room = relative.split("/")[0].removesuffix(".py")
    assert offences(room, relative, tree(path)) == []


@pytest.mark.parametrize(
    ("room", "text"),
    [
        ("core", "import numpy"),
        ("core", "from trilemma.maths import schedules"),
        ("maths", "from trilemma.core.noise import Noise"),
        ("families", "from trilemma.networks.unet import UNet"),
        ("networks", "def f():\n    from trilemma.families.vae import Vae"),
        ("training", "from trilemma.families.gan import Gan"),
        ("metrics", "from trilemma.families.gan import Gan"),
        ("data", "from trilemma.recipes.catalog import CATALOG"),
        ("families", "import matplotlib.pyplot"),
        ("metrics", "from rdkit import Chem"),
        ("recipes", "from trilemma.cli import main"),
        ("report", "from trilemma import cli"),
        ("registry", "from trilemma.core.errors import BadInput"),
        ("registry", "import torch"),
        ("plugins", "from trilemma.core.errors import BadInput"),
        ("plugins", "import torch"),
        ("comparison", "from trilemma.report.html import comparison_page"),
        ("data", "import torchvision"),
    ],
)
def test_the_table_notices(room, text):
    assert offences(room, f"{room}/example.py", ast.parse(text))


def test_every_room_is_in_the_table():
    assert {room for _, room in modules()} <= set(MAY_IMPORT)


@cache
def bound(path: Path) -> frozenset[str]:
    """Return the names that a file binds, wherever in it."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return frozenset(names)


def leads_nowhere(module: ast.Module) -> list[str]:
    """List the imports from this package that are not there."""
    violations = []
    for node in ast.walk(module):
        if not isinstance(node, ast.ImportFrom) or (node.module or "")[:9] != "trilemma.":
            continue
        path = SOURCE.joinpath(*node.module.split(".")[1:])
        page = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        names = bound(page) if page.is_file() else frozenset()
        inner = {file.stem for file in path.iterdir()} if path.is_dir() else set()
        names |= inner | {"*"} if path.exists() or page.is_file() else inner
        violations += [f"{node.module}.{a.name}" for a in node.names if a.name not in names]
    return violations


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks", "scripts", "examples"])
def test_what_is_imported_is_there(folder):
    root = SOURCE.parents[1] / folder
    violations = {str(p.relative_to(root)): leads_nowhere(tree(p)) for p in root.rglob("*.py")}
    assert not {where: names for where, names in violations.items() if names}


def test_an_import_that_leads_nowhere_is_seen():
    text = "from trilemma.core.noise import Noise, Silence\nfrom trilemma.nowhere import mix"
    assert leads_nowhere(ast.parse(text)) == [
        "trilemma.core.noise.Silence",
        "trilemma.nowhere.mix",
    ]


def calls(path: Path):
    """Yield the plain and dotted names of what a file calls."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


SPEAKING = {"api/display.py", "cli/terminal.py", "cli/command_line.py"}
"""The only files that print: results and progress, and the line of an error."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, id=str(p.relative_to(SOURCE)))
        for p, _ in modules()
        if p.relative_to(SOURCE).as_posix() not in SPEAKING
    ],
)
def test_only_the_terminal_prints(path):
    assert not {"print", "sys.stdout.write", "sys.stderr.write"} & set(calls(path))


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, id=str(p.relative_to(SOURCE)))
        for p, r in modules()
        if r in ("core", "maths", "networks", "families")
    ],
)
def test_mathematics_touches_neither_files_nor_devices_nor_settings(path):
    for name in calls(path):
        assert name not in ("open", "torch.save", "torch.load", "torch.set_num_threads")
        assert not name.endswith((".cuda", ".write_text", ".write_bytes", ".read_text"))
        assert name not in ("torch.manual_seed", "torch.set_default_dtype")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(p, id=str(p.relative_to(SOURCE)))
        for p, r in modules()
        if r in ("training", "metrics")
    ],
)
def test_training_and_metrics_never_ask_what_a_model_is(path):
    families = {"Vae", "Gan", "Autoencoder", "Diffusion", "Flow", "Energy"}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
            names = {n.id for n in ast.walk(node.args[1]) if isinstance(n, ast.Name)}
            assert not names & families


def test_no_source_names_a_home_directory():
    for path, _ in modules():
        text = path.read_text()
        assert "/home/" not in text
        assert "/root/" not in text


NAMELESS = ("report", "metrics", "training", "pictures")
"""Rooms that know no recipe and no family by name."""
NAMES_ALLOWED = {"pictures/palette.py"}
"""Where families have their colours."""
WORDS_TOO = {"energy"}
"""Names of families that are words besides: a molecule's energy, a likelihood by an energy."""


def names() -> set[str]:
    """Return the names of recipes and families, those that are also words left out."""
    from trilemma.recipes.catalog import CATALOG

    return {*CATALOG, *(recipe.family for recipe in CATALOG.values())} - WORDS_TOO


def named(text: str) -> list[str]:
    """List what recipes and families a file names, in a literal of its code."""
    is_known = names()
    return [
        f"'{node.value}' in line {node.lineno}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and node.value in is_known
    ]


def test_what_draws_measures_and_trains_names_no_recipe_and_no_family():
    violations = {
        path.relative_to(SOURCE).as_posix(): is_node
        for path, room in modules()
        if room in NAMELESS and (is_node := named(path.read_text()))
    }
    assert set(violations) == NAMES_ALLOWED


def test_a_name_is_noticed():
    assert named('x = 1\nif family == "gan":\n    pass') == ["'gan' in line 2"]
    assert named('kind = {"latent diffusion": draw}')
    assert not named('"""Of a gan."""\nraise ValueError("no energy")')


def test_a_page_loads_each_run_once():
    loading = [
        path.relative_to(SOURCE).as_posix()
        for path in sorted((SOURCE / "report").rglob("*.py"))
        for name in calls(path)
        if name in ("load", "runs.load")
    ]
    assert loading == ["report/gallery.py"]


def test_views_ask_for_abilities_and_know_no_recipe():
    for path in sorted((SOURCE / "report" / "views").glob("*.py")):
        used = {name.split(".")[1] for name in imports(ast.parse(path.read_text())) if "." in name}
        assert not used & {"recipes", "families", "training", "comparison"}, path.name
