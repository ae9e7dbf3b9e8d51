"""What happens in training: one event after another, as it is reported and as a run keeps it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Event"]


@dataclass(frozen=True)
class Event:
    """Something that happened in training.

    >>> Event.from_json({"kind": "step", "step": 9, "stage": "model", "vae/loss": 2.5})
    Event(kind='step', step=9, stage='model', values={'vae/loss': 2.5})
    """

    kind: str
    """'stage', 'step', 'plan', 'checkpoint', 'skipped', 'preview', 'alert', 'done', …"""
    step: int
    """Steps done, over all stages."""
    stage: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Numbers and words of this kind of event."""

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Event:
        """Read a line of `events.jsonl`; what it lacks is '', and step 0."""
        values = {name: value for name, value in line.items() if name not in _OWN}
        kind, step, stage = (line.get(name) for name in _OWN)
        return cls(str(kind or ""), step if isinstance(step, int) else 0, str(stage or ""), values)

    def number(self, name: str) -> float | None:
        """Return a value where it is a finite number."""
        value = self.values.get(name)
        if not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return float(value)


_OWN = ("kind", "step", "stage")
