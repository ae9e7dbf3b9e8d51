"""An evaluation: what was measured of one run, how long that took, and how it was trained.

What stands in a run's `evaluation.json` is made and read here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from trilemma.core.errors import BadInput
from trilemma.metrics.score import Score

__all__ = ["Evaluation", "Spent", "Training"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """What training took: of training alone, without previews, saves and measuring."""

    seconds: float = 0.0
    updates: int = 0
    examples: int = 0
    epochs: float = 0.0
    state: str = "settled"
    """'warming up', 'falling' or 'settled', by the rule of `training.convergence`."""
    wanted: int = 0
    """Updates from which on a comparison ranks the recipe."""
    processor: str = ""
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a model cost; None where it was not measured."""

    train_seconds: float | None = None
    train_examples_per_second: float | None = None
    sample_seconds_each: float | None = None
    """Wall time of drawing, on one process, per sample."""
    network_calls_each: float | None = None
    """How often a network was evaluated for one sample: rows given to the busiest outermost
    module while the model draws, per sample drawn."""
    parameters: float | None = None
    """Numbers that are trained."""
    peak_memory_bytes: float | None = None
    """The most that the process (on a GPU: its tensors) had held."""

    def measured(self) -> dict[str, float]:
        """Return what was measured, by name."""
        return {k: v for k, v in vars(self).items() if v is not None}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured of a run on a data set, what could not be, and what it cost."""

    recipe: str
    family: str = ""
    data: str = ""
    split: str = "test"
    n: int = 0
    """Samples."""
    seed: int = 0
    device: str = "cpu"
    threads: int = 0
    processor: str = ""
    """By name, that or the accelerator on which it was measured; '' where nobody kept it."""
    step: int = 0
    test_examples: int | None = None
    source: str = ""
    """Where the samples were read from, of samples that another program made: no run, no model."""
    data_change: str = ""
    """How the data that it was measured by differ from those that it was trained on."""
    reward: str | None = None
    """What the recipe sought in the place of likeness to the data."""
    training: Training | None = None
    extractor: str = ""
    extractor_note: str = ""
    metrics: Mapping[str, Score] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Reason by metric."""
    cost: Spent = field(default_factory=Spent)
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Where measuring spent its time: by metric, and for samples."""
    label: str | None = None
    """Recipe and fields of a grid, where there is one."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of a grid, by name."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        for key in ("label", "fields", "source", "data_change"):
            if not plain[key]:
                del plain[key]
        return {
            **plain,
            "training": asdict(self.training) if self.training else {},
            "metrics": {name: score.to_json() for name, score in self.metrics.items()},
            "skipped": dict(self.skipped),
            "cost": self.cost.measured(),
            "seconds": dict(self.seconds),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Evaluation:
        """Read what `to_json` wrote.

        Raises:
            BadInput: It is something else, or of an earlier version.
        """
        try:
            field_names = {f.name for f in fields(cls)}
            field_values = {key: value for key, value in plain.items() if key in field_names}
            metrics = {str(k): Score.from_json(v) for k, v in plain["metrics"].items()}
            evaluation = cls(
                **{**field_values, "metrics": metrics, "cost": Spent(), "training": None}
            )
            training = plain["training"]
            if {"n", "seed"} - set(plain):
                raise KeyError("n, seed")
            return replace(
                evaluation,
                cost=Spent(**plain["cost"]),
                training=Training(**training) if training else None,
                skipped={str(k): str(v) for k, v in plain["skipped"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(
                f"an evaluation that this version cannot read ({type(error).__name__}: {error}); "
                "measure again with 'trilemma evaluate'."
            ) from None
