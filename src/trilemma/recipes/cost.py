"""What a step of a recipe costs, counted before anything is trained."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch.utils.flop_counter import FlopCounterMode

from trilemma.data.dataset import DataSet
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.runs import untrained

__all__ = ["cost_of_a_step"]


class _NoTracker(nullcontext):
    """Stands for torch's tracker of modules: operations are counted together, not by module."""

    parents = frozenset(("Global",))


def cost_of_a_step(recipe: Recipe, data: DataSet) -> dict[str, int]:
    """Count parameters, and floating-point operations of a step of the first stage."""
    model = untrained(recipe, data.domain, 0)
    counter = FlopCounterMode(display=False)
    # A gradient of a gradient (R1) is more than its tracker of modules can follow.
    counter.mod_tracker = _NoTracker()  # pyright: ignore[reportAttributeAccessIssue]
    stage = recipe.stages(model, data, 0)[0]
    stream = stage.stream()
    with counter:
        for objective in stage.model.objectives():
            batch = stream.batch(0)
            for _ in range(objective.repeat):
                torch.autograd.grad(objective.loss(batch).value, list(objective.parameters))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "flops_per_step": counter.get_total_flops(),
    }
