"""Several recipes on the same data for the same time, and what to choose.

A comparison is a folder: `comparison.json` (what is compared), `runs/RECIPE/` (a run directory
each; its name has the grid's fields and seed too, where there is a grid), and when all is measured
`table.csv`, `table.json`, `report.html`, and `groups.csv` if there are several seeds. It may be
stopped at any moment; the same command goes on where it stopped. The same command given several
times at once, on one machine or on several that see the folder, shares the work: `claims/` says
who does what. Samples that another program made stand beside the recipes, and are measured alike.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from torch import Tensor

from trilemma.comparison.claims import Claim, Claims
from trilemma.comparison.plan import Plan
from trilemma.comparison.race import Race, Watch
from trilemma.comparison.table import Table, text
from trilemma.comparison.waiting import STOPPED, Waiting, pause
from trilemma.comparison.worker import Worker
from trilemma.core.errors import BadInput
from trilemma.core.files import atomic_write
from trilemma.core.session import Session, Stop
from trilemma.data.dataset import DataSet
from trilemma.training.run import Run

__all__ = ["choose_folder", "compare"]


class Recorded(Protocol):
    """What is compared, as `comparison.json` keeps it."""

    @property
    def stem(self) -> str:
        """Return what the name of its folder begins with."""
        ...

    @property
    def is_repeatable(self) -> bool:
        """Tell whether the same comparison, finished, is written again."""
        ...

    def is_of(self, recorded: object) -> bool:
        """Tell whether recorded values are this comparison's."""
        ...


def choose_folder(
    plan: Recorded, requested: Path | None, root: Path = Path("comparisons")
) -> Path:
    """Choose the folder: the requested one, an unfinished one of the same plan, or a new one.

    Raises:
        BadInput: The requested folder holds something else, or cannot be read.
    """
    if requested is not None:
        _refuse_another(plan, requested)
        return requested
    number = 1
    while (path := root / f"{plan.stem}-{number:03d}").exists():
        with contextlib.suppress(BadInput):
            if plan.is_of(_plan_in(path)) and (
                plan.is_repeatable or not (path / "report.html").exists()
            ):
                return path
        number += 1
    return path


def _refuse_another(plan: Recorded, path: Path) -> None:
    """Refuse a folder that holds something else than this comparison or its beginning."""
    if not path.exists() or _is_new(path) or plan.is_of(_plan_in(path)):
        return
    raise BadInput(
        f"{path} exists and is not this comparison; give another --out, or the same "
        "options to resume it."
    )


def _is_new(path: Path) -> bool:
    """Tell whether nothing is in a folder but what comes before `comparison.json`."""
    try:
        names = os.listdir(path)
    except NotADirectoryError:
        return False
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}; give another --out.") from error
    return all(name == "claims" or name.startswith("tmp") for name in names)


def _plan_in(path: Path) -> object:
    """Return the plan of a folder, or None where there is none.

    Raises:
        BadInput: There is one, and it cannot be read.
    """
    target = path / "comparison.json"
    try:
        return json.loads(target.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadInput(
            f"{target} cannot be read: {error.strerror}; give another --out."
        ) from error
    except ValueError as error:
        raise BadInput(
            f"{target} is not JSON ({error}), so that nobody knows what is compared there; "
            "restore it, or give another --out."
        ) from None


def compare(
    plan: Plan,
    data: DataSet,
    path: Path,
    *,
    session: Session,
    watch: Watch,
    on_measured: Callable[[Run], object],
    publish: Callable[[Path, Table], None],
    ready: Mapping[str, Tensor] | None = None,
) -> Table:
    """Train and measure each recipe, share that with others, and write the table and the page.

    Arguments:
        plan: What is compared.
        data: Its data set.
        path: The comparison's folder.
        session: The processes that share the work, who may end it and who is told; seeds are the
            plan's.
        watch: Shows a training by its events.
        on_measured: Called with each run when it is measured.
        publish: Writes the table and the page in the folder; called where they are not yet.
        ready: By name, the samples that the plan speaks of.

    Returns:
        What was measured, and what it comes to; only the main process has it whole.
    """
    world, stop, say = session.world, session.stop, session.say
    for sentence in plan.left_out:
        say(sentence)
    cells = plan.cells()
    runs = sum(not cell.recipe.steps for cell in cells)
    if runs:
        say(
            f"{runs} {'training' if runs == 1 else 'trainings'} of {plan.minutes:g} minutes: "
            f"{runs * plan.minutes:g} minutes in all, and the measuring"
        )
    if reward_runs := len(cells) - runs:
        say(
            f"{reward_runs} {'training' if reward_runs == 1 else 'trainings'} by calls of a reward"
        )
    claims = Claims(path / "claims", Worker.current(world.device, world.size))
    stamp_before = _stamp(path / "report.html")
    if world.is_main:
        _join(path, plan, claims, stop)
    world.barrier()

    race = Race(plan, data, path / "runs", claims, session, watch, on_measured)
    outcomes = race.finish()
    if not world.is_main:
        return plan.table(outcomes)
    waiting = Waiting(session)
    for one in plan.ready:
        with _claimed(claims, one.folder, stop, waiting):
            outcomes.append(race.ready(one, (ready or {})[one.name]))
    comparison_table = plan.table(outcomes)
    with _claimed(claims, "report", stop, waiting):
        if _stamp(path / "report.html") == stamp_before or not _is_written(path, comparison_table):
            publish(path, comparison_table)
    return comparison_table


def _join(path: Path, plan: Plan, claims: Claims, stop: Stop) -> None:
    """Say in the folder what is compared, or see that another process has said the same.

    Raises:
        BadInput: Something else is compared there by now, or nothing can be written.
    """
    target = path / "comparison.json"
    if not target.exists():
        with _claimed(claims, "plan", stop):
            if not target.exists():
                with atomic_write(target) as partial:
                    partial.write_text(json.dumps(plan.to_json(), indent=2))
    _refuse_another(plan, path)


@contextmanager
def _claimed(
    claims: Claims, name: str, stop: Stop, waiting: Waiting | None = None
) -> Iterator[Claim]:
    """Hold a claim of something that is done in a moment, after those who had it before."""
    with waiting or contextlib.nullcontext():
        while (claim := claims.take(name)) is None:
            stop.check(STOPPED)
            owner = claims.status(name)[name].owner
            if waiting is not None and owner is not None:
                text = f"waiting for the {name}, which {owner.name_for(claims.worker)} writes"
                waiting.tell((text, text), 1)
            pause(stop)
    with claim:
        yield claim


def _stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file is written anew."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_ino, stat.st_mtime_ns


def _is_written(path: Path, comparison_table: Table) -> bool:
    """Tell whether the table in the folder is this one."""
    try:
        recorded = json.loads((path / "table.json").read_text())
        return recorded == json.loads(text([comparison_table]))
    except (OSError, ValueError):
        return False
