"""Charts of numbers as SVG text: curves over steps, codes, the terms of a bound.

Transparent, ink in `currentColor`, so that they suit light and dark pages; what a mark shows is
written beside it and not in a legend far away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from trilemma.core.words import brief
from trilemma.pictures.canvas import (
    DASHES,
    INK,
    TEXT,
    end_labels,
    make_axes,
    short,
    ticks,
    write,
)
from trilemma.pictures.palette import CLASSES, hue

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["bound_terms", "latent_map", "lines"]

BINS = 60
"""Of a bound over the log-SNR at most."""


def latent_map(codes: Tensor, labels: Tensor | None = None, classes: Sequence[str] = ()) -> str:
    """Draw codes of the plane, coloured by class, each class named at its middle.

    Arguments:
        codes: [N, 2]; of more coordinates the first two are drawn.
        labels: [N], class of each.
        classes: Names of the classes.
    """
    z = codes.detach().cpu().float().numpy()[:, :2]
    figure, axes = make_axes(400, 400)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("$z_1$")
    axes.set_ylabel("$z_2$")
    kinds = np.zeros(len(z), int) if labels is None else labels.cpu().numpy().astype(int)
    colours = [CLASSES[k % len(CLASSES)] for k in kinds]
    size = max(3.0, min(20.0, 9000 / max(len(z), 1)))
    axes.scatter(*z.T, s=size, c=colours, linewidths=0, alpha=0.75, rasterized=True)
    if labels is not None:
        for k in np.unique(kinds):
            middle = np.median(z[kinds == k], 0)
            name = str(classes[int(k)]) if k < len(classes) else str(k)
            axes.text(
                *middle,
                short(name),
                ha="center",
                va="center",
                fontsize=TEXT,
                weight="bold",
                color=INK,
                parse_math=False,
            )
    return write(figure, "map of the codes")


def bound_terms(
    terms: Sequence[float],
    family: str = "",
    unit: str = "bits / dim",
    *,
    log_snr: Sequence[float] | None = None,
) -> str:
    """Draw the variational bound term by term, from L_0 at the left to L_T of the prior.

    Where it is known at which noise the terms look, those between are drawn over it as a density,
    so that areas are bits; else one beside the other.

    Arguments:
        terms: [T + 1]: L_0, …, L_{T-1}, L_T.
        family: Whose colour it takes.
        unit: Of the terms.
        log_snr: [T], falling: of x_1, …, x_T. Term L_{t-1} lies between those of x_{t-1} and x_t.
    """
    y = np.asarray([float(v) for v in terms])
    figure, axes = make_axes(460, 270)
    log_snr_values = None if log_snr is None else np.asarray([float(v) for v in log_snr])
    if log_snr_values is not None and (len(log_snr_values) != len(y) - 1 or len(y) < 3):
        log_snr_values = None
    if log_snr_values is None:
        edges, heights = np.arange(len(y) + 1) - 0.5, y
        axes.set_xlabel("t")
        axes.set_ylabel(unit)
    else:
        edges, heights = _density(y[1:-1], log_snr_values)
        axes.set_xlabel("log-SNR: from data at the left to noise at the right")
        axes.set_ylabel(f"{unit} / unit of log-SNR")
    axes.stairs(np.maximum(heights, 0), edges, fill=True, color=hue(family).light, lw=0)
    positive = heights[heights > 0]
    if log_snr_values is None and len(positive) and positive.max() / positive.min() > 50:
        axes.set_yscale("log")
        axes.set_ylim(positive.min() / 1.5, positive.max() * 1.5)
    axes.margins(x=0.02)
    if log_snr_values is not None:
        axes.invert_xaxis()
    ticks(axes)
    axes.set_title(_summed(y, unit), loc="left", fontsize=TEXT, color=INK, alpha=0.85)
    return write(figure, "terms of the variational bound")


def _density(between: np.ndarray, log_snr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return edges, rising, and the terms between them for each unit of log-SNR, in few bins."""
    cuts = np.unique(np.linspace(0, len(between), min(BINS, len(between)) + 1).astype(int))
    sums = np.add.reduceat(between, cuts[:-1])
    edges = log_snr[cuts]
    return edges[::-1], (sums / np.maximum(edges[:-1] - edges[1:], 1e-12))[::-1]


def _summed(terms: np.ndarray, unit: str) -> str:
    """Write how a bound adds up.

    >>> _summed(np.array([1.0, 0.5, 0.25, 0.0]), "bits / dim")
    'L₀ 1  +  L₁ … L₂ 0.75  +  L₃ 0  =  1.75 bits / dim'
    """
    total = brief(float(terms.sum()))
    if len(terms) < 3:
        return f"sum {total} {unit}"
    last = len(terms) - 1
    between = _below(1) if last == 2 else f"{_below(1)} … L{_below(last - 1)}"
    parts = (
        f"L₀ {brief(float(terms[0]))}",
        f"L{between} {brief(float(terms[1:-1].sum()))}",
        f"L{_below(last)} {brief(float(terms[-1]))}",
    )
    return f"{'  +  '.join(parts)}  =  {total} {unit}"


def _below(number: int) -> str:
    """Write a number as an index."""
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def lines(
    x: Sequence[float],
    ys: Mapping[str, Sequence[float]],
    across: str = "",
    up: str = "",
    log: bool = False,
) -> str:
    """Draw functions of one variable: losses against the critic's score, a schedule over time.

    Arguments:
        x: [N].
        ys: [N] for each name; the name stands at the line's end, and lines that are the same are
            one with all their names.
        across: Label of x.
        up: Label of y.
        log: Whether y is on a log axis.
    """
    figure, axes = make_axes(460, 300)
    if log:
        axes.set_yscale("log")
    ends, colours = [], {}
    for i, (name, y) in enumerate(_merged(ys).items()):
        colours[name] = CLASSES[i % len(CLASSES)]
        dash = DASHES[(i // len(CLASSES) + i) % len(DASHES)]
        axes.plot(x, y, color=colours[name], lw=1.8, ls=dash)
        ends.append((float(x[-1]), float(y[-1]), name))
    if not log:
        _frame(axes, ys)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    end_labels(figure, [(axes, ends)], colours)
    return write(figure, up or "chart")


def _merged(ys: Mapping[str, Sequence[float]]) -> dict[str, Sequence[float]]:
    """Give lines that are the same one name together.

    >>> list(_merged({"a": [0.0, 1.0], "b": [0.0, 2.0], "c": [0.0, 1.0]}))
    ['a = c', 'b']
    """
    merged_lines: list[tuple[str, Sequence[float]]] = []
    for name, y in ys.items():
        for i, (label, values) in enumerate(merged_lines):
            if len(y) == len(values) and np.allclose(y, values, 1e-5, 1e-5, equal_nan=True):
                merged_lines[i] = (f"{label} = {name}", values)
                break
        else:
            merged_lines.append((name, y))
    return dict(merged_lines)


def _frame(axes: Axes, ys: Mapping[str, Sequence[float]]) -> None:
    """Let one line that shoots up leave the frame, where it would press the others flat."""
    ends = [(min(finite), max(finite)) for y in ys.values() if (finite := _finite(y))]
    if len(ends) < 3:
        return
    low, high = sorted(end[0] for end in ends), sorted(end[1] for end in ends)
    typical_range = high[len(high) // 2] - low[len(low) // 2]
    if typical_range > 0 and high[-1] - low[0] > 3 * typical_range:
        axes.set_ylim(
            max(low[0], low[len(low) // 2] - typical_range) - 0.05 * typical_range,
            min(high[-1], high[len(high) // 2] + typical_range) + 0.05 * typical_range,
        )


def _finite(y: Sequence[float]) -> list[float]:
    return [value for value in y if math.isfinite(value)]
