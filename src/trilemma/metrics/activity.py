"""How many numbers of a code say something of the example."""

from __future__ import annotations

import torch

from trilemma.core.model import Latent
from trilemma.core.noise import Noise, mix
from trilemma.metrics.context import Context
from trilemma.metrics.metric import Metric, Need
from trilemma.metrics.score import Score

__all__ = ["METRICS", "active_units"]


def active_units(context: Context) -> Score:
    """Count the numbers of a code whose mean varies over test examples."""
    x = context.test
    with torch.no_grad():
        noise = Noise.for_samples(mix(context.seed, "codes"), 0, len(x), context.device)
        activity = context.required_model.latent_activity(x.to(context.device), noise)
    return Score(
        activity.active,
        low=activity.active,
        high=activity.active,
        unit=f"of {activity.units}",
        n=len(x),
        protocol="numbers of the code whose mean varies over test examples by more than 0.01 "
        f"(Burda, Grosse & Salakhutdinov, 2016), {len(x)} examples",
    )


METRICS = (
    Metric(
        name="active_units",
        label="active units",
        better="higher",
        section="codes",
        meaning="Numbers of the code that say something of the example; the others have collapsed "
        "onto the prior.",
        failure="A number is active or not: how much it says is not told.",
        needs=Need(
            has=lambda model: isinstance(model, Latent),
            absence="the model has no code whose numbers could collapse",
        ),
        estimand="none: it is a count over these examples, whose ends are the count",
        measure=active_units,
    ),
)
