"""Measuring a run, or samples that another program made."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trilemma.api.data import read
from trilemma.api.notebook import table_html
from trilemma.api.run import Run, load
from trilemma.api.samples import examples
from trilemma.api.turns import alone
from trilemma.api.working import at_work, read_data
from trilemma.core.errors import BadInput
from trilemma.core.session import Session
from trilemma.core.words import number
from trilemma.data.dataset import DataSet
from trilemma.data.ready import FEWEST, ready
from trilemma.metrics.evaluation import Evaluation as Measured
from trilemma.metrics.registry import variants
from trilemma.metrics.score import Score
from trilemma.recipes.evaluate import default_samples, judge_ready, judge_run
from trilemma.recipes.run_data import location
from trilemma.report import gallery

__all__ = ["Evaluation", "evaluate"]

INTERRUPTED = "measuring was stopped; nothing was written."


class Evaluation:
    """What was measured: `evaluation["fd"].value`, with interval, floor and baselines.

    Arguments:
        measured: The evaluation.
    """

    def __init__(self, measured: Measured) -> None:
        self.measured = measured

    @property
    def metrics(self) -> Mapping[str, Score]:
        """Return the scores by name; each has value, low, high, unit, better, floor, baselines."""
        return self.measured.metrics

    @property
    def skipped(self) -> Mapping[str, str]:
        """Return why a metric was not measured, by name."""
        return self.measured.skipped

    @property
    def cost(self) -> dict[str, float]:
        """Return what the model cost, by name, in seconds, calls, parameters and bytes."""
        return self.measured.cost.measured()

    def __getitem__(self, name: str) -> Score:
        """Return a score.

        Raises:
            BadInput: It was not measured; the sentence says why.
        """
        if name in self.metrics:
            return self.metrics[name]
        reason = self.skipped.get(name)
        if reason is None:
            raise BadInput(f"there is no '{name}' here; measured are {', '.join(self.metrics)}.")
        raise BadInput(f"'{name}' was not measured: {reason}")

    def rows(self) -> list[dict[str, str]]:
        """Return the scores as words, a row each; those that are variants of others last."""
        variant_names, measured = variants(), self.measured
        return [
            {
                "metric": f"{name}({measured.extractor})" if name in ("fd", "kd") else name,
                "value": number(score.value),
                "interval": f"{number(score.low)} … {number(score.high)}",
                "unit": score.unit,
                "by": score.by,
                "better": score.better,
                "floor": number(score.floor),
                "baselines": ", ".join(f"{k} {number(v)}" for k, v in score.baselines.items()),
            }
            for name, score in sorted(
                self.metrics.items(), key=lambda item: item[0] in variant_names
            )
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, those of `trilemma evaluate --json`."""
        return self.measured.to_json()

    def __repr__(self) -> str:
        """Give the scores, a line each."""
        lines = [
            f"{row['metric']:28} {row['value']:>10}  {row['interval']}  {row['better']} is better"
            for row in self.rows()
        ]
        return "\n".join([self.title, *lines])

    @property
    def title(self) -> str:
        """Say what was measured of what."""
        one = self.measured
        return f"{one.recipe} on {one.data} ({one.split}), n = {one.n:,}, seed {one.seed}"

    def _repr_html_(self) -> str:
        """Show the scores in a notebook."""
        return table_html(self.title, self.rows())


def evaluate(
    run: Any,  # noqa: ANN401
    data: Any = None,  # noqa: ANN401
    *,
    samples: int | None = None,
    draws: int | None = None,
    seed: int = 0,
    size: int | None = None,
    columns: Mapping[str, str] | str | None = None,
    target: str | None = None,
    radius: int | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Evaluation:
    """Measure all that a run can answer, or samples that another program made.

    Arguments:
        run: A run or its directory; or samples: a file, a folder, an array, a DataFrame, a list.
        data: Of a run, the same data where they do not lie where they lay; of samples, what they
            imitate.
        samples: How many are measured; None takes what is usual for the kind of data.
        draws: Of the importance-weighted bound.
        seed: Of samples, baselines and intervals.
        size: With samples: the side of a folder's images that they imitate.
        columns: With samples: as of `dataset`.
        target: With samples: as of `dataset`.
        radius: With samples: as of `train`.
        device: "auto", "cpu" or "cuda".
        quiet: Whether nothing is said but warnings.

    Returns:
        Scores with intervals, floors and baselines; of a run they are kept in it.

    Raises:
        BadInput: It is no run, there are too few samples, or the data are others.
        Interrupted: A signal ended it.
    """
    run = Path(run).expanduser() if isinstance(run, str | os.PathLike) else run
    is_run = isinstance(run, Run) or (isinstance(run, Path) and (run / "recipe.json").exists())
    with alone("measuring"), at_work(device, seed, quiet=quiet) as session:
        if is_run or (isinstance(run, Path) and not run.exists()):
            return _of_run(load(run, device=device), data, session, samples=samples, draws=draws)
        if data is None:
            raise BadInput("samples alone say nothing; say what they imitate: data=….")
        if draws is not None:
            raise BadInput("draws are of the bound of a model, and samples alone have none.")
        inputs = read(data, session, size=size, columns=columns, target=target, radius=radius)
        return _of_ready(run, inputs.data, session, samples=samples)


def _of_run(
    run: Run,
    data: Any,  # noqa: ANN401
    session: Session,
    *,
    samples: int | None = None,
    draws: int | None = None,
) -> Evaluation:
    """Measure a run and write its page anew.

    Arguments:
        run: The run.
        data: The same data, or where they lie, if not where they lay.
        session: Who is told, and who may end it; its seed is that of the samples.
        samples: How many are measured.
        draws: Of the importance-weighted bound.
    """
    loaded = run.loaded
    if data is None or isinstance(data, str):
        where = location(loaded.run, data)
        data_set = read_data(where, loaded.run.recipe["data"]["size"], session)
    else:
        data_set = read(data, session).data
    data_set, change = loaded.with_changes(data_set)
    if change:
        session.warn(change)
    with session.but(interruption=INTERRUPTED).counted("measuring") as measuring:
        measured = judge_run(
            loaded, data_set, session=measuring, samples=samples, draws=draws, data_change=change
        )
    if session.world.is_main:
        gallery.run_report(loaded.run, data_set)
    return Evaluation(measured)


def _of_ready(
    given_samples: Any,  # noqa: ANN401
    data: DataSet,
    session: Session,
    *,
    samples: int | None = None,
) -> Evaluation:
    """Measure samples that another program made.

    Arguments:
        given_samples: A file or a folder of them, or what a program has in memory.
        data: What they imitate.
        session: Who is told, and who may end it.
        samples: How many are measured.
    """
    if isinstance(given_samples, str | os.PathLike):
        path = Path(given_samples).expanduser()
        name, x = path.stem, ready(path, data)
    else:
        path, name = Path("memory"), "samples"
        x = examples(given_samples, data.domain, name)
        if len(x) < FEWEST:
            raise BadInput(
                f"{len(x)} samples were given, and fewer than {FEWEST} measure nothing; draw some "
                "hundreds at least."
            )
    if samples is not None and samples > len(x):
        raise BadInput(f"{samples} samples were asked for, and {name} holds {len(x)}.")
    with session.but(interruption=INTERRUPTED).counted("measuring") as measuring:
        measured = judge_ready(
            name,
            path,
            x,
            data,
            session=measuring,
            n=samples or min(len(x), default_samples(data)),
        )
    return Evaluation(measured)
