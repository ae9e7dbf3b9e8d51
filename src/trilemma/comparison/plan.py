"""What is compared: the recipes that can take the data, and the runs that this takes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trilemma.comparison.cells import Cell, Grid, Settings, cells, check
from trilemma.comparison.table import Heading, Table, table
from trilemma.core.errors import BadInput
from trilemma.data.dataset import DataSet
from trilemma.metrics.evaluation import Evaluation
from trilemma.recipes.catalog import fitting, recipe_class
from trilemma.recipes.evaluate import default_samples
from trilemma.recipes.run_data import plugins_of
from trilemma.recipes.runs import folder_name

__all__ = ["Plan", "Ready"]


@dataclass(frozen=True)
class Ready:
    """Samples that another program made, to stand beside the recipes."""

    name: str
    path: str
    count: int
    fingerprint: str

    @classmethod
    def of(cls, name: str, path: str, samples: Tensor) -> Ready:
        """Describe samples that were read."""
        digest = hashlib.sha256(samples.contiguous().view(torch.uint8).numpy().data)
        return cls(name, path, len(samples), digest.hexdigest()[:16])

    @property
    def folder(self) -> str:
        """Return where its measurement lies among the runs."""
        return f"with-{self.name}"


@dataclass(frozen=True)
class Plan:
    """What is compared; two comparisons with the same plan are the same comparison."""

    source: str
    data: str
    fingerprint: str
    size: int | None
    recipes: tuple[str, ...]
    minutes: float
    samples: int
    seed: int
    device: str
    precision: str
    grid: Grid = ()
    settings: Settings = ()
    left_out: tuple[str, ...] = ()
    """Why recipes that were asked for are not compared; a sentence each."""
    ready: tuple[Ready, ...] = ()
    plugins: tuple[tuple[str, str], ...] = ()
    """Name and sha256 of the plug-ins that recipes, their choices or the data are of."""

    @classmethod
    def of(
        cls,
        data: DataSet,
        source: str,
        *,
        size: int | None,
        recipes: Sequence[str] | None,
        minutes: float,
        samples: int | None,
        seed: int,
        device: str,
        precision: str,
        grid: Grid = (),
        settings: Settings = (),
        ready: Sequence[Ready] = (),
    ) -> Plan:
        """Make a plan; all recipes that fit the data, unless some are named.

        A recipe that cannot take the data is left out, unless it is the only one. All rows are
        measured by the same number of samples: where ready ones are fewer, by as many as these.

        Raises:
            BadInput: A recipe is unknown or named twice, or none fits the data; or a cell of the
                grid cannot be built; or more samples are asked for than are ready.
        """
        requested = tuple(recipes or fitting(data.domain))
        if len(set(requested)) < len(requested):
            raise BadInput(f"a recipe is named twice in {','.join(requested)}; name each once.")
        grid_cells = cells(requested, grid, settings, seed)
        refusals = {name: _refusal(name, grid, settings, seed, data) for name in requested}
        names = tuple(name for name, refusal in refusals.items() if refusal is None)
        left_out = tuple(f"{name} is left out: {e}" for name, e in refusals.items() if e)
        if not names:
            check(grid_cells, data)
            raise BadInput(" ".join(left_out))
        return cls(
            source,
            data.name,
            data.fingerprint,
            size,
            names,
            minutes,
            _count(samples, default_samples(data), ready),
            seed,
            device,
            precision,
            grid,
            settings,
            left_out,
            tuple(ready),
            _plugins(cells(names, grid, settings, seed), source),
        )

    def cells(self) -> list[Cell]:
        """Return the runs that it takes."""
        return cells(self.recipes, self.grid, self.settings, self.seed)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of the grid, if it has any."""
        return tuple(int(seed) for seed in dict(self.grid).get("seed", ()))

    @property
    def is_repeatable(self) -> bool:
        """Tell whether the same comparison, finished, is written again: it is trained anew."""
        return False

    @property
    def stem(self) -> str:
        """Return what the name of its folder begins with."""
        return folder_name(Path(self.data).name)

    def table(self, runs: Sequence[Evaluation]) -> Table:
        """Put its runs together, with what they come to.

        Arguments:
            runs: In the order of the cells; then samples that were ready.
        """
        heading = Heading(
            data=self.data,
            seed=self.seed,
            seeds=self.seeds,
            minutes=self.minutes,
            grid=self.grid,
            settings=self.settings,
        )
        return table(heading, runs, self._pictured(runs))

    def _pictured(self, runs: Sequence[Evaluation]) -> list[str]:
        """Name the folder that is looked at for each row: of the first seed that was measured."""
        ready_folders = [f"runs/{ready.folder}" for ready in self.ready]
        cells = self.cells()
        if not self.seeds:
            return [f"runs/{cell.folder}" for cell in cells] + ready_folders
        chosen: dict[str, tuple[bool, str]] = {}
        for cell, run in zip(cells, runs, strict=False):
            measured = bool(run.metrics)
            if cell.label not in chosen or measured > chosen[cell.label][0]:
                chosen[cell.label] = measured, f"runs/{cell.folder}"
        return [folder for _, folder in chosen.values()] + ready_folders

    def is_of(self, recorded: object) -> bool:
        """Tell whether recorded values are this comparison's, wherever the data lie now."""
        mine = self.to_json()
        return isinstance(recorded, dict) and {**recorded, "source": mine["source"]} == mine

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        plain = {**vars(self), "plugins": [list(plugin) for plugin in self.plugins]}
        if not self.plugins:  # a comparison that was begun before there were any is still the same
            del plain["plugins"]
        return {
            **plain,
            "recipes": list(self.recipes),
            "grid": [[name, list(values)] for name, values in self.grid],
            "settings": [list(setting) for setting in self.settings],
            "left_out": list(self.left_out),
            "ready": [vars(one) for one in self.ready],
        }


def _plugins(runs: Sequence[Cell], source: str) -> tuple[tuple[str, str], ...]:
    """Return name and sha256 of the plug-ins that some runs are made with, each once."""
    records = [record for cell in runs for record in plugins_of(cell.recipe, source)]
    return tuple(dict.fromkeys((record["name"], record["sha256"]) for record in records))


def _count(requested: int | None, default: int, ready: Sequence[Ready]) -> int:
    """Return how many samples are measured of each row."""
    if not ready:
        return requested or default
    fewest = min(ready, key=lambda one: one.count)
    if requested is not None and requested > fewest.count:
        raise BadInput(
            f"--samples {requested} was given, and '{fewest.name}' has {fewest.count} samples; "
            f"give at most {fewest.count}, so that all are measured alike."
        )
    return requested or min(default, fewest.count)


def _refusal(
    name: str, grid: Grid, settings: Settings, seed: int, data: DataSet
) -> BadInput | None:
    """Return why a recipe cannot take the data, if it cannot."""
    try:
        view = data.viewed(recipe_class(name).kinds)
        recipe_class(name)().check(view.domain)
        check(cells([name], grid, settings, seed), view)
    except BadInput as error:
        return error
    return None
