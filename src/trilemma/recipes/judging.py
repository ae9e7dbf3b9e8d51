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
from trilemma.recipes.runs import Loaded
from trilemma.training.distributed import World

__all__ = ["EACH_MODE", "SAMPLES", "default_samples", "judge_run", "training_cost"]

SAMPLES = {"image": 2000, "points": 5000, "graph": 256}
"""Samples measured unless another number is asked for."""
EACH_MODE = 26
"""Fewest samples measured for each mode: 26,000 for stacked-mnist, as the field counts."""


def default_samples(data: DataSet) -> int:
    """Return how many samples of a model of these data are measured unless a number is given."""
    return max(SAMPLES[data.domain.kind], EACH_MODE * mode_count(data))


def training_cost(loaded: Loaded) -> dict[str, float]:
    """Read what training took from the run's events: wall seconds, and examples a second."""
    for event in reversed(loaded.run.events()):
        if event["kind"] == "done":
            return {k: event[k] for k in ("train_seconds", "train_examples_per_second")}
        if event["kind"] == "step":
            rate = event["examples_per_second"]
            return {"train_seconds": event["seconds"], "train_examples_per_second": rate}
    return {}


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
        "extractor": found.extractor,
        "extractor_note": found.note,
        **found.to_json(),
    }
    plain["cost"] = {**training_cost(loaded), **plain["cost"]}
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
