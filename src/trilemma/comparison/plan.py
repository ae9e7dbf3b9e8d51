"""What is compared: the recipes that can take the data, and the runs that this takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trilemma.comparison.cells import Cell, Grid, Settings, cells, check
from trilemma.core.errors import BadInput
from trilemma.data.dataset import DataSet
from trilemma.recipes.catalog import fitting, named
from trilemma.recipes.judging import default_samples

__all__ = ["Plan"]


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
    ) -> Plan:
        """Make a plan; all recipes that fit the data, unless some are named.

        A recipe that cannot take the data is left out, unless it is the only one.

        Raises:
            BadInput: A recipe is unknown or named twice, or none fits the data; or a cell of the
                grid cannot be built.
        """
        asked = tuple(recipes or fitting(data.domain))
        if len(set(asked)) < len(asked):
            raise BadInput(f"a recipe is named twice in {','.join(asked)}; name each once.")
        made = cells(asked, grid, settings, seed)
        refusals = {name: _refusal(name, grid, settings, seed, data) for name in asked}
        names = tuple(name for name, refusal in refusals.items() if refusal is None)
        left_out = tuple(f"{name} is left out: {e}" for name, e in refusals.items() if e)
        if not names:
            check(made, data)
            raise BadInput(" ".join(left_out))
        return cls(
            source,
            data.name,
            data.fingerprint,
            size,
            names,
            minutes,
            samples or default_samples(data),
            seed,
            device,
            precision,
            grid,
            settings,
            left_out,
        )

    def cells(self) -> list[Cell]:
        """Return the runs that it takes."""
        return cells(self.recipes, self.grid, self.settings, self.seed)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of the grid, if it has any."""
        return tuple(int(seed) for seed in dict(self.grid).get("seed", ()))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **vars(self),
            "recipes": list(self.recipes),
            "grid": [[name, list(values)] for name, values in self.grid],
            "settings": [list(setting) for setting in self.settings],
            "left_out": list(self.left_out),
        }


def _refusal(
    name: str, grid: Grid, settings: Settings, seed: int, data: DataSet
) -> BadInput | None:
    """Return why a recipe cannot take the data, if it cannot."""
    try:
        named(name)().check(data.domain)
        check(cells([name], grid, settings, seed), data)
    except BadInput as error:
        return error
    return None
