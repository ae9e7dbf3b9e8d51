"""How numbers, times and lists are written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

__all__ = ["brief", "count", "duration", "joined", "left_out", "number", "written"]


def number(value: float | None) -> str:
    """Write a number with three figures, or a dash where there is none.

    >>> [number(v) for v in (3806.2, 41.23, 0.93456, 0.000812, 0.0, -0.02, None, math.inf)]
    ['3,806', '41.2', '0.935', '0.0008', '0', '−0.020', '–', '–']
    """
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size == 0:
        text = "0"
    elif size >= 99.95:
        text = f"{size:,.0f}"
    elif size >= 9.995:
        text = f"{size:.1f}"
    elif size >= 0.9995:
        text = f"{size:.2f}"
    elif size >= 0.01:
        text = f"{size:.3f}"
    elif size >= 0.0001:
        text = f"{size:.4f}"
    else:
        text = f"{size:.0e}"
    return ("−" if value < 0 else "") + text


def brief(value: float | None) -> str:
    """Write a number as a sentence does: no zeros at its end.

    >>> [brief(v) for v in (17.2, 34.0, 6.10, 0.92, 530.0, 0.0)]
    ['17.2', '34', '6.1', '0.92', '530', '0']
    """
    text = number(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float | None) -> str:
    """Write a time in the unit that suits it.

    >>> [duration(v) for v in (0.0000021, 0.00042, 0.0313, 1.2, 75, 600, 5400, 90000)]
    ['2.1 µs', '0.42 ms', '31 ms', '1.2 s', '1.2 min', '10 min', '1.5 h', '25 h']
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    units = ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h"))
    low = {"µs": 0.0, "ms": 1e-4, "s": 0.995, "min": 60.0, "h": 3600.0}
    size, unit = next(u for u in reversed(units) if seconds >= low[u[1]] or u[1] == "µs")
    value = seconds / size
    text = f"{value:.0f}" if value >= 9.95 else f"{value:.2g}"
    return f"{text} {unit}"


def count(value: float | None) -> str:
    """Write how many.

    >>> [count(v) for v in (1, 950, 12500, 1_240_000, 0.5, None)]
    ['1', '950', '12.5 k', '1.24 M', '0.5', '–']
    """
    if value is None or not math.isfinite(value):
        return "–"
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            return f"{value / min(size, 1e3 if unit == ' k' else size):.3g}{unit}"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def joined(names: Sequence[str], last: str = "and") -> str:
    """Write a list as a sentence does.

    >>> joined(["a"]), joined(["a", "b"]), joined(["a", "b", "c"], "or")
    ('a', 'a and b', 'a, b or c')
    """
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def left_out(locations_by_reason: Mapping[str, Sequence[str]], most: int = 5) -> list[str]:
    """Say what was left out, by its reason, and where the first of it stood.

    >>> left_out({"is empty": ["line 3", "line 9"]})
    ['left out, is empty (2): line 3, line 9']
    """
    sentences = []
    for reason, locations in locations_by_reason.items():
        listing = ", ".join(locations[:most]) + (", …" if len(locations) > most else "")
        sentences.append(f"left out, {reason} ({len(locations)}): {listing}")
    return sentences


def written(plain: Mapping[str, object]) -> dict[str, str]:
    """Write plain values as they are shown: words as they are, what holds several as JSON.

    >>> written({"batch": 128, "width": (32, 64), "name": "vae"})
    {'batch': '128', 'width': '[32, 64]', 'name': 'vae'}
    """

    def one(value: object) -> str:
        if isinstance(value, Mapping | list | tuple):
            return json.dumps(value, ensure_ascii=False, default=str)
        return str(value)

    return {name: one(value) for name, value in plain.items()}
