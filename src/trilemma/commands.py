"""What each command of the line does. Results go to stdout; what people watch, to stderr."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from trilemma import compare as comparing
from trilemma import drawing, gallery
from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.core.model import capabilities
from trilemma.core.sampling import Conditions
from trilemma.data import check as data_check
from trilemma.data import sources
from trilemma.data.dataset import DataSet
from trilemma.data.given import HALVES, is_image
from trilemma.data.given import given as given_image
from trilemma.doctor import examine
from trilemma.laws.book import library_laws, timed
from trilemma.laws.trained import trained_laws
from trilemma.recipes.catalog import CATALOG, named
from trilemma.recipes.fields import fields, parse
from trilemma.recipes.judging import judge_run
from trilemma.recipes.runs import begin, conditions, free_path, go_on, load, untrained
from trilemma.report.tables import terminal_table
from trilemma.report.words import MEANINGS, number
from trilemma.terminal import Steps, as_json, counting, out, say, show_table, table, warn
from trilemma.training.budget import Budget
from trilemma.training.distributed import World, world
from trilemma.training.precision import choose_device
from trilemma.training.run import Run
from trilemma.training.signals import Stop, listening
from trilemma.training.trainer import Event

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Carry out one command and return its exit status."""
    verb = {
        "list": list_things,
        "show": show,
        "data": data,
        "train": train,
        "resume": resume,
        "sample": sample,
        "evaluate": evaluate,
        "compare": compare,
        "verify": verify,
        "doctor": doctor,
    }[options.verb]
    return verb(options) or 0


# --- what there is -------------------------------------------------------------------------------


def list_things(options: argparse.Namespace) -> None:
    """List recipes, data, metrics or laws, a line each."""
    what = options.what
    if what == "data":
        return list_data(options)
    if what == "recipes":
        small = {
            "image": sources.load("digits").domain,
            "points": sources.load("two-moons").domain,
        }
        rows = [
            {
                "name": name,
                "family": kind.family,
                "capabilities": list(capabilities(untrained(kind(), small[kind.kinds[0]], 0))),
                "fits": list(kind.kinds),
                "reference": kind.reference,
            }
            for name, kind in CATALOG.items()
        ]
    elif what == "metrics":
        rows = [
            {"name": name, "better": known.better, "meaning": known.words}
            for name, known in MEANINGS.items()
        ]
    else:
        rows = [{"name": law.name, "source": law.source} for law, _ in timed(library_laws())]
    if options.json:
        as_json({what: rows})
    else:
        columns = list(rows[0])
        cells = [
            [", ".join(v) if isinstance(v, list) else v for v in row.values()] for row in rows
        ]
        table(what, columns, cells)
    return None


def list_data(options: argparse.Namespace) -> None:
    """List the data sets by name, and which of them are here."""
    rows = [
        {
            "name": name,
            "kind": source.kind,
            "here": sources.available(name),
            "description": source.description,
            "licence": source.licence,
            "get": source.how,
        }
        for name, source in sources.NAMES.items()
    ]
    if options.json:
        as_json({"data": rows})
    else:
        table(
            "data: a name below, or a path of your own",
            ["name", "kind", "here", "description", "licence", "how to get it"],
            [
                [*list(r.values())[:2], "yes" if r["here"] else "no", *list(r.values())[3:]]
                for r in rows
            ],
        )


def show(options: argparse.Namespace) -> None:
    """Show a recipe's fields, parameters, and what a step costs."""
    kind = named(options.recipe)
    if options.plots:
        for path in drawing.plots(kind, options.plots):
            out(path)
        return
    data_set = sources.load(options.data or ("digits" if "image" in kind.kinds else "two-moons"))
    recipe = kind()
    cost = drawing.cost_of_a_step(recipe, data_set)
    info = {
        "name": kind.name,
        "family": kind.family,
        "reference": kind.reference,
        "fits": list(kind.kinds),
        "capabilities": list(capabilities(untrained(recipe, data_set.domain, 0))),
        "data": data_set.name,
        **cost,
        "fields": [field.to_json() for field in fields(kind)],
    }
    if options.json:
        as_json(info)
        return
    out(f"{kind.name} · {kind.family} · {kind.reference}")
    out(
        f"on {data_set.name}: {cost['parameters']:,} parameters, "
        f"{cost['flops_per_step'] / 1e9:.3g} GFLOP a step of {recipe.batch}; "
        f"can {', '.join(info['capabilities'])}"
    )
    table(
        "",
        ["field", "type", "default", "meaning"],
        [
            [f"--{f.name}", "|".join(map(str, f.choices)) or f.type.__name__, f.default, f.meaning]
            for f in fields(kind)
        ],
    )


def data(options: argparse.Namespace) -> int:
    """List, fetch or check data; 1 if what was checked cannot be used."""
    if options.action == "list":
        list_data(options)
        return 0
    if options.name is None:
        raise BadInput(f"'trilemma data {options.action}' needs a name or a path.")
    if options.action == "fetch":
        say(f"fetching {options.name} …")
        out(sources.fetch(options.name))
        return 0
    with counting("reading") as progress:
        report = data_check.check(options.name, size=options.size, progress=progress)
    if options.json:
        as_json(report.to_json())
    else:
        for line in report.lines():
            out(line)
    if report.sheet is not None and len(report.sheet):
        sheet = options.out or Path(f"{Path(options.name).name or 'data'}-sheet.png")
        drawing.save_picture(drawing.contact_sheet(report), sheet)
        say(f"contact sheet: {sheet}")
    return 0 if report.holds else 1


def doctor(options: argparse.Namespace) -> int:
    """Tell what is here, how fast it is, what is broken and what to do."""
    found = examine()
    if options.json:
        as_json(found)
    else:
        table("doctor", ["what", "found"], [[k, v] for k, v in found["facts"].items()])
        for problem in found["problems"]:
            warn(problem)
        if not found["problems"]:
            out("nothing is broken.")
    return 0


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


def train(options: argparse.Namespace) -> None:
    """Make a run and train it."""
    recipe = parse(named(options.recipe), options.fields)
    with _at_work(options.device) as (stop, ranks):
        found = _load(options.data, options.size, ranks)
        run, events = begin(
            recipe,
            found,
            source=options.data,
            path=options.run or free_path(recipe.name, found.name),
            budget=_budget(options) or Budget(minutes=1.0),
            seed=options.seed,
            size=options.size,
            precision=options.precision,
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
        found = _load(
            options.data or run.recipe["data"]["source"], run.recipe["data"]["size"], ranks
        )
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
            elif event.kind == "skipped":
                say(f"{title}: step {event.step}: an update was not finite and was left out")
            elif event.kind == "warning":
                warn(told["message"])
            elif event.kind == "resumed":
                say(f"{title}: going on from {told['path']}")
            elif event.kind == "stopped":
                say(f"{title}: stopped at step {event.step}: {told['reason']}")


# --- drawing and measuring -----------------------------------------------------------------------


def sample(options: argparse.Namespace) -> None:
    """Draw samples and write them in the form that the name asks for."""
    chosen = {
        "sample_steps": options.steps,
        "sampler": options.sampler,
        "guidance": options.guidance,
    }
    with _at_work(options.device) as (stop, ranks):
        loaded = load(options.run, warn=warn, device=ranks.device, at_sampling=chosen)
        if options.cond is not None and is_image(options.cond):
            drawing.refuse_completion(loaded)
        wanted, given = _wanted(loaded.domain, options.cond, options.mask)
        target = options.out or _free(
            loaded.run.path / "samples", f"seed{options.seed}-n{options.n}", ".png"
        )
        with counting("sampling") as progress:
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
            )
        if ranks.is_main:
            out(target)


def _wanted(
    domain: Domain, cond: str | None, mask: str | None
) -> tuple[Conditions | None, tuple[Tensor, Tensor] | None]:
    """Read what samples are to be: of a class, or the completion of an image."""
    if cond is not None and is_image(cond):
        if mask is None:
            raise BadInput(
                f"--cond {cond} is an image, and --mask is missing: a black and white image of "
                f"its size, white where something is to be drawn, or one of {', '.join(HALVES)}."
            )
        return None, given_image(cond, mask, domain)
    if mask is not None:
        raise BadInput("--mask goes with --cond IMAGE, the image of which a part is kept.")
    return (conditions(domain, cond) if cond else None), None


def _free(folder: Path, stem: str, suffix: str) -> Path:
    """Return the first name that is not taken."""
    path, number = folder / f"{stem}{suffix}", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}{suffix}", number + 1
    return path


def evaluate(options: argparse.Namespace) -> None:
    """Measure all that the model can answer."""
    with _at_work(options.device) as (stop, ranks):
        loaded = load(options.run, warn=warn, device=ranks.device)
        record = loaded.run.recipe["data"]
        data_set = loaded.same(_load(options.data or record["source"], record["size"], ranks))
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
            as_json(found)
        else:
            show_evaluation(found)


def show_evaluation(found: Mapping[str, Any]) -> None:
    """Give an evaluation as a table."""
    table(
        f"{found['recipe']} on {found['data']} ({found['split']}), n = {found['n']:,}, "
        f"seed {found['seed']}, {found['device']}",
        ["metric", "value", "95 % interval", "unit", "by", "better", "floor", "baselines"],
        [
            [
                f"{name}({found['extractor']})" if name in ("fd", "kd") else name,
                number(s["value"]),
                f"{number(s['low'])} … {number(s['high'])}",
                s["unit"],
                s["by"],
                s["better"],
                number(s["floor"]),
                ", ".join(f"{k} {number(v)}" for k, v in s["baselines"].items()),
            ]
            for name, s in found["metrics"].items()
        ],
    )
    for name, reason in found["skipped"].items():
        out(f"{name}: not measured: {reason}")
    out("cost: " + ", ".join(f"{k} {number(v)}" for k, v in found["cost"].items()))


def compare(options: argparse.Namespace) -> None:
    """Train and measure several recipes alike, and say which to use."""
    names = [w.strip() for w in options.recipes.split(",")] if options.recipes else None
    for name in names or ():
        named(name)
    with _at_work(options.device) as (stop, ranks):
        found = _load(options.data, options.size, ranks)
        plan = comparing.Plan.of(
            found,
            options.data,
            size=options.size,
            recipes=names,
            minutes=options.minutes,
            samples=options.samples,
            seed=options.seed,
            device=options.device,
            precision=options.precision,
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
        )
        if not ranks.is_main:
            return
        if options.json:
            as_json({k: made[k] for k in ("data", "seed", "minutes", "rows")})
            say(path / "report.html")
        else:
            show_table(terminal_table(made["rows"]))
            out(made["verdict"])
            out(path / "report.html")


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
