"""A recipe's fields as options: their types, defaults, choices and one-line meanings.

The meaning of a field is the string under it in the recipe's page.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from trilemma.core.errors import BadInput, nearest
from trilemma.recipes.recipe import Choice, Recipe
from trilemma.registry import BadEntry, Registry

__all__ = ["Field", "build", "changed", "fields", "parse", "registries_of"]


POSITIVE = frozenset(
    (
        "batch",
        "accumulate",
        "latent",
        "components",
        "critic_steps",
        "every",
        "sample_steps",
    )
)
"""Counts that cannot be 0, unless 0 is the default, which lets the recipe choose."""


@dataclass(frozen=True)
class Field:
    """One field of a recipe."""

    name: str
    type: type
    default: Any
    choices: tuple[str, ...]
    meaning: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dataclasses.asdict(self) | {"type": self.type.__name__}


@cache
def _meanings(recipe: type) -> Mapping[str, str]:
    """Read what stands below each field, once: threads of Python 3.11 may not parse at once."""
    meanings: dict[str, str] = {}
    for kind in reversed([c for c in recipe.__mro__ if dataclasses.is_dataclass(c)]):
        (class_def,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(class_def, ast.ClassDef)
        for statement, after in zip(class_def.body, class_def.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                meanings[ast.unparse(statement.target)] = " ".join(str(after.value.value).split())
    return meanings


def fields(recipe: type[Recipe]) -> list[Field]:
    """Return the recipe's own fields first, then those that all recipes have."""
    hints, meanings = get_type_hints(recipe, include_extras=True), _meanings(recipe)
    shared = {f.name for f in dataclasses.fields(Recipe)}
    ordered = sorted(dataclasses.fields(recipe), key=lambda f: f.name in shared)
    recipe_fields = []
    for field in ordered:
        hint, *marks = (
            get_args(hints[field.name])
            if get_origin(hints[field.name]) is Annotated
            else (hints[field.name],)
        )
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        choices = next((mark.names for mark in marks if isinstance(mark, Choice)), choices)
        kind = type(choices[0]) if choices else hint
        if field.name not in meanings:
            raise BadEntry(
                f"recipe '{recipe.name}' of {inspect.getfile(recipe)} has the field "
                f"'{field.name}' without a docstring under it; say what it is."
            )
        recipe_fields.append(Field(field.name, kind, field.default, choices, meanings[field.name]))
    return recipe_fields


def registries_of(recipe: type[Recipe]) -> dict[str, Registry[Any]]:
    """Return the registry from which each field of names chooses, by the field."""
    hints = get_type_hints(recipe, include_extras=True)
    return {
        field.name: mark.registry
        for field in dataclasses.fields(recipe)
        for mark in getattr(hints[field.name], "__metadata__", ())
        if isinstance(mark, Choice) and isinstance(mark.registry, Registry)
    }


def _convert(field: Field, text: str) -> Any:  # noqa: ANN401
    if field.type is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise BadInput(f"--{field.name} takes true or false, not '{text}'.")
    try:
        value = field.type(text)
    except ValueError:
        what = {int: "a whole number", float: "a number"}[field.type]
        raise BadInput(f"--{field.name} takes {what}, not '{text}'.") from None
    return value


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message}; 'trilemma show {self.prog}' lists the fields.")


def parse(recipe: type[Recipe], arguments: Sequence[str]) -> Recipe:
    """Build a recipe from `--FIELD VALUE` words.

    Raises:
        BadInput: A field is unknown (the nearest is named) or a value is of the wrong kind.
    """
    return build(recipe, changed(recipe, arguments))


def changed(recipe: type[Recipe], arguments: Sequence[str]) -> dict[str, Any]:
    """Read `--FIELD VALUE` words as values by field.

    Raises:
        BadInput: A field is unknown (the nearest is named) or a value is of the wrong kind.
    """
    fields_by_name = {field.name: field for field in fields(recipe)}
    parser = _Parser(prog=recipe.name, add_help=False, allow_abbrev=False)
    for name in fields_by_name:
        parser.add_argument(f"--{name}", f"--{name.replace('_', '-')}", dest=name)
    namespace, extra_args = parser.parse_known_args(list(arguments))
    if extra_args:
        word = extra_args[0].split("=")[0]
        if word.startswith("--"):
            raise nearest(f"field of recipe '{recipe.name}'", word[2:], fields_by_name)
        raise BadInput(f"'{word}' is not an option; fields are given as --FIELD VALUE.")
    values = {name: text for name, text in vars(namespace).items() if text is not None}
    return {name: _convert(fields_by_name[name], text) for name, text in values.items()}


def build(recipe: type[Recipe], values: Mapping[str, Any]) -> Recipe:
    """Build a recipe from plain values, refusing unknown names and impossible numbers."""
    fields_by_name = {field.name: field for field in fields(recipe)}
    for name, value in values.items():
        if name not in fields_by_name:
            raise nearest(f"field of recipe '{recipe.name}'", name, fields_by_name)
        if fields_by_name[name].choices and value not in fields_by_name[name].choices:
            raise nearest(name, str(value), fields_by_name[name].choices)
        if isinstance(value, int | float) and not isinstance(value, bool):
            smallest = 1 if name in POSITIVE and fields_by_name[name].default != 0 else 0
            if not smallest <= value < float("inf"):
                raise BadInput(f"--{name} takes a number from {smallest}, not {value}.")
    instance = recipe(**values)
    if instance.batch % instance.accumulate:
        raise BadInput(
            f"--accumulate {instance.accumulate} must divide the batch of {instance.batch} evenly."
        )
    if not 0 <= instance.ema < 1:
        raise BadInput(f"--ema is a decay from 0 to below 1, not {instance.ema}.")
    if instance.lr <= 0:
        raise BadInput(f"--lr takes a number above 0, not {instance.lr}.")
    return instance
