"""What the commands that train and measure do.

Results go to stdout; what people watch, to stderr. What only looks stands in `inventory`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from trilemma import compare as comparing
from trilemma import drawing, gallery
from trilemma.comparison.cells import read_grid, read_settings
from trilemma.comparison.plan import Plan, Ready
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import Restoring
from trilemma.core.words import duration, number
from trilemma.data import sources
from trilemma.data.dataset import DataSet
from trilemma.data.given import HALVES, given_graph, is_image
from trilemma.data.given import given as given_image
from trilemma.data.ready import ready
from trilemma.laws.book import library_laws, timed
from trilemma.laws.trained import trained_laws
from trilemma.metrics.evaluation import Evaluation
from trilemma.metrics.registry import variants
from trilemma.recipes.catalog import fitting, named
from trilemma.recipes.editing import editing
from trilemma.recipes.fields import changed, parse
from trilemma.recipes.judging import default_samples, judge_ready, judge_run
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.runs import (
    Loaded,
    begin,
    captions,
    conditions,
    free_path,
    go_on,
    load,
)
from trilemma.report.tables import terminal_tables
from trilemma.terminal import Steps, as_json, counting, out, say, show_table, table, warn
from trilemma.training.budget import Budget
from trilemma.training.distributed import World, world
from trilemma.training.precision import choose_device
from trilemma.training.run import Run
from trilemma.training.signals import Stop, listening
from trilemma.training.trainer import Event

__all__ = ["run"]

ROW = 16
"""Images of a row from one to another at most."""
PIPED = 140
"""Characters of a line that goes to a file."""


def run(options: argparse.Namespace) -> int:
    """Carry out one command and return its exit status."""
    verb = {
        "train": train,
        "resume": resume,
        "sample": sample,
        "evaluate": evaluate,
        "compare": compare,
        "verify": verify,
    }[options.verb]
    return verb(options) or 0


# --- training ------------------------------------------------------------------------------------


@contextmanager
def _at_work(device: str) -> Iterator[tuple[Stop, World]]:
    """Listen to signals, and join the processes that torchrun started, if it did."""
    chosen = choose_device(device)
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    with listening(patience=5.0 if together else 0.0) as stop, world(chosen) as ranks:
        yield stop, ranks


def _budget(options: argparse.Namespace) -> Budget | None:
    if options.steps:
        return Budget(steps=options.steps)
    return Budget(minutes=options.minutes) if options.minutes else None


def _own_budget(recipe: Recipe) -> Budget:
    """Return what a recipe takes where no budget is given: its own steps, or a minute."""
    return Budget(steps=recipe.steps) if recipe.steps else Budget(minutes=1.0)


def train(options: argparse.Namespace) -> None:
    """Make a run and train it."""
    recipe = parse(named(options.recipe), options.fields)
    options.data = sources.with_radius(options.data, options.ego_radius)
    options.data = sources.with_columns(options.data, options.columns)
    with _at_work(options.device) as (stop, ranks):
        found = _load(options.data, options.size, ranks)
        run, events = begin(
            recipe,
            found,
            source=options.data,
            path=options.run or free_path(recipe.name, found.name),
            budget=_budget(options) or _own_budget(recipe),
            seed=options.seed,
            size=options.size,
            precision=options.precision,
            watch=options.watch,
            world=ranks,
            stop=stop,
        )
        if ranks.is_main:
            say(f"{run.path}: {run.recipe['precision']['reason']}")
        _watch(recipe.name, events, ranks)
        _end(run, found, ranks)


def resume(options: argparse.Namespace) -> None:
    """Go on with a run."""
    with _at_work(options.device) as (stop, ranks):
        run = Run.open(options.run)
        record = run.recipe["data"]
        where = sources.moved(options.data or record["source"], record["source"])
        found = _load(where, record["size"], ranks)
        run, events = go_on(
            options.run,
            budget=_budget(options),
            data=found,
            asked={"name": options.recipe, "seed": options.seed},
            world=ranks,
            stop=stop,
        )
        _watch(run.recipe["name"], events, ranks)
        _end(run, found, ranks)


def _end(run: Run, data: DataSet, ranks: World) -> None:
    if ranks.is_main:
        say(f"looking into it for {run.path / 'report.html'} …")
        gallery.run_report(run, data)
        if (found := drawing.write_found(load(run.path, warn=say))) is not None:
            say(f"{found}: the best that were found")
        out(run.path)


def _load(name: str, size: int | None, ranks: World) -> DataSet:
    if not ranks.is_main:
        return sources.load(name, size=size)
    with counting(f"reading {name}") as progress:
        found = sources.load(name, size=size, progress=progress)
    for note in found.notes:
        say(f"{found.name}: {note}")
    return found


def _watch(title: str, events: Iterator[Event], ranks: World) -> None:
    """Show events as they come."""
    if not ranks.is_main:
        for _ in events:
            pass
        return
    total = None
    with Steps(title) as steps:
        for event in events:
            told = event.values
            if event.kind == "step":
                terms = {k: v for k, v in told.items() if "/" in k and not k.endswith("/norm")}
                alone = len({k.split("/")[0] for k in terms}) == 1
                steps(
                    event.stage,
                    event.step,
                    total,
                    {k.split("/")[1] if alone else k: v for k, v in terms.items()},
                    told["examples_per_second"],
                    told["left"],
                )
            elif event.kind == "plan":
                say(f"{title}: {told['steps']:,} steps planned for {told['seconds']:,.0f} s")
            elif event.kind == "preview" and "reconstruction_psnr" in told:
                close = told["reconstruction_psnr"]
                say(f"{title}: step {event.step:,}: the first stage reconstructs to {close} dB")
            elif event.kind == "skipped":
                say(f"{title}: step {event.step}: an update was not finite and was left out")
            elif event.kind == "warning":
                warn(told["message"])
            elif event.kind == "alert":
                warn(f"step {event.step:,}: {told['message']}")
            elif event.kind == "resumed":
                say(f"{title}: going on from {told['path']}")
            elif event.kind == "stopped":
                say(f"{title}: stopped at step {event.step}: {told['reason']}")


# --- drawing and measuring -----------------------------------------------------------------------


def sample(options: argparse.Namespace) -> None:
    """Draw samples and write them in the form that the name asks for."""
    kind = named(Run.open(options.run).recipe["name"])
    chosen = changed(kind, options.fields) | {
        "sample_steps": options.steps,
        "sampler": options.sampler,
        "guidance": options.guidance,
    }
    with _at_work(options.device) as (stop, ranks):
        loaded = load(options.run, warn=warn, device=ranks.device, at_sampling=chosen)
        target = options.out or _free(
            loaded.run.path / "samples", f"seed{options.seed}-n{options.n}", ".png"
        )
        with counting("sampling") as progress:
            _sample(loaded, options, target, ranks, stop, progress)
        if ranks.is_main:
            out(target)


def _sample(
    loaded: Loaded,
    options: argparse.Namespace,
    target: Path,
    ranks: World,
    stop: Stop,
    progress: Callable[[int, int], None],
) -> None:
    """Draw examples, or what is to be made of an image or a graph that is given."""
    cond, domain = options.cond or "", loaded.domain
    image = is_image(cond)
    for name in ("mask", "strength", "to"):
        if getattr(options, name) is not None and not image:
            raise BadInput(f"--{name} goes with --cond IMAGE, of which something is made.")
    given = source = wanted = None
    if image and options.to is not None:
        drawing.write_between(loaded, cond, options.to, min(options.n, ROW), target)
        return
    if image and isinstance(loaded.model, Restoring):
        drawing.write_enlarged(
            loaded,
            cond,
            target,
            seed=options.seed,
            check=lambda: stop.check("enlarging was stopped; nothing was written."),
            progress=progress,
        )
        return
    if image and options.strength is not None:
        source = editing(loaded, cond, options.strength)
    elif cond and domain.kind == "graph":
        drawing.refuse_completion(loaded)
        given = given_graph(cond, domain)
    elif image:
        drawing.refuse_completion(loaded)
        given = _given(domain, cond, options.mask)
    elif options.cond is not None:
        wanted = conditions(domain, cond, warn)
    drawing.write_samples(
        loaded,
        options.n,
        options.seed,
        wanted,
        target,
        ranks,
        stop,
        progress,
        given,
        options.yes,
        source=source,
        captions=captions(cond) if wanted is not None and domain.vocabulary else (),
    )


def _given(domain: Domain, cond: str, mask: str | None) -> tuple[Tensor, Tensor]:
    """Read an image to be completed, and where it is known."""
    if mask is None:
        raise BadInput(
            f"--cond {cond} is an image, and neither --mask nor --strength nor --to says what is "
            "to be made of it; --mask is a black and white image of its size, white where "
            f"something is to be drawn, or one of {', '.join(HALVES)}."
        )
    return given_image(cond, mask, domain)


def _free(folder: Path, stem: str, suffix: str) -> Path:
    """Return the first name that is not taken."""
    path, number = folder / f"{stem}{suffix}", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}{suffix}", number + 1
    return path


def evaluate(options: argparse.Namespace) -> None:
    """Measure all that the model can answer, or samples that another program made."""
    if options.run.exists() and not (options.run / "recipe.json").exists():
        _evaluate_ready(options)
        return
    for name in ("size", "columns", "ego_radius"):
        if getattr(options, name) is not None:
            raise BadInput(
                f"--{name.replace('_', '-')} is for samples that another program made; a run "
                "knows its data."
            )
    with _at_work(options.device) as (stop, ranks):
        loaded = load(options.run, warn=warn, device=ranks.device)
        record = loaded.run.recipe["data"]
        where = sources.moved(options.data or record["source"], record["source"])
        data_set = loaded.same(_load(where, record["size"], ranks))
        with counting("measuring") as progress:
            found = judge_run(
                loaded,
                data_set,
                samples=options.samples,
                seed=options.seed,
                draws=options.draws,
                world=ranks,
                check=lambda: stop.check("measuring was stopped; nothing was written."),
                progress=progress.named,
            )
        if not ranks.is_main:
            return
        gallery.run_report(loaded.run, data_set)
        if options.json:
            as_json(found.to_json())
        else:
            show_evaluation(found)


def _evaluate_ready(options: argparse.Namespace) -> None:
    """Measure samples that another program made."""
    path = options.run
    if options.data is None:
        raise BadInput(
            f"{path} holds no recipe.json, so it is no run; if it holds samples that another "
            "program made, say what they imitate: --data NAME_OR_PATH."
        )
    if options.draws is not None:
        raise BadInput("--draws is of the bound of a model, and samples alone have none.")
    with _at_work(options.device) as (stop, ranks):
        source = sources.with_radius(options.data, options.ego_radius)
        data = _load(sources.with_columns(source, options.columns), options.size, ranks)
        samples = ready(path, data)
        asked = options.samples
        if asked is not None and asked > len(samples):
            raise BadInput(f"--samples {asked} was given, and {path} holds {len(samples)}.")
        with counting("measuring") as progress:
            found = judge_ready(
                path.stem,
                path,
                samples,
                data,
                n=asked or min(len(samples), default_samples(data)),
                seed=options.seed,
                check=lambda: stop.check("measuring was stopped; nothing was written."),
                progress=progress.named,
            )
        if not ranks.is_main:
            return
        if options.json:
            as_json(found.to_json())
        else:
            show_evaluation(found)


def show_evaluation(found: Evaluation) -> None:
    """Give an evaluation as a table."""
    lesser = variants()
    table(
        f"{found.recipe} on {found.data} ({found.split}), n = {found.n:,}, "
        f"seed {found.seed}, {found.device}",
        ["metric", "value", "95 % interval", "unit", "by", "better", "floor", "baselines"],
        [
            [
                f"{name}({found.extractor})" if name in ("fd", "kd") else name,
                number(s.value),
                f"{number(s.low)} … {number(s.high)}",
                s.unit,
                s.by,
                s.better,
                number(s.floor),
                ", ".join(f"{k} {number(v)}" for k, v in s.baselines.items()),
            ]
            for name, s in sorted(found.metrics.items(), key=lambda item: item[0] in lesser)
        ],
    )
    for name, reason in found.skipped.items():
        out(f"{name}: not measured: {reason}")
    if cost := found.cost.known():
        out("cost: " + ", ".join(f"{k} {number(v)}" for k, v in cost.items()))
    longest = sorted(found.seconds.items(), key=lambda item: -item[1])[:4]
    said = ", ".join(f"{name} {duration(seconds)}" for name, seconds in longest)
    out(f"measuring: {duration(sum(found.seconds.values()))}, of which {said}")


def compare(options: argparse.Namespace) -> None:
    """Train and measure several recipes alike, and say which to use."""
    names = [w.strip() for w in options.recipes.split(",")] if options.recipes else None
    for name in names or ():
        named(name)
    options.data = sources.with_radius(options.data, options.ego_radius)
    options.data = sources.with_columns(options.data, options.columns)
    grid = read_grid([*options.grid, *_seed_grid(options)])
    settings = read_settings([*options.settings, *_field_words(options.fields)])
    if "seed" in dict(grid) and options.seed and options.seeds is None:
        raise BadInput("--seed and --grid seed=… both say which seeds; give one of them.")
    with _at_work(options.device) as (stop, ranks):
        found = _load(options.data, options.size, ranks)
        beside = _ready(options.ready, found, names)
        plan = Plan.of(
            found,
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
            ready=[one for one, _ in beside],
        )
        path = comparing.place(plan, options.out)

        @contextmanager
        def measuring(title: str) -> Iterator[Callable[[str, int, int], None]]:
            with counting(title) as progress:
                yield progress.named

        made = comparing.compare(
            plan,
            found,
            path,
            world=ranks,
            stop=stop,
            watch=lambda title, events: _watch(title, events, ranks),
            progress=measuring,
            say=say if ranks.is_main else lambda _: None,
            ready={one.name: samples for one, samples in beside},
        )
        if not ranks.is_main:
            return
        if options.json:
            as_json(made.to_json())
            say(path / "report.html")
        else:
            alike = [row for row in made.rows if not row.of.reward]
            for part in terminal_tables(alike, width=_width()):
                show_table(part)
            for task in made.ranking.tasks:
                title = f"Reward: {task.reward}"
                for part in terminal_tables(task.rows, title, width=_width()):
                    show_table(part)
            out(made.ranking.words)
            out(path / "report.html")


def _ready(
    words: Sequence[str], data: DataSet, recipes: Sequence[str] | None
) -> list[tuple[Ready, Tensor]]:
    """Read the samples of each NAME=PATH."""
    made: list[tuple[Ready, Tensor]] = []
    taken = set(recipes or fitting(data.domain))
    for word in words:
        name, sign, path = word.partition("=")
        if not sign or not path or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
            raise BadInput(
                f"--with '{word}' was given; give NAME=PATH, a name of letters and digits and the "
                "file or folder of the samples."
            )
        if name in taken:
            raise BadInput(f"--with names '{name}', which is another row; give another name.")
        taken.add(name)
        samples = ready(Path(path).expanduser(), data)
        made.append((Ready.of(name, path, samples), samples))
    return made


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
    settings, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        name, sign, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise BadInput(f"'{word}' is no option of compare; see 'trilemma compare --help'.")
        if not sign:
            if not rest or rest[0].startswith("--"):
                raise BadInput(f"--{name} was given without a value; give --{name} VALUE.")
            value = rest.pop(0)
        settings.append(f"{name}={value}")
    return settings


def _width() -> int:
    """Return how many characters a line of a table may have."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED


def verify(options: argparse.Namespace) -> int:
    """Run the laws and print the table."""
    if options.run is not None:
        loaded = load(options.run, warn=warn)
        checks = trained_laws(loaded.model, loaded.data().test.x)
    else:
        checks = library_laws()
    rows = []
    with counting("laws") as progress:
        for done, check in enumerate(checks, 1):
            rows += [
                {**dataclasses.asdict(law), "holds": law.holds, "seconds": seconds}
                for law, seconds in timed([check])
            ]
            progress(done, len(checks))
    holds = all(row["holds"] for row in rows)
    if options.json:
        as_json({"holds": holds, "laws": rows})
    else:
        table(
            f"{sum(r['holds'] for r in rows)} of {len(rows)} laws hold",
            ["", "law", "source", "measured", "", "expected", "tolerance", "seconds"],
            [
                [
                    "✓" if r["holds"] else "✗",
                    r["name"],
                    r["source"],
                    f"{r['measured']:.6g}",
                    r["relation"],
                    f"{r['expected']:.6g}",
                    f"{r['tolerance']:.1e}",
                    f"{r['seconds']:.2f}",
                ]
                for r in rows
            ],
        )
    return 0 if holds else 1
