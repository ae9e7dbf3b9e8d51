"""A model card: what people should know of weights that travel, in Markdown.

What a card says is read from the run: its record, its events, what was measured of it. What is
not known stands there as not known.

References:
    Model cards for model reporting, Mitchell et al., 2019, arXiv:1810.03993.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trilemma.core.errors import BadInput
from trilemma.core.words import duration, joined, written
from trilemma.data import sources
from trilemma.data.location import bare
from trilemma.metrics.evaluation import Evaluation
from trilemma.metrics.metric import Metric
from trilemma.metrics.registry import quantity
from trilemma.recipes.evaluate import evaluation_of
from trilemma.recipes.runs import Loaded
from trilemma.training.environment import environments
from trilemma.training.exported import is_exported, write_exported

__all__ = ["export", "model_card"]


def export(loaded: Loaded, target: Path) -> None:
    """Write a run's averaged weights, its record and its model card into a new folder.

    Paths of the machine that it was trained on are cut down to their last name.

    Arguments:
        loaded: The run.
        target: The folder; nothing may be there.

    Raises:
        BadInput: The run is an exported folder itself, or the target exists or may not be written.
    """
    path = loaded.run.path
    record = loaded.run.recipe
    if is_exported(record):
        raise BadInput(f"{path} is an export already; copy the folder.")
    travelling = {
        **record,
        "data": {**record["data"], "source": _without_folders(record["data"]["source"])},
        "environment": dict(loaded.run.environment),
    }
    if "start" in record:
        origin = Path(record["start"]["run"]).name
        travelling["start"] = {**record["start"], "run": origin}
    card = model_card(loaded, evaluation_of(path), target.resolve().name)
    write_exported(target, travelling, loaded.model.state_dict(), step=loaded.step, card=card)


def model_card(loaded: Loaded, evaluation: Evaluation | None, folder: str) -> str:
    """Return the card of a run's weights.

    Arguments:
        loaded: The run.
        evaluation: What was measured of it; None where nothing was.
        folder: The name of the folder in which the card will stand.
    """
    recipe, record = loaded.recipe, loaded.run.recipe
    name = record["data"].get("name", record["data"]["source"])
    sections = {
        "How to use it": _usage(recipe.name, folder),
        "Data": _data(loaded),
        "Training": _training(loaded),
        "Measured": _measured(evaluation, loaded.step, folder),
        "Limits": _limits(loaded, evaluation),
    }
    summary = (inspect.getdoc(type(recipe)) or "").splitlines()[0]
    lines = [
        "---",
        "library_name: trilemma",
        f"tags: [generative, {recipe.name}, {loaded.domain.kind}]",
        "---",
        "",
        f"# {recipe.name} on {name}",
        "",
        f"A model of the family {recipe.family}, recipe `{recipe.name}`. {summary}",
        "",
        f"After: {recipe.reference}.",
    ]
    for title, section in sections.items():
        lines += ["", f"## {title}", "", *section]
    return "\n".join(lines) + "\n"


def _usage(recipe: str, folder: str) -> list[str]:
    return [
        "```python",
        "import trilemma as tl",
        "",
        f'samples = tl.load("{folder}").sample(16)',
        "```",
        "",
        "```sh",
        f"trilemma sample {folder} -n 16",
        f"trilemma train {recipe} --from {folder} --data YOUR_DATA",
        "```",
        "",
        "`recipe.json` holds size and sha256 of `model.safetensors`; they are compared when it is "
        "loaded.",
    ]


def _data(loaded: Loaded) -> list[str]:
    record, domain = loaded.run.recipe["data"], loaded.domain
    source = record["source"]
    lines = [
        f"- {record.get('name', source)}: {domain.kind} of shape "
        f"{' × '.join(map(str, domain.shape))}",
        f"- fingerprint {record['fingerprint']}, as they lie in the file",
    ]
    if counts := record.get("examples"):
        lines.append(f"- {counts['train']:,} training and {counts['test']:,} test examples")
    if domain.classes:
        lines.append(f"- classes: {joined(domain.classes)}")
    if sources.is_named(source):
        card = sources.NAMES[source.partition("@")[0]]
        return [*lines, f"- origin: {card.origin}", f"- licence: {card.licence}"]
    return [*lines, "- origin and licence: not known here; ask whoever has the data"]


def _training(loaded: Loaded) -> list[str]:
    run, record = loaded.run, loaded.run.recipe
    last = next((e for e in reversed(run.events()) if e.kind in ("done", "step")), None)
    values: Mapping[str, Any] = {} if last is None else last.values
    seconds = values.get("train_seconds", values.get("seconds"))
    budget = record["budget"]
    amount = f"{budget['steps']:,} steps" if budget.get("steps") else f"{budget['minutes']:g} min"
    machines = [
        f"{machine.get('processor', 'a processor that is not known')}, "
        f"{_counted(machine.get('threads', 0), 'thread')}, {machine.get('device', '?')}, "
        f"torch {machine.get('torch', '?')}"
        for machine in environments(run)
    ]
    lines = [
        f"- budget: {amount}; these weights are of step {loaded.step:,}"
        + (f", after {duration(seconds)} of training" if seconds else ""),
        f"- machine: {'; then '.join(dict.fromkeys(machines))}",
        f"- seed {record['seed']}, {_counted(record.get('processes', 1), 'process')}, trilemma "
        f"{record.get('version', '?')}, commit {run.environment.get('commit') or 'not known'}",
        f"- fields: {', '.join(f'{k} {v}' for k, v in written(record['fields']).items())}",
    ]
    if start := record.get("start"):
        amounts = start["taken"]
        lines.append(
            f"- started from the weights of {Path(start['run']).name}, step {start['step']:,}: "
            f"{amounts['tensors']} of {amounts['of']} tensors; frozen: "
            f"{joined(start['freeze']) or 'nothing'}"
        )
    return lines


def _measured(evaluation: Evaluation | None, step: int, folder: str) -> list[str]:
    if evaluation is None or not evaluation.metrics:
        return [f"Nothing was measured of it; `trilemma evaluate {folder}` does."]
    lines = [
        f"Of {evaluation.n:,} samples, seed {evaluation.seed}, on the {evaluation.split} split of "
        f"{evaluation.data} ({evaluation.device}, {_counted(evaluation.threads, 'thread')}). "
        "The floor is what training examples reach in the place of samples; the interval is 95 %.",
    ]
    if evaluation.step != step:
        lines.append(f"It was measured at step {evaluation.step:,}, and not at step {step:,}.")
    if evaluation.data_change:
        lines.append(f"Measured by other data: {evaluation.data_change}.")
    lines += [
        "",
        "| figure | value | interval | floor | better | n | how |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, score in evaluation.metrics.items():
        what = quantity(name)
        value, low, high, floor = map(
            what.written, (score.value, score.low, score.high, score.floor)
        )
        unit = f" {score.unit}" if score.unit else ""
        cells = (
            what.label,
            f"{value}{unit}",
            f"{low} to {high}",
            floor,
            score.better,
            f"{score.n:,}",
            score.by,
        )
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    if evaluation.skipped:
        reasons = [
            f"{what.label} ({why.rstrip('.')})"
            for what, why in ((quantity(k), why) for k, why in evaluation.skipped.items())
            if isinstance(what, Metric) and what.ranks
        ]
        if reasons:
            lines += ["", f"Not measured: {'; '.join(reasons)}."]
    return lines


def _limits(loaded: Loaded, evaluation: Evaluation | None) -> list[str]:
    lines = [
        "- It imitates its training examples, with whatever is wrong or missing in them; samples "
        "may come near to single examples.",
        "- One training from one seed; another seed gives other figures.",
        "- The weights are averaged, and there is no state of training: it cannot be resumed.",
    ]
    if loaded.recipe.goal is not None:
        lines.append(f"- It was trained for a reward, {loaded.recipe.goal}, not for likeness.")
    state = evaluation.training.state if evaluation and evaluation.training else "settled"
    if state != "settled":
        lines.append(f"- When training ended it was {state}: more of it would change the figures.")
    alarms = {e.values["message"] for e in loaded.run.events() if e.kind == "alert"}
    lines += [f"- While it trained: {sentence}" for sentence in sorted(alarms)]
    measured = [quantity(name) for name in (evaluation.metrics if evaluation else ())]
    lines += [
        f"- {what.label}: {what.failure}"
        for what in measured
        if isinstance(what, Metric) and what.ranks
    ]
    return lines


def _counted(number: int, what: str) -> str:
    """Write how many there are of something.

    >>> _counted(1, "thread"), _counted(2, "process")
    ('1 thread', '2 processes')
    """
    ending = "" if number == 1 else "es" if what.endswith("s") else "s"
    return f"{number} {what}{ending}"


def _without_folders(source: str) -> str:
    """Return a data set's name, or a path's last name with what is declared of it.

    >>> _without_folders("digits@10%"), _without_folders("/data/a/b.csv@columns:age=real")
    ('digits@10%', 'b.csv@columns:age=real')
    """
    if sources.is_named(source):
        return source
    path = bare(source)
    return Path(path).name + source[len(path) :]
