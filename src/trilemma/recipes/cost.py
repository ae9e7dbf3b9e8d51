"""What a step of a recipe costs, counted before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from trilemma.data.dataset import DataSet
from trilemma.recipes.recipe import Recipe
from trilemma.recipes.runs import untrained

__all__ = ["cost_of_a_step"]


class FlopCount(TorchDispatchMode):
    """Counts the floating-point operations of what is computed, by torch's own formulas.

    torch's `FlopCounterMode` also follows modules, which a gradient of a gradient (R1) breaks, and
    imports torch's compiler, which takes longer than all else that `trilemma show` does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch that nothing is compiled here, so that it need not import its compiler."""
        return False

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        formula = flop_registry.get(func.overloadpacket)
        if formula is None:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=result)
        return result


def cost_of_a_step(recipe: Recipe, data: DataSet) -> dict[str, int]:
    """Count parameters, and floating-point operations of a step of the first stage."""
    model = untrained(recipe, data.domain, 0)
    stage = recipe.stages(model, data, 0)[0]
    stream = stage.stream()
    with FlopCount() as count:
        for objective in stage.model.objectives():
            batch = stream.batch(0)
            for _ in range(objective.repeat):
                torch.autograd.grad(objective.loss(batch).value, list(objective.parameters))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "flops_per_step": count.total,
    }
