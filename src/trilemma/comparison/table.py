"""The table of a comparison: its rows, the groups of seeds, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trilemma.comparison.cells import Cell
from trilemma.comparison.groups import groups, shown
from trilemma.comparison.plan import Plan
from trilemma.comparison.ranking import rank

__all__ = ["row", "table"]


def table(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the rows together, with what they have in common and what they come to."""
    taken = groups(rows) if plan.seeds else []
    ranking = rank(shown(rows, taken))
    # Of different settings of one recipe none is the choice for these data.
    varied = any(name != "seed" for name, _ in plan.grid)
    return {
        "data": plan.data,
        "seed": list(plan.seeds) or plan.seed,
        "minutes": plan.minutes,
        **({"grid": {k: list(v) for k, v in plan.grid}} if plan.grid else {}),
        **({"settings": dict(plan.settings)} if plan.settings else {}),
        "rows": rows,
        **({"groups": taken} if taken else {}),
        "choice": None if varied else ranking.choice,
        "verdict": ranking.words,
        "why_not": ranking.why_not,
    }


def row(found: Mapping[str, Any], cell: Cell, plan: Plan) -> Mapping[str, Any]:
    """Say which cell of the grid was measured, if there is one."""
    if not plan.grid:
        return found
    return {"label": cell.label, "fields": cell.fields, **found}
