r"""What one example is: its shape, its values and its classes.

Densities are those of the data as they lie in the file. Networks want numbers near [-1, 1].
Between the two stands one affine map, kept here with its log-determinant, so that every family's
`log_prob` and `bound` are about the same thing and can stand in one column.

For values on `count` levels, x in {0, …, count - 1}:

    scale        y = 2 x / (count - 1) - 1               (levels at the ends of [-1, 1])
    dequantise   y = 2 (x + u) / count - 1, u ~ U[0, 1)  (each level a bin of width 2 / count)

and, by Jensen's inequality, ln P(x) >= E_u[ln p(y)] + D ln(2 / count) (Theis, van den Oord &
Bethge, "A note on the evaluation of generative models", 2016).

The columns of a table may each be of another kind, real, whole or category: `columns`. Every
values class says whether some of its values lie in bins (`binned`: a density then gives a bound)
and whether all do (`discrete`: an example then has a probability, whose logarithm is at most 0).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from trilemma.core.columns import Column, Columns, Kind
from trilemma.core.noise import Noise

__all__ = ["Column", "Columns", "Domain", "Kind", "Levels", "PropertyStatistics", "Real"]


@dataclass(frozen=True)
class Levels:
    """Integers 0 … count - 1 in every coordinate, kept as uint8.

    >>> Levels(3).scale(torch.tensor([0, 1, 2], dtype=torch.uint8)).tolist()
    [-1.0, 0.0, 1.0]
    """

    count: int

    binned: ClassVar[bool] = True
    discrete: ClassVar[bool] = True

    def scale(self, x: Tensor) -> Tensor:
        """Map levels to [-1, 1], the ends included."""
        return x.float() * (2 / (self.count - 1)) - 1

    def unscale(self, y: Tensor) -> Tensor:
        """Map [-1, 1] to the nearest level, uint8; what lies beyond is cut off."""
        top = self.count - 1
        return ((y.float() + 1) * (top / 2)).round_().clamp_(0, top).to(torch.uint8)

    def in_bin(self, x: Tensor, u: Tensor) -> Tensor:
        """Return y = 2 (x + u) / count - 1, the place u in [0, 1) of each level's bin."""
        return (x.float() + u) * (2 / self.count) - 1

    def dequantise(self, x: Tensor, noise: Noise) -> Tensor:
        """Spread each level uniformly over its bin: continuous values in [-1, 1)."""
        return self.dequantised(x, noise)[0]

    def dequantised(self, x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return y as `dequantise`, and ln of its density within bins, [B]: zeros."""
        return self.in_bin(x, noise.uniform(*x.shape[1:])), torch.zeros(len(x), device=x.device)

    def quantise(self, y: Tensor) -> Tensor:
        """Undo `dequantise`: the level in whose bin y lies, uint8."""
        top = self.count - 1
        return ((y.float() + 1) * (self.count / 2)).floor_().clamp_(0, top).to(torch.uint8)

    @property
    def log_volume(self) -> float:
        """Return ln(2 / count), to be added for each dimension to a density of `dequantise`."""
        return math.log(2 / self.count)


@dataclass(frozen=True)
class Real:
    """Real numbers, standardised: by one location and spread, or by those of each column.

    >>> Real((0.0, 10.0), (1.0, 5.0)).scale(torch.tensor([[1.0, 20.0]])).tolist()
    [[1.0, 2.0]]
    """

    location: float | tuple[float, ...] = 0.0
    spread: float | tuple[float, ...] = 1.0
    unit: str = ""

    binned: ClassVar[bool] = False
    discrete: ClassVar[bool] = False

    def scale(self, x: Tensor) -> Tensor:
        """Standardise."""
        return (x.float() - _like(self.location, x)) / _like(self.spread, x)

    def unscale(self, y: Tensor) -> Tensor:
        """Undo `scale`."""
        return y.float() * _like(self.spread, y) + _like(self.location, y)

    def dequantise(self, x: Tensor, noise: Noise) -> Tensor:
        """Standardise: real numbers have no bins."""
        return self.scale(x)

    def dequantised(self, x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return y as `dequantise`, and zeros, [B]: nothing is drawn."""
        return self.scale(x), torch.zeros(len(x), device=x.device)

    def quantise(self, y: Tensor) -> Tensor:
        """Undo `dequantise`."""
        return self.unscale(y)

    @property
    def log_volume(self) -> float:
        """Return -ln(spread), in mean over columns, to be added for each dimension."""
        spread = self.spread if isinstance(self.spread, tuple) else (self.spread,)
        return -sum(map(math.log, spread)) / len(spread)


def _like(value: float | tuple[float, ...], x: Tensor) -> Tensor | float:
    """Return columns' numbers as a row beside x; one number for all stays a number."""
    return torch.tensor(value, device=x.device) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class PropertyStatistics:
    """A number that is known of every example, such as a molecule's dipole moment.

    Mean, deviation and range are of the training examples; what is wanted of a sample is shown to
    a network as (c - mean) / deviation.
    """

    name: str
    unit: str = ""
    mean: float = 0.0
    deviation: float = 1.0
    low: float = 0.0
    """Least value of a training example."""
    high: float = 0.0
    """Greatest value of a training example."""


@dataclass(frozen=True)
class Domain:
    """The space in which a data set lies; all that a recipe needs to build a model for it."""

    kind: str
    """What an example is: 'image', 'points', 'graph', 'molecule', 'conformer' (a molecule in
    space) or 'point-cloud'."""
    shape: tuple[int, ...]
    """Shape of one example: (C, H, W) for an image, (D,) for a point, (N, N) for a graph of at
    most N nodes (`core.graph`) or a molecule of at most N heavy atoms (`core.molecule`), (N, 4)
    for a cloud of at most N points (`core.point_cloud`)."""
    values: Levels | Real | Columns
    classes: tuple[str, ...] = ()
    """Names of the classes, in the order of their index; empty without labels."""
    frequencies: tuple[float, ...] = ()
    """Share of each class among the training examples."""
    columns: tuple[str, ...] = ()
    """Names of the coordinates of a table's row; empty for other points."""
    target: str = ""
    """Name of the column of a table whose words are the classes; empty without one."""
    constants: tuple[tuple[str, str], ...] = ()
    """Names of the columns of a table that never change and what stands in them: no model sees
    them, and samples have them back."""
    order: tuple[str, ...] = ()
    """Names of all columns in the order of the file, where it has a target or constants."""
    vocabulary: tuple[str, ...] = ()
    """Words of the captions; token i stands for word i - 1, and 0 for one that is not here."""
    words: int = 0
    """M, tokens of a caption at most; 0 without captions."""
    reach: int = 0
    """M of graphs: places that a node may look back in breadth-first order; 0 for other data."""
    elements: tuple[str, ...] = ()
    """Elements of molecules' atoms, the k-th of which k stands for; empty for other data."""
    properties: tuple[PropertyStatistics, ...] = ()
    """Properties of the examples, in the order of a split's columns; empty without any."""

    @property
    def dimensions(self) -> int:
        """Return the number of coordinates of one example."""
        return math.prod(self.shape)

    @property
    def scaled_shape(self) -> tuple[int, ...]:
        """Return the shape of one example for a network, after `values.scale`.

        It is that of the example, but that names of a table's categories have a number each.
        """
        return (self.values.width,) if isinstance(self.values, Columns) else self.shape

    @property
    def scaled_dimensions(self) -> int:
        """Return the numbers of one example for a network."""
        return math.prod(self.scaled_shape)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Return what each coordinate of a point is; empty for images and graphs.

        >>> Domain("points", (2,), Real()).kinds, Domain("image", (1, 8, 8), Levels(2)).kinds
        (('real', 'real'), ())
        """
        if isinstance(self.values, Columns):
            return self.values.kinds
        if self.kind != "points":
            return ()
        kind: Kind = "whole" if isinstance(self.values, Levels) else "real"
        return (kind,) * self.dimensions

    def at_most_certain(self, nats: Tensor) -> Tensor:
        """Cut ln w, an estimate of ln P(x) of a row of a table, at 0, where all of it is counted.

        Draws of w have the mean P <= 1 and may each exceed it. min(ln w, 0) is concave in w as
        ln w is, so that its mean is still at most ln P, and still rises with the number of draws
        that w is a mean of. Rows with a real column have a density, which has no such limit; of
        levels in many coordinates no draw comes near it.
        """
        limited = isinstance(self.values, Columns) and self.values.discrete
        return nats.clamp(max=0) if limited else nats

    def to_json(self) -> dict[str, Any]:
        """Return plain values from which `from_json` makes an equal domain."""
        if isinstance(self.values, Columns):
            values = {"type": "columns", **self.values.to_json()}
        else:
            kind = "levels" if isinstance(self.values, Levels) else "real"
            values = {"type": kind, **asdict(self.values)}
        plain = asdict(self) | {"values": values}
        # A record of examples without any names none.
        for name in ("properties", "target", "constants", "order"):
            if not plain[name]:
                del plain[name]
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Domain:
        """Make a domain from `to_json`'s values."""
        values = dict(plain["values"])
        kind = values.pop("type")
        value_space: Levels | Real | Columns
        if kind == "columns":
            value_space = Columns.from_json(values)
        elif kind == "levels":
            value_space = Levels(**values)
        else:
            arguments: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
            }
            value_space = Real(**arguments)
        return cls(
            plain["kind"],
            tuple(plain["shape"]),
            value_space,
            classes=tuple(plain["classes"]),
            frequencies=tuple(plain["frequencies"]),
            columns=tuple(plain["columns"]),
            target=plain.get("target", ""),
            constants=tuple((name, word) for name, word in plain.get("constants", ())),
            order=tuple(plain.get("order", ())),
            vocabulary=tuple(plain["vocabulary"]),
            words=plain["words"],
            reach=plain["reach"],
            elements=tuple(plain["elements"]),
            properties=tuple(
                PropertyStatistics(**statistics) for statistics in plain.get("properties", ())
            ),
        )
