"""The data of a run: where they lie now, and whether they are still what it was trained on.

A run keeps the name of its data set or the path, how many examples there were, and a hash of all
of them with their labels and captions (`DataSet.fingerprint`). Files that were moved are looked
for where somebody says that they lie. Files that have changed are never trained on unless that is
asked for: a model of two data sets is a model of neither.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.words import joined
from trilemma.data import sources
from trilemma.data.dataset import DataSet
from trilemma.data.location import MEMORY
from trilemma.data.subset import SIGN
from trilemma.plugins import recorded as recorded_plugins
from trilemma.recipes.catalog import refuse_missing_plugins
from trilemma.recipes.fields import registries_of
from trilemma.recipes.recipe import Recipe
from trilemma.training.run import Run

__all__ = ["location", "plugins_of", "record_of", "unchanged", "with_changes"]


def record_of(data: DataSet, source: str, size: int | None) -> dict[str, Any]:
    """Return what a run keeps of its data.

    Arguments:
        data: As the recipe sees them.
        source: The name or the path from which they were read.
        size: Side of the images that was asked for, pixels.
    """
    return {
        "source": sources.lasting(source),
        "name": data.name,
        "size": size,
        "examples": _counts(data),
        "fingerprint": data.fingerprint,
        "domain": data.domain.to_json(),
    }


def plugins_of(recipe: Recipe, source: str) -> list[dict[str, str]]:
    """Return what a run keeps of the plug-ins that its recipe, its choices or its data are of.

    Arguments:
        recipe: Its recipe.
        source: The name or the path from which its data were read.
    """
    chosen = {
        (registry.kind, getattr(recipe, name))
        for name, registry in registries_of(type(recipe)).items()
    }
    data = ("data set", sources.lasting(source).partition(SIGN)[0])
    return recorded_plugins({("recipe", recipe.name), data, *chosen, *recipe.entries()})


def location(run: Run, moved: str | None = None) -> str:
    """Return where a run's data lie now.

    Arguments:
        run: The run.
        moved: Where somebody says that they lie; None for where they lay.

    Raises:
        BadInput: Nothing lies there any more, or what is said is a name and a path at once, or a
            plug-in of the run is not here.
    """
    refuse_missing_plugins(run.path, run.recipe)
    before = run.recipe["data"]["source"]
    if moved is not None:
        return sources.moved_to(moved, before)
    if before.startswith(MEMORY):
        raise BadInput(
            f"{run.path} was trained on '{before.removeprefix(MEMORY)}', which a program had in "
            "memory; give the same data again: data=… in Python, --data PATH on the command line."
        )
    path = sources.path_of(before)
    if path is not None and not os.path.lexists(path):
        raise BadInput(
            f"{run.path} has its data from '{path}', where nothing lies now; if they were moved "
            "or renamed, say where they lie: --data NEW_PATH."
        )
    return before


def unchanged(recipe: Recipe, run: Run, data: DataSet) -> DataSet:
    """Return a run's data as its recipe sees them, and refuse others.

    Raises:
        BadInput: They are not what the run was trained on.
    """
    data, change = _compared(recipe, run.recipe, data)
    if change:
        raise BadInput(
            f"the data of {run.path} are not what it began with: {change}; put the old ones "
            "back, say where they lie with --data, or train anew; --changed-data goes on with "
            "these in 'resume'."
        )
    return data


def with_changes(recipe: Recipe, run: Run, data: DataSet) -> tuple[DataSet, str]:
    """Return a run's data as its recipe sees them though they have changed, and what has.

    They are described as they were when training began: shares of classes, and how real numbers
    are standardised, are the model's.

    Returns:
        The data, with the sentence among their notes; and the sentence, empty where nothing has.

    Raises:
        BadInput: They are of another kind, size, or have other classes, words or columns.
    """
    data, change = _compared(recipe, run.recipe, data)
    if not change:
        return data, ""
    recorded = Domain.from_json(run.recipe["data"]["domain"])
    if differing := _differing(recorded, data.domain):
        raise BadInput(
            f"the data of {run.path} are not what it was trained on, and its model does not fit "
            f"them: they differ in {joined(differing)}; put the old ones back, or train anew."
        )
    sentence = f"the data have changed since {run.path} was begun: {change}"
    return dataclasses.replace(data, domain=recorded, notes=(*data.notes, sentence)), sentence


def _compared(recipe: Recipe, record: Mapping[str, Any], data: DataSet) -> tuple[DataSet, str]:
    """See a run's data as its recipe does, and say how they differ from what it began with."""
    before = record["data"]
    data = recipe.data_for(data.viewed((before["domain"]["kind"],)))
    if data.fingerprint == before["fingerprint"]:
        return data, ""
    change = f"data: {before['fingerprint']} → {data.fingerprint}"
    if counts := before.get("examples"):
        now = _counts(data)
        change = (
            f"{counts['train']:,} training and {counts['test']:,} test examples then, "
            f"{now['train']:,} and {now['test']:,} now, {change}"
        )
    return data, change


def _counts(data: DataSet) -> dict[str, int]:
    return {"train": len(data.train), "test": len(data.test)}


def _differing(before: Domain, now: Domain) -> list[str]:
    """Name what of a domain a model cannot take otherwise."""
    recorded, current = before.to_json(), now.to_json()
    are_real = recorded["values"]["type"] == current["values"]["type"] == "real"
    may_differ = {"frequencies", "constants", "order", *(["values"] if are_real else [])}
    return [
        name
        for name in sorted(current.keys() | recorded.keys())
        if name not in may_differ and current.get(name) != recorded.get(name)
    ]
