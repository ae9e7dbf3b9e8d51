r"""Spline flows: bijections whose coordinates go through splines that a network bends.

    coupling         z_a = y_a                 z_b = S(y_b; f(y_a, c))
    autoregressive   z_i = S(y_i; f_i(y_1, …, y_{i-1}, c))

S is a monotone rational-quadratic spline, f a residual perceptron and c a condition. Either
Jacobian is triangular, and its log-determinant the sum of the splines' ln dz/dy. A coupling is
inverted in one pass; an autoregressive layer knows f in one pass forward, its weights masked so
that the numbers for coordinate i have seen only those before it, and needs D passes back.

Between them coordinates are mixed, z = P L U y + b with L and U triangular,
ln |det| = sum_i ln |U_ii|, or taken in the opposite order.

References:
    Neural Spline Flows (Durkan, Bekasov, Murray & Papamakarios, 2019),
        https://arxiv.org/abs/1906.04032
    MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015),
        https://arxiv.org/abs/1502.03509
    Glow (Kingma & Dhariwal, 2018), section 3.2, https://arxiv.org/abs/1807.03039
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as nnf
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trilemma.maths import splines
from trilemma.maths.transforms import (
    Bijection,
    exact,
    lu_factors,
    lu_inverse,
    lu_log_det,
    lu_matrix,
)

__all__ = [
    "Mixing",
    "Reversal",
    "SplineAutoregressive",
    "SplineCoupling",
    "SplineFlow",
]

QUIET = 0.1
"""Share of the usual weights with which a last layer begins: near the identity."""


class MaskedLinear(nn.Linear):
    """A linear layer, some of whose weights may be held at zero.

    Arguments:
        inputs: Numbers that come in.
        outputs: Numbers that go out.
        mask: Which weights there are, [outputs, inputs]; None for all.
    """

    mask: Tensor | None

    def __init__(self, inputs: int, outputs: int, mask: Bool[Tensor, "O I"] | None = None) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("mask", None if mask is None else mask.float(), persistent=False)

    def forward(self, input: Float[Tensor, "B I"]) -> Float[Tensor, "B O"]:
        """Return W x + b for each row."""
        return nnf.linear(input, self.present(), self.bias)

    def columns(self, x: Float[Tensor, "B I"], some: slice) -> Float[Tensor, "O B"]:
        """Return some of the outputs, an example a column."""
        return torch.addmm(self.bias[some, None], self.present(some), x.T)

    def present(self, some: slice | None = None) -> Float[Tensor, "O I"]:
        """Return the weights that there are, of all outputs or of some."""
        some = some or slice(None)
        return self.weight[some] if self.mask is None else self.weight[some] * self.mask[some]


class Bender(nn.Module):
    """A residual perceptron that bends splines; masked where only earlier inputs may.

    Arguments:
        inputs: Numbers that it sees.
        outputs: Splines that it bends.
        bins: K of each.
        width: Units of a hidden layer.
        depth: Hidden layers.
        condition: Width of the condition vector; 0 for none.
        ordered: Whether spline i may be bent by inputs 1 … i - 1 alone.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bins: int = 8,
        width: int = 64,
        depth: int = 2,
        condition: int = 0,
        ordered: bool = False,
    ) -> None:
        super().__init__()
        self.outputs = outputs
        numbers, masks = 3 * bins - 1, [None] * (depth + 1)
        if ordered:
            input_degrees, hidden_degrees = (
                torch.arange(1, inputs + 1),
                degrees(inputs, width, condition > 0),
            )
            first_mask, inner_mask = (
                hidden_degrees[:, None] >= input_degrees,
                hidden_degrees[:, None] >= hidden_degrees,
            )
            masks = [
                first_mask,
                *[inner_mask] * (depth - 1),
                (input_degrees[:, None] > hidden_degrees).repeat(numbers, 1),
            ]
        self.hidden = nn.ModuleList(
            MaskedLinear(width if i else inputs, width, masks[i]) for i in range(depth)
        )
        self.cond_layers = nn.ModuleList(
            nn.Linear(condition, width, bias=False) for _ in range(depth if condition else 0)
        )
        self.last = MaskedLinear(width, numbers * outputs, masks[-1])
        self.activation = nn.SiLU()
        with torch.no_grad():
            self.last.weight.mul_(QUIET)
            self.last.bias.zero_()

    def forward(
        self,
        x: Float[Tensor, "B I"],
        cond: Float[Tensor, "B E"] | None = None,
        only: int | None = None,
    ) -> Float[Tensor, "P S B"]:
        """Return the numbers of the splines, of all S or of one, an example a column.

        Laid out for the arithmetic of splines, which goes along the first axis; a matrix product
        gives them so at no price.
        """
        some = slice(None) if only is None else slice(only, None, self.outputs)
        raw = self.last.columns(self._features(x, cond), some)
        return exact(raw).unflatten(0, (-1, self.outputs if only is None else 1))

    def _features(self, x: Tensor, cond: Tensor | None) -> Tensor:
        h = x
        for i, layer in enumerate(self.hidden):
            inner = layer(h)
            if self.cond_layers:
                inner = inner + self.cond_layers[i](cond)
            h = self.activation(inner) if i == 0 else h + self.activation(inner)
        return h


class SplineCoupling(Bijection):
    """One half of the coordinates bends splines for the other.

    Arguments:
        dimensions: D, at least 2.
        second: Whether the second half is transformed given the first, or the other way round.
        tail: Bound of the splines, beyond which they are the identity.
        network: Sizes of the `Bender`.

    >>> layer = SplineCoupling(5)
    >>> y = torch.randn(7, 5)
    >>> z, log_det = layer(y)
    >>> log_det.shape, bool((layer.inverse(z) - y).abs().max() < 1e-4)
    (torch.Size([7]), True)
    """

    def __init__(
        self,
        dimensions: int,
        *,
        second: bool = True,
        tail: float = 4.0,
        **network: int,
    ) -> None:
        super().__init__()
        if dimensions < 2:
            raise ValueError("a coupling needs two coordinates, one to tell the other.")
        self.second, self.tail = second, tail
        half = dimensions // 2
        self.sizes = (half, dimensions - half)
        identity_size, transformed_size = self.sizes if second else self.sizes[::-1]
        self.network = Bender(identity_size, transformed_size, ordered=False, **network)

    def forward(
        self, y: Float[Tensor, "B D"], cond: Float[Tensor, "B E"] | None = None
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"]]:
        """Return z and ln |det dz/dy|."""
        identity_half, transformed_half = self._halves(y)
        transformed_half, log_derivative = splines.forward(
            transformed_half.T, self._knots(identity_half, cond)
        )
        return self._joined(identity_half, transformed_half.T), log_derivative.sum(0)

    def inverse(
        self, z: Float[Tensor, "B D"], cond: Float[Tensor, "B E"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Return y."""
        identity_half, transformed_half = self._halves(z)
        transformed_half, _ = splines.inverse(transformed_half.T, self._knots(identity_half, cond))
        return self._joined(identity_half, transformed_half.T)

    def _halves(self, y: Tensor) -> tuple[Tensor, Tensor]:
        first, second = y.split(self.sizes, 1)
        return (first, second) if self.second else (second, first)

    def _joined(self, identity_half: Tensor, transformed_half: Tensor) -> Tensor:
        return torch.cat(
            [identity_half, transformed_half]
            if self.second
            else [transformed_half, identity_half],
            1,
        )

    def _knots(self, identity_half: Tensor, cond: Tensor | None) -> splines.Knots:
        return splines.knots(self.network(identity_half, cond), self.tail)


class SplineAutoregressive(Bijection):
    """Every coordinate goes through a spline that those before it bend.

    Each hidden unit has a degree m and sees coordinates 1 … m; the numbers for coordinate i look
    at units of degree i - 1 and less. One coordinate alone has a spline that only the condition
    bends.

    Arguments:
        dimensions: D, at least 1.
        tail: Bound of the splines, beyond which they are the identity.
        network: Sizes of the `Bender`.
    """

    def __init__(
        self,
        dimensions: int,
        *,
        tail: float = 4.0,
        **network: int,
    ) -> None:
        super().__init__()
        self.dimensions, self.tail = dimensions, tail
        self.network = Bender(dimensions, dimensions, ordered=True, **network)

    def forward(
        self, y: Float[Tensor, "B D"], cond: Float[Tensor, "B E"] | None = None
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"]]:
        """Return z and ln |det dz/dy|."""
        z, log_derivative = splines.forward(y.T, self.knots(y, cond))
        return z.T, log_derivative.sum(0)

    def inverse(
        self, z: Float[Tensor, "B D"], cond: Float[Tensor, "B E"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Return y, one coordinate after another, all rows together."""
        y = torch.zeros_like(z)
        for i in range(self.dimensions):
            knots = splines.knots(self.network(y, cond, only=i), self.tail)
            coordinate, _ = splines.inverse(z[:, i][None], knots)
            y = torch.cat([y[:, :i], coordinate.T, y[:, i + 1 :]], 1)
        return y

    def knots(self, y: Float[Tensor, "B D"], cond: Tensor | None = None) -> splines.Knots:
        """Return the splines of all coordinates, [.., D, B]."""
        return splines.knots(self.network(y, cond), self.tail)


class Mixing(Bijection):
    """z = P L U y + b.

    Computed in float32 also under autocast: a density is only as good as its Jacobian.

    Arguments:
        dimensions: D.
        start: The matrix at first: a random 'rotation', or the 'reversal' of the order.
    """

    order: Tensor
    sign: Tensor

    def __init__(
        self, dimensions: int, start: Literal["rotation", "reversal"] = "rotation"
    ) -> None:
        super().__init__()
        turn = torch.eye(dimensions, dtype=torch.float64).flip(0)
        if start == "rotation":
            turn = torch.linalg.qr(torch.randn_like(turn))[0]
        order, lower, upper, s = (part.float() for part in lu_factors(turn))
        self.register_buffer("order", order)
        self.register_buffer("sign", s.sign())
        self.lower, self.upper = nn.Parameter(lower), nn.Parameter(upper)
        self.log_scale = nn.Parameter(s.abs().log())
        self.bias = nn.Parameter(torch.zeros(dimensions))

    def forward(
        self, y: Float[Tensor, "B D"], cond: Tensor | None = None
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"]]:
        """Return z and ln |det dz/dy|, the same for every row."""
        with torch.autocast(y.device.type, enabled=False):
            z = nnf.linear(y, lu_matrix(*self._factors()), self.bias)
        return z, lu_log_det(self.log_scale).expand(len(y))

    def inverse(self, z: Float[Tensor, "B D"], cond: Tensor | None = None) -> Tensor:
        """Return y."""
        with torch.autocast(z.device.type, enabled=False):
            return nnf.linear(z - self.bias, lu_inverse(*self._factors()))

    def _factors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.order, self.lower, self.upper, self.sign * self.log_scale.exp()


class Reversal(Bijection):
    """The coordinates in the opposite order: z_i = y_{D + 1 - i}."""

    def forward(
        self, y: Float[Tensor, "B D"], cond: Tensor | None = None
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"]]:
        """Return z and zeros."""
        return y.flip(1), y.new_zeros(len(y))

    def inverse(self, z: Float[Tensor, "B D"], cond: Tensor | None = None) -> Tensor:
        """Return y."""
        return z.flip(1)


class SplineFlow(Bijection):
    """Layers of splines, and what mixes the coordinates between them.

    Arguments:
        dimensions: D; one coordinate alone is always autoregressive.
        structure: Which layers.
        mixing: 'lu', a learned matrix before every layer and after the last, or 'reversal' of
            the order between them.
        layers: How many.
        tail: Bound of the splines.
        network: Sizes of the `Bender` of each.
    """

    def __init__(
        self,
        dimensions: int,
        *,
        structure: Literal["coupling", "autoregressive"] = "autoregressive",
        mixing: Literal["lu", "reversal"] = "lu",
        layers: int = 4,
        tail: float = 4.0,
        **network: int,
    ) -> None:
        super().__init__()
        # A coupling bends half of what it is given, so it is given mixtures from the beginning.
        start = "rotation" if structure == "coupling" else "reversal"
        parts: list[nn.Module] = []
        for i in range(layers):
            if mixing == "lu":
                parts.append(Mixing(dimensions, start))
            elif i:
                parts.append(Reversal())
            if structure == "coupling" and dimensions > 1:
                second = mixing == "reversal" or i % 2 == 0
                parts.append(SplineCoupling(dimensions, second=second, tail=tail, **network))
            else:
                parts.append(SplineAutoregressive(dimensions, tail=tail, **network))
        if mixing == "lu":
            parts.append(Mixing(dimensions, start))
        self.parts = nn.ModuleList(parts)

    def forward(
        self, y: Float[Tensor, "B D"], cond: Float[Tensor, "B E"] | None = None
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, " B"]]:
        """Return z and ln |det dz/dy|."""
        total = y.new_zeros(len(y))
        for part in self.parts:
            y, log_det = part(y, cond)
            total = total + log_det
        return y, total

    def inverse(
        self, z: Float[Tensor, "B D"], cond: Float[Tensor, "B E"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Return y."""
        for part in reversed(self._chain()):
            z = part.inverse(z, cond)
        return z

    @property
    def depth(self) -> int:
        """Return the number of layers, those that mix included."""
        return len(self.parts)

    def round_trip(
        self, y: Float[Tensor, "B D"], depth: int, cond: Float[Tensor, "B E"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Return y after the first `depth` layers and back."""
        chain = self._chain()[:depth]
        for part in chain:
            y, _ = part(y, cond)
        for part in reversed(chain):
            y = part.inverse(y, cond)
        return y

    def _chain(self) -> list[Bijection]:
        return [part for part in self.parts if isinstance(part, Bijection)]


def degrees(dimensions: int, width: int, is_conditional: bool) -> Int[Tensor, " W"]:
    """Return how many coordinates each hidden unit may see: 1 … D - 1 in turn.

    Units that see none are of use only with a condition, or where there is nothing to see.
    """
    least = 0 if is_conditional or dimensions == 1 else 1
    return torch.arange(width) % (dimensions - least) + least
