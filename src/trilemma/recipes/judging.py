"""Measuring a run: the judge's scores with the cost of training beside them, kept in the run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from safetensors.torch import save_file

from trilemma.core.errors import BadInput
from trilemma.data.dataset import DataSet
from trilemma.metrics.judge import Against, judge
from trilemma.metrics.likelihood import DRAWS
from trilemma.metrics.modes import mode_count
from trilemma.recipes.recipe import updates_wanted
from trilemma.recipes.runs import Loaded
from trilemma.training.convergence import training_state
from trilemma.training.distributed import World
from trilemma.training.environment import environments

__all__ = ["EACH_MODE", "SAMPLES", "default_samples", "judge_run", "training_of"]

SAMPLES = {"image": 2000, "points": 5000, "graph": 256}
"""Samples measured unless another number is asked for."""
EACH_MODE = 26
"""Fewest samples measured for each mode: 26,000 for stacked-mnist, as the field counts."""


def default_samples(data: DataSet) -> int:
    """Return how many samples of a model of these data are measured unless a number is given."""
    return max(SAMPLES[data.domain.kind], EACH_MODE * mode_count(data))


def training_of(loaded: Loaded, data: DataSet) -> dict[str, Any]:
    """Read what training took from the run's events: of training alone, without previews.

    Returns:
        'seconds', 'updates', 'examples', 'epochs', 'state' (`training.convergence`), 'wanted', the
        updates at which a comparison ranks the recipe, 'processor' and 'threads'; nothing of a run
        that was not trained.
    """
    events = loaded.run.events()
    last = next((e for e in reversed(events) if e["kind"] in ("done", "step")), None)
    if last is None:
        return {}
    seconds = last.get("train_seconds", last.get("seconds", 0.0))
    examples = last.get("examples", last.get("examples_per_second", 0.0) * seconds)
    wanted = updates_wanted(loaded.recipe, len(data.train))
    where = environments(loaded.run)[-1]
    return {
        "seconds": seconds,
        "updates": last.get("updates", last["step"]),
        "examples": round(examples),
        "epochs": last.get("epochs", examples / len(data.train)),
        "state": training_state(events, wanted),
        "wanted": wanted,
        "processor": where.get("processor", ""),
        "threads": where.get("threads", 0),
    }


def training_cost(training: Mapping[str, Any]) -> dict[str, float]:
    """Return seconds of training, and examples a second of it."""
    if not training or not training["seconds"]:
        return {}
    rate = training["examples"] / training["seconds"]
    return {"train_seconds": training["seconds"], "train_examples_per_second": rate}


def judge_run(
    loaded: Loaded,
    data: DataSet,
    *,
    samples: int | None,
    seed: int,
    draws: int | None = None,
    world: World,
    check: Callable[[], None],
    progress: Callable[[str, int, int], None] | None = None,
    against: Against | None = None,
) -> Mapping[str, Any]:
    """Measure all that the model can answer, and keep it in the run as evaluation.json.

    Returns:
        The evaluation in plain values.
    """
    n = samples or default_samples(data)
    training = training_of(loaded, data)
    device = next(loaded.model.parameters()).device
    found = judge(
        loaded.model,
        data,
        n=n,
        seed=seed,
        draws=draws or DRAWS,
        device=device,
        against=against,
        world=world,
        progress=progress,
        check=check,
    )
    plain = {
        "recipe": loaded.recipe.name,
        "family": loaded.recipe.family,
        "data": data.name,
        "split": "test",
        "n": n,
        "seed": seed,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "step": loaded.step,
        "test_examples": len(data.test),
        "reward": loaded.recipe.reward,
        "training": training,
        "extractor": found.extractor,
        "extractor_note": found.note,
        **found.to_json(),
    }
    plain["cost"] = {**training_cost(training), **plain["cost"]}
    if world.is_main:
        _keep(loaded, plain, found.samples, found.neighbours)
    return plain


def _keep(
    loaded: Loaded, plain: Mapping[str, Any], samples: torch.Tensor, nearest: torch.Tensor
) -> None:
    """Write both files beside the run's own, each whole or not at all."""
    folder = loaded.run.path
    shown = {"samples": samples[: 2000 if samples.dim() == 2 else 64].contiguous()}
    shown["nearest"] = nearest.contiguous()
    try:
        save_file(shown, folder / "evaluation.safetensors.tmp")
        os.replace(folder / "evaluation.safetensors.tmp", folder / "evaluation.safetensors")
        (folder / "evaluation.json.tmp").write_text(json.dumps(plain, indent=2))
        os.replace(folder / "evaluation.json.tmp", folder / "evaluation.json")
    except OSError as error:
        raise BadInput(f"cannot write the evaluation in {folder}: {error.strerror}.") from None
