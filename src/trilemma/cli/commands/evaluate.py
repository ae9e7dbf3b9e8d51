"""Measures a run, or samples that another program made."""

from __future__ import annotations

import argparse
import os
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
    from trilemma.api.evaluating import Evaluation

__all__ = ["COMMAND"]


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

    path = options.run
    is_run = not path.exists() or (path / "recipe.json").exists()
    if is_run:
        read_record(path)
        for name in ("size", "columns", "target", "ego_radius"):
            if getattr(options, name) is not None:
                raise BadInput(
                    f"--{name.replace('_', '-')} is for samples that another program made; a run "
                    "knows its data."
                )
    elif options.data is None:
        raise BadInput(
            f"{path} holds no recipe.json, so it is no run; if it holds samples that another "
            "program made, say what they imitate: --data NAME_OR_PATH."
        )
    from trilemma.api.evaluating import evaluate
    from trilemma.cli.terminal import as_json

    evaluation = evaluate(
        path,
        options.data,
        samples=options.samples,
        draws=options.draws,
        seed=options.seed,
        size=options.size,
        columns=options.columns,
        target=options.target,
        radius=options.ego_radius,
        device=options.device,
    )
    if os.environ.get("RANK", "0") != "0":
        return
    if options.json:
        as_json(evaluation.to_json())
    else:
        _show(evaluation)


def _show(evaluation: Evaluation) -> None:
    """Give an evaluation as a table."""
    from trilemma.cli.terminal import out, table
    from trilemma.core.words import duration, number

    rows = evaluation.rows()
    measured = evaluation.measured
    table(
        f"{evaluation.title}, {measured.device}",
        ["metric", "value", "95 % interval", "unit", "by", "better", "floor", "baselines"],
        [list(row.values()) for row in rows],
    )
    for name, reason in evaluation.skipped.items():
        out(f"{name}: not measured: {reason}")
    if evaluation.cost:
        out("cost: " + ", ".join(f"{k} {number(v)}" for k, v in evaluation.cost.items()))
    longest = sorted(measured.seconds.items(), key=lambda item: -item[1])[:4]
    longest_steps = ", ".join(f"{name} {duration(seconds)}" for name, seconds in longest)
    out(f"measuring: {duration(sum(measured.seconds.values()))}, of which {longest_steps}")


COMMAND = Command(
    summary="measure a trained run, or ready samples",
    order=7,
    arguments=arguments,
    run=run,
)
