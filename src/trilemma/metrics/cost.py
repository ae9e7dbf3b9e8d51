"""What a model costs: time, evaluations of its network, memory, and its training."""

from __future__ import annotations

from trilemma.core.words import count, duration
from trilemma.metrics.metric import Quantity

__all__ = ["COSTS", "OF_TRAINING", "SPEED"]


def _mebibytes(value: float) -> str:
    return f"{value / 2**20:,.0f} MiB"


SPEED = Quantity(
    name="sample_seconds_each",
    label="time / sample",
    better="lower",
    meaning="Time to draw one sample, drawn many at once.",
    write=duration,
)
OF_TRAINING = (
    Quantity(
        name="updates",
        label="updates",
        meaning="Updates of the weights; ‘warming up’: too few to be ranked; ‘falling’: the loss "
        "still fell over the last third, beyond its noise.",
        write=count,
    ),
    Quantity(
        name="epochs",
        label="epochs",
        meaning="How often training went through the data.",
    ),
)
"""What stands under 'training' in JSON."""
COSTS = (
    SPEED,
    Quantity(
        name="network_calls_each",
        label="calls",
        better="lower",
        meaning="How often the network is evaluated for one sample.",
        write=count,
    ),
    Quantity(
        name="parameters", label="parameters", meaning="Trained numbers in the model.", write=count
    ),
    Quantity(
        name="train_seconds",
        label="training",
        meaning="Seconds of training alone, without previews, saves and measuring.",
        write=duration,
    ),
    *OF_TRAINING,
    Quantity(
        name="train_examples_per_second",
        label="examples / s",
        meaning="Training examples seen in a second.",
        write=count,
    ),
    Quantity(
        name="peak_memory_bytes",
        label="memory",
        better="lower",
        meaning="Most memory held at once.",
        write=_mebibytes,
    ),
)
"""In the order of a table; the last stands in files and not in tables."""
