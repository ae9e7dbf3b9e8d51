"""The cells of a comparison: every recipe in every combination of the fields asked for.

A grid is a field of the recipes with the values that it is to take, and `seed` counts as one. The
cells are the recipes times the product of the grids, in the order in which they were given; what
differs in nothing but its seed has one label.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trilemma.core.errors import BadInput, nearest
from trilemma.data.dataset import DataSet
from trilemma.recipes.catalog import recipe_class
from trilemma.recipes.fields import fields, parse
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.runs import folder_name, untrained

__all__ = ["Cell", "Grid", "Settings", "cells", "check", "read_grid", "read_settings"]

Grid = tuple[tuple[str, tuple[str, ...]], ...]
"""Each field with its values as they were written."""
Settings = tuple[tuple[str, str], ...]
"""Each field with the one value that it has in all cells, as it was written."""


@dataclass(frozen=True)
class Cell:
    """One run of a comparison."""

    recipe: Recipe
    label: str
    """Recipe and fields of the grid, without the seed: 'gan loss=ns'."""
    title: str
    """The label, and the seed where the grid has several."""
    folder: str
    fields: Mapping[str, Any]
    """Fields of the grid, by name."""
    seed: int


def read_grid(words: Sequence[str]) -> Grid:
    """Read `FIELD=A,B,…` words.

    >>> read_grid(["loss=ns,wgan", "critic-steps=1, 2"])
    (('loss', ('ns', 'wgan')), ('critic_steps', ('1', '2')))

    Raises:
        BadInput: A word has another form, or a field or one of its values is named twice.
    """
    grid: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, values = _parted(word, "--grid", "FIELD=A,B,…", "loss=ns,saturating")
        each = tuple(value.strip() for value in values.split(","))
        if not all(each):
            raise BadInput(f"--grid {word} has an empty value; give {name}=A,B,… without gaps.")
        if name in grid:
            raise BadInput(f"--grid {name} is given twice; put all its values into one list.")
        grid[name] = each
        _once(name, _seeds(each) if name == "seed" else each)
    return tuple(grid.items())


def read_settings(words: Sequence[str]) -> Settings:
    """Read `FIELD=VALUE` words.

    >>> read_settings(["width=32", "kl-warmup=5"])
    (('width', '32'), ('kl_warmup', '5'))

    Raises:
        BadInput: A word has another form, a field is named twice, or it is the seed.
    """
    settings: dict[str, str] = {}
    for word in words:
        name, value = _parted(word, "--set", "FIELD=VALUE", "width=32")
        if not value:
            raise BadInput(f"--set {word} has no value; give {name}=VALUE.")
        if name == "seed":
            raise BadInput("the seed is no field of a recipe; give it with --seed.")
        if name in settings:
            raise BadInput(f"--set {name} is given twice; give it once.")
        settings[name] = value
    return tuple(settings.items())


def cells(recipes: Sequence[str], grid: Grid, settings: Settings, seed: int) -> list[Cell]:
    """Build every recipe in every combination.

    Arguments:
        recipes: Names.
        grid: What varies.
        settings: What is the same for all, other than by default.
        seed: Of all cells, where the grid has none.

    Raises:
        BadInput: A recipe lacks a field, a value is of the wrong kind, or two cells are the same.
    """
    _refuse_both(grid, settings)
    for name in recipes:
        field_names = {field.name for field in fields(recipe_class(name))}
        for field_name, _ in (*grid, *settings):
            if field_name not in field_names and field_name != "seed":
                raise nearest(f"field of recipe '{name}'", field_name, field_names)
    built: list[Cell] = []
    for name in recipes:
        for values in itertools.product(*(each for _, each in grid)):
            chosen = dict(zip((field for field, _ in grid), values, strict=True))
            built.append(_cell(name, chosen, settings, seed, built))
    return built


def check(built_cells: Sequence[Cell], data: DataSet) -> None:
    """Build the model and the stream of every cell, so that none is refused later.

    Raises:
        BadInput: One cannot be built; the sentence begins with its label.
    """
    checked_labels = set()
    for cell in built_cells:
        if cell.label in checked_labels:
            continue
        checked_labels.add(cell.label)
        with _label_errors(cell.label, bool(cell.fields)):
            cell_data = cell.recipe.data_for(data)
            recipe, _ = cell.recipe.fitted(len(cell_data.train), cell_data.domain)
            model = untrained(recipe, cell_data.domain, cell.seed)
            recipe.stages(model, cell_data, cell.seed)[0].stream()


@contextmanager
def _label_errors(label: str, enabled: bool) -> Iterator[None]:
    """Begin the message of a refusal with the label, where that is enabled."""
    try:
        yield
    except BadInput as error:
        if not enabled:
            raise
        raise BadInput(f"{label}: {error}") from None


def _cell(
    name: str, chosen: dict[str, str], settings: Settings, seed: int, before: Sequence[Cell]
) -> Cell:
    has_own_seed = "seed" in chosen
    if has_own_seed:
        seed = int(chosen.pop("seed"))
    words = [f"--{field}={value}" for field, value in (*settings, *chosen.items())]
    label = " ".join([name, *(f"{field}={value}" for field, value in chosen.items())])
    with _label_errors(label, bool(chosen)):
        recipe = parse(recipe_class(name), words)
    typed = {field: getattr(recipe, field) for field in chosen}
    title = f"{label} seed={seed}" if has_own_seed else label
    for earlier in before:
        if (type(recipe), typed, seed) == (type(earlier.recipe), earlier.fields, earlier.seed):
            raise BadInput(f"{title} is the same as {earlier.title}; name each value once.")
    folder, used_folders = folder_name(title), [cell.folder for cell in before]
    number = 2
    while folder in used_folders:
        folder, number = f"{folder_name(title)}-{number}", number + 1
    return Cell(recipe, label, title, folder, typed, seed)


def _parted(word: str, option: str, form: str, example: str) -> tuple[str, str]:
    name, separator, values = word.partition("=")
    name = name.strip().removeprefix("--").replace("-", "_")
    if not separator or not name:
        raise BadInput(f"{option} takes {form}, such as {option} {example}, not '{word}'.")
    return name, values.strip()


def _seeds(values: Sequence[str]) -> list[str]:
    for value in values:
        if not value.isdecimal() or int(value) >= 2**63:
            raise BadInput(f"--grid seed takes whole numbers from 0, not '{value}'.")
    return [str(int(value)) for value in values]


def _once(name: str, values: Sequence[str]) -> None:
    duplicate = next((value for value in values if values.count(value) > 1), None)
    if duplicate is not None:
        raise BadInput(f"--grid {name} has the value {duplicate} twice; name each value once.")


def _refuse_both(grid: Grid, settings: Settings) -> None:
    for name, _ in grid:
        if name in dict(settings):
            raise BadInput(f"--grid and --set both give {name}; it either varies or it does not.")
