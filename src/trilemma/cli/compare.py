"""Trains and measures several recipes alike, and says which to use."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from trilemma.cli.terminal import as_json, counting, out, say, show_table
from trilemma.cli.working import at_work, read_data, watched
from trilemma.comparison import compare as comparing
from trilemma.comparison.cells import read_grid, read_settings
from trilemma.comparison.plan import Plan, Ready
from trilemma.comparison.table import Table
from trilemma.core.errors import BadInput
from trilemma.data import sources
from trilemma.data.dataset import DataSet
from trilemma.data.ready import ready
from trilemma.recipes.catalog import fitting, recipe_class
from trilemma.report import gallery
from trilemma.report.publication import publish
from trilemma.report.tables import terminal_tables

__all__ = ["run"]

PIPED = 140
"""Characters of a line that goes to a file."""


def run(options: argparse.Namespace) -> None:
    """Train and measure several recipes alike, and say which to use."""
    names = [w.strip() for w in options.recipes.split(",")] if options.recipes else None
    for name in names or ():
        recipe_class(name)
    options.data = sources.declared(
        options.data, radius=options.ego_radius, columns=options.columns
    )
    grid = read_grid([*options.grid, *_seed_grid(options)])
    settings = read_settings([*options.settings, *_field_words(options.fields)])
    if "seed" in dict(grid) and options.seed and options.seeds is None:
        raise BadInput("--seed and --grid seed=… both say which seeds; give one of them.")
    with at_work(options.device) as (stop, ranks):
        data = read_data(options.data, options.size, ranks)
        ready_samples = _ready(options.ready, data, names)
        plan = Plan.of(
            data,
            options.data,
            size=options.size,
            recipes=names,
            minutes=options.minutes,
            samples=options.samples,
            seed=options.seed,
            device=options.device,
            precision=options.precision,
            grid=grid,
            settings=settings,
            ready=[one for one, _ in ready_samples],
        )
        path = comparing.choose_folder(plan, options.out)

        @contextmanager
        def measuring(title: str) -> Iterator[Callable[[str, int, int], None]]:
            with counting(title) as progress:
                yield progress.update

        comparison_table = comparing.compare(
            plan,
            data,
            path,
            world=ranks,
            stop=stop,
            watch=lambda title, events: watched(title, events, ranks),
            progress=measuring,
            say=say if ranks.is_main else lambda _: None,
            on_measured=lambda run: gallery.run_report(run, data),
            publish=lambda folder, table: _publish(folder, table, data),
            ready={one.name: samples for one, samples in ready_samples},
        )
        if not ranks.is_main:
            return
        if options.json:
            as_json(comparison_table.to_json())
            say(path / "report.html")
        else:
            unrewarded_rows = [row for row in comparison_table.rows if not row.of.reward]
            for rich_table in terminal_tables(unrewarded_rows, width=_width()):
                show_table(rich_table)
            for task in comparison_table.ranking.tasks:
                title = f"Reward: {task.reward}"
                for rich_table in terminal_tables(task.rows, title, width=_width()):
                    show_table(rich_table)
            out(comparison_table.ranking.words)
            out(path / "report.html")


def _publish(folder: Path, comparison_table: Table, data: DataSet) -> None:
    """Write the tables and the page, and say so: models are looked into, which takes a while."""
    say(f"looking into the models for {folder / 'report.html'} …")
    publish(folder, comparison_table, data)


def _ready(
    words: Sequence[str], data: DataSet, recipes: Sequence[str] | None
) -> list[tuple[Ready, Tensor]]:
    """Read the samples of each NAME=PATH."""
    ready_samples: list[tuple[Ready, Tensor]] = []
    used_names = set(recipes or fitting(data.domain))
    for word in words:
        name, sign, path = word.partition("=")
        if not sign or not path or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
            raise BadInput(
                f"--with '{word}' was given; give NAME=PATH, a name of letters and digits and the "
                "file or folder of the samples."
            )
        if name in used_names:
            raise BadInput(f"--with names '{name}', which is another row; give another name.")
        used_names.add(name)
        samples = ready(Path(path).expanduser(), data)
        ready_samples.append((Ready.of(name, path, samples), samples))
    return ready_samples


def _seed_grid(options: argparse.Namespace) -> list[str]:
    """Write --seeds N as the grid that it stands for: N seeds from --seed on."""
    if options.seeds is None:
        return []
    first = options.seed
    return [f"seed={','.join(str(first + i) for i in range(options.seeds))}"]


def _field_words(words: Sequence[str]) -> list[str]:
    """Write options of fields, `--batch 64` or `--batch=64`, as --set takes them.

    >>> _field_words(["--batch", "64", "--kl-warmup=5"])
    ['batch=64', 'kl-warmup=5']
    """
    settings, remaining = [], list(words)
    while remaining:
        word = remaining.pop(0)
        name, sign, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise BadInput(f"'{word}' is no option of compare; see 'trilemma compare --help'.")
        if not sign:
            if not remaining or remaining[0].startswith("--"):
                raise BadInput(f"--{name} was given without a value; give --{name} VALUE.")
            value = remaining.pop(0)
        settings.append(f"{name}={value}")
    return settings


def _width() -> int:
    """Return how many characters a line of a table may have."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED
