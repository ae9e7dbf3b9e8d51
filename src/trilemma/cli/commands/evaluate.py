"""Measures a run, or samples that another program made."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from trilemma.cli.arguments import (
    above_zero,
    add_device,
    add_reading,
    add_seed,
    add_size,
)
from trilemma.cli.command import Command, Parser

if TYPE_CHECKING:
    from trilemma.metrics.evaluation import Evaluation

__all__ = ["COMMAND"]

INTERRUPTED = "measuring was stopped; nothing was written."


def arguments(parser: Parser) -> None:
    """Add what may be asked."""
    add_device(parser)
    parser.add_argument("run", type=Path, metavar="RUN_OR_SAMPLES")
    parser.add_argument("--samples", type=above_zero(int), default=None, metavar="N")
    parser.add_argument(
        "--draws", type=above_zero(int), metavar="K", help="of the importance-weighted bound"
    )
    add_seed(parser)
    parser.add_argument(
        "--data",
        metavar="NAME_OR_PATH",
        help="where the same data now lie; what samples that another program made imitate",
    )
    add_size(parser, "with ready samples: as of train")
    add_reading(parser)


def run(options: argparse.Namespace) -> None:
    """Measure all that the model can answer, or samples that another program made."""
    from trilemma.core.errors import BadInput
    from trilemma.training.record import read_record

    if options.run.exists() and not (options.run / "recipe.json").exists():
        _evaluate_ready(options)
        return
    read_record(options.run)
    for name in ("size", "columns", "target", "ego_radius"):
        if getattr(options, name) is not None:
            raise BadInput(
                f"--{name.replace('_', '-')} is for samples that another program made; a run "
                "knows its data."
            )
    from trilemma.api.display import warn
    from trilemma.api.working import at_work, read_data
    from trilemma.cli.terminal import as_json
    from trilemma.recipes.evaluate import judge_run
    from trilemma.recipes.run_data import location
    from trilemma.recipes.runs import load
    from trilemma.report import gallery

    with at_work(options.device, options.seed) as session:
        loaded = load(options.run, warn=warn, device=session.device)
        where = location(loaded.run, options.data)
        size = loaded.run.recipe["data"]["size"]
        data_set, change = loaded.with_changes(read_data(where, size, session))
        if change:
            session.warn(change)
        with session.but(interruption=INTERRUPTED).counted("measuring") as measuring:
            evaluation = judge_run(
                loaded,
                data_set,
                session=measuring,
                samples=options.samples,
                draws=options.draws,
                data_change=change,
            )
        if not session.world.is_main:
            return
        gallery.run_report(loaded.run, data_set, loaded.model.cpu())
        if options.json:
            as_json(evaluation.to_json())
        else:
            _show(evaluation)


def _evaluate_ready(options: argparse.Namespace) -> None:
    """Measure samples that another program made."""
    from trilemma.api.working import at_work, read_data
    from trilemma.cli.terminal import as_json
    from trilemma.core.errors import BadInput
    from trilemma.data import sources
    from trilemma.data.ready import ready
    from trilemma.recipes.evaluate import default_samples, judge_ready

    path = options.run
    if options.data is None:
        raise BadInput(
            f"{path} holds no recipe.json, so it is no run; if it holds samples that another "
            "program made, say what they imitate: --data NAME_OR_PATH."
        )
    if options.draws is not None:
        raise BadInput("--draws is of the bound of a model, and samples alone have none.")
    with at_work(options.device, options.seed) as session:
        source = sources.declared(
            options.data, radius=options.ego_radius, columns=options.columns, target=options.target
        )
        data = read_data(source, options.size, session)
        samples = ready(path, data)
        requested_count = options.samples
        if requested_count is not None and requested_count > len(samples):
            raise BadInput(
                f"--samples {requested_count} was given, and {path} holds {len(samples)}."
            )
        with session.but(interruption=INTERRUPTED).counted("measuring") as measuring:
            evaluation = judge_ready(
                path.stem,
                path,
                samples,
                data,
                session=measuring,
                n=requested_count or min(len(samples), default_samples(data)),
            )
        if not session.world.is_main:
            return
        if options.json:
            as_json(evaluation.to_json())
        else:
            _show(evaluation)


def _show(evaluation: Evaluation) -> None:
    """Give an evaluation as a table."""
    from trilemma.cli.terminal import out, table
    from trilemma.core.words import duration, number
    from trilemma.metrics.registry import variants

    variant_names = variants()
    table(
        f"{evaluation.recipe} on {evaluation.data} ({evaluation.split}), n = {evaluation.n:,}, "
        f"seed {evaluation.seed}, {evaluation.device}",
        ["metric", "value", "95 % interval", "unit", "by", "better", "floor", "baselines"],
        [
            [
                f"{name}({evaluation.extractor})" if name in ("fd", "kd") else name,
                number(s.value),
                f"{number(s.low)} … {number(s.high)}",
                s.unit,
                s.by,
                s.better,
                number(s.floor),
                ", ".join(f"{k} {number(v)}" for k, v in s.baselines.items()),
            ]
            for name, s in sorted(
                evaluation.metrics.items(), key=lambda item: item[0] in variant_names
            )
        ],
    )
    for name, reason in evaluation.skipped.items():
        out(f"{name}: not measured: {reason}")
    if cost := evaluation.cost.measured():
        out("cost: " + ", ".join(f"{k} {number(v)}" for k, v in cost.items()))
    longest = sorted(evaluation.seconds.items(), key=lambda item: -item[1])[:4]
    longest_steps = ", ".join(f"{name} {duration(seconds)}" for name, seconds in longest)
    out(f"measuring: {duration(sum(evaluation.seconds.values()))}, of which {longest_steps}")


COMMAND = Command(
    summary="measure a trained run, or ready samples",
    order=7,
    arguments=arguments,
    run=run,
)
