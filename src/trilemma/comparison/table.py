"""The table of a comparison: its runs, the groups of seeds, and what they come to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trilemma.comparison.groups import groups, to_json
from trilemma.comparison.plan import Plan
from trilemma.comparison.ranking import Ranking, rank
from trilemma.comparison.row import Row, each
from trilemma.metrics.evaluation import Evaluation

__all__ = ["Table", "table"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """What was measured, and what follows from it."""

    plan: Plan
    runs: tuple[Evaluation, ...]
    """In the order of the plan's cells."""
    rows: tuple[Row, ...]
    """What is shown: the runs, or those of one label together where there are several seeds."""
    ranking: Ranking

    @property
    def choice(self) -> str | None:
        """Return what to choose; of different settings of one recipe none is the choice."""
        varied = any(name != "seed" for name, _ in self.plan.grid)
        return None if varied else self.ranking.choice

    def to_json(self) -> dict[str, Any]:
        """Return plain values: what `trilemma compare --json` prints."""
        plan = self.plan
        return {
            "data": plan.data,
            "seed": list(plan.seeds) or plan.seed,
            "minutes": plan.minutes,
            **({"grid": {k: list(v) for k, v in plan.grid}} if plan.grid else {}),
            **({"settings": dict(plan.settings)} if plan.settings else {}),
            "rows": [run.to_json() for run in self.runs],
            **({"groups": [to_json(row) for row in self.rows]} if plan.seeds else {}),
            "choice": self.choice,
            "verdict": self.ranking.words,
            "why_not": self.ranking.why_not,
            **(
                {"rewards": [task.to_json() for task in self.ranking.tasks]}
                if self.ranking.tasks
                else {}
            ),
        }

    def text(self) -> str:
        """Return the JSON of the file `table.json`."""
        return json.dumps(self.to_json(), indent=2)


def table(plan: Plan, runs: Sequence[Evaluation]) -> Table:
    """Put the runs of a plan together, with what they come to."""
    rows = groups(runs) if plan.seeds else each(runs)
    return Table(plan=plan, runs=tuple(runs), rows=tuple(rows), ranking=rank(rows))
