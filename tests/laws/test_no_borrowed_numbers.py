"""Laws read no number from what they test: a limit that moved would move on both sides."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import types

import pytest

import trilemma.laws

NAMES = [info.name for info in pkgutil.iter_modules(trilemma.laws.__path__)]


def is_tested(value) -> bool:
    """Tell whether a module or a class is of the library, and no law."""
    name = getattr(value, "__module__", None) or getattr(value, "__name__", "")
    if isinstance(value, types.ModuleType):
        name = value.__name__
    return name.startswith("trilemma.") and not name.startswith("trilemma.laws")


def is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def resolved(node, constants):
    """Return what a dotted name stands for, and what it was read from; None where unknown."""
    if isinstance(node, ast.Name):
        return constants.get(node.id), None
    if isinstance(node, ast.Attribute):
        owner, _ = resolved(node.value, constants)
        if isinstance(owner, types.ModuleType | type):
            return getattr(owner, node.attr, None), owner
    return None, None


def borrowed(text, constants):
    """Name the numbers that a law's page imports, or reads from modules and classes."""
    borrowed_names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.startswith("trilemma.") and not module.startswith("trilemma.laws"):
                names = [alias.asname or alias.name for alias in node.names]
                borrowed_names |= {name for name in names if is_number(constants.get(name))}
        elif isinstance(node, ast.Attribute):
            value, owner = resolved(node, constants)
            if is_number(value) and is_tested(owner):
                borrowed_names.add(ast.unparse(node))
    return borrowed_names


@pytest.mark.parametrize("name", NAMES)
def test_a_law_reads_no_number_from_what_it_tests(name):
    module = importlib.import_module(f"trilemma.laws.{name}")
    assert not borrowed(inspect.getsource(module), vars(module))


@pytest.mark.parametrize(
    "text",
    [
        "from trilemma.families.diffusion.probability_flow import TOLERANCE",
        "from trilemma.families.diffusion.probability_flow import TOLERANCE as limit",
        "from trilemma.families.diffusion import probability_flow as flow\nlimit = flow.TOLERANCE",
        "from trilemma.maths.diffusion import predictions as p\nlimit = p.NoisePrediction.faint",
    ],
)
def test_a_borrowed_number_is_seen(text):
    constants = {}
    exec(text, constants)
    assert len(borrowed(text, constants)) == 1


def test_own_numbers_and_tables_of_choices_are_not_meant():
    text = (
        "import math\nfrom trilemma.maths.diffusion.samplers import SAMPLERS\n"
        "LIMIT = 5\nx = math.pi * LIMIT"
    )
    constants = {}
    exec(text, constants)
    assert not borrowed(text, constants)
