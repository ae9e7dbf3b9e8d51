r"""Layers that several networks share: multilayer perceptrons and embeddings.

    Perceptron   h_0 = a(W_0 x + V_0 c),   h_i = h_{i-1} + a(W_i h_{i-1} + V_i c),   y = W h
    Fourier      phi(s) = (cos f_k s, sin f_k s),   f_k spaced geometrically
    Waves        x -> (x, phi(x_1), phi(x_2), …)

with an activation a and an optional condition vector c. A network is given the noise level as the
log-SNR s = ln(alpha^2 / sigma^2), whose useful range is about [-20, 20] for every schedule, and
what is wanted as the row of a table; the table's last row is learned for "nothing is wanted".
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trilemma.core.batch import Condition

__all__ = ["MLP", "ConditionEmbedding", "Fourier", "LogSnrEmbedding", "Waves", "zero_init"]

Layer = TypeVar("Layer", bound=nn.Module)


def zero_init(layer: Layer) -> Layer:
    """Initialise all parameters of a layer at zero, and return it.

    >>> zero_init(nn.Linear(2, 1))(torch.ones(1, 2)).item()
    0.0
    """
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class MLP(nn.Module):
    """A perceptron with residual hidden layers, each conditioned on a vector.

    Arguments:
        inputs: Numbers of one example; more axes than one are flattened.
        outputs: How many numbers it gives, or their shape.
        width: Units of a hidden layer.
        depth: Hidden layers, at least one.
        condition: Width of the condition vector; 0 for none.

    >>> MLP(2, (1, 8, 8), width=16, depth=2)(torch.zeros(5, 2)).shape
    torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int | tuple[int, ...],
        *,
        width: int = 256,
        depth: int = 2,
        condition: int = 0,
    ) -> None:
        super().__init__()
        self.shape = (outputs,) if isinstance(outputs, int) else tuple(outputs)
        self.hidden = nn.ModuleList(
            nn.Linear(inputs if i == 0 else width, width) for i in range(depth)
        )
        self.cond_layers = nn.ModuleList(
            nn.Linear(condition, width, bias=False) for _ in range(depth if condition else 0)
        )
        self.last = nn.Linear(width, math.prod(self.shape))
        self.activation = nn.SiLU()

    def forward(
        self, x: Float[Tensor, "B ..."], condition: Float[Tensor, "B E"] | None = None
    ) -> Float[Tensor, "B ..."]:
        """Return [B, *outputs]."""
        h = x.flatten(1)
        for i, layer in enumerate(self.hidden):
            inner = layer(h)
            if self.cond_layers:
                inner = inner + self.cond_layers[i](condition)
            h = self.activation(inner) if i == 0 else h + self.activation(inner)
        return self.last(h).unflatten(1, self.shape)


class Fourier(nn.Module):
    """Cosines and sines of one number at `width / 2` frequencies; no parameters.

    Arguments:
        width: Features, even.
        low: Lowest angular frequency, about one turn over the range of the number.
        high: Highest angular frequency: finer differences than 1 / high are hardly seen.
    """

    frequencies: Tensor

    def __init__(self, width: int, *, low: float = 1 / 16, high: float = 8.0) -> None:
        super().__init__()
        steps = torch.linspace(math.log(low), math.log(high), width // 2)
        self.register_buffer("frequencies", steps.exp(), persistent=False)

    def forward(self, s: Float[Tensor, " B"]) -> Float[Tensor, "B E"]:
        """Return [B, width], in float32."""
        angles = s.float()[:, None] * self.frequencies.float()
        return torch.cat([angles.cos(), angles.sin()], dim=1)


class Waves(nn.Module):
    """Numbers with their cosines and sines at a few frequencies, [x, cos(f_k x), sin(f_k x)].

    A perceptron alone learns smooth functions first, and narrow clusters late (Rahaman et al., On
    the Spectral Bias of Neural Networks, 2019, arXiv:1806.08734).

    Arguments:
        inputs: Numbers of one example.
        count: Frequencies, spaced geometrically.
        low: The lowest, radians to a unit.
        high: The highest.

    >>> waves = Waves(2, 3, low=1.0, high=4.0)
    >>> waves(torch.zeros(5, 2)).shape, waves.outputs
    (torch.Size([5, 14]), 14)
    """

    frequencies: Tensor

    def __init__(self, inputs: int, count: int, *, low: float, high: float) -> None:
        super().__init__()
        self.outputs = inputs * (1 + 2 * count)
        steps = torch.linspace(math.log(low), math.log(high), count)
        self.register_buffer("frequencies", steps.exp(), persistent=False)

    def forward(self, x: Float[Tensor, "B N"]) -> Float[Tensor, "B M"]:
        """Return [B, outputs]."""
        angles = (x[:, :, None] * self.frequencies.to(x.dtype)).flatten(1)
        return torch.cat([x, angles.cos(), angles.sin()], dim=1)


class LogSnrEmbedding(nn.Module):
    """A learned vector for a noise level, given as its log-SNR.

    Arguments:
        width: Width E of the vector.
        features: Fourier features that it is made of.
    """

    def __init__(self, width: int, *, features: int = 64) -> None:
        super().__init__()
        self.fourier = Fourier(features)
        self.layers = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, log_snr: Float[Tensor, " B"]) -> Float[Tensor, "B E"]:
        """Return [B, width]; beyond ±20 all levels look alike."""
        return self.layers(self.fourier(log_snr.clamp(-20, 20)))


class ConditionEmbedding(nn.Module):
    """A learned vector for a class, with one for no class at all.

    Both are rows of one table, so that every update gives the whole table a gradient, whichever
    classes the batch holds. With `classes = 0` labels are not looked at.

    Arguments:
        classes: How many classes there are.
        width: Width E of the vector.

    >>> embed = ConditionEmbedding(3, 4)
    >>> condition = Condition(label=torch.tensor([0, 2]))
    >>> bool((embed(condition.null(), 2) == embed(None, 2)).all())
    True
    >>> bool((embed(condition, 2) == embed(None, 2)).any())
    False
    """

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        self.table = nn.Embedding(classes + 1, width)

    def forward(self, condition: Condition | None, rows: int) -> Float[Tensor, "B E"]:
        """Return [rows, width].

        Arguments:
            condition: Class labels, `rows` of them; None, no labels and rows whose `present` is
                false get the vector for no class.
            rows: Number of examples B.
        """
        label = condition.label if condition is not None and self.classes else None
        if label is None:
            label = torch.full((rows,), self.classes, device=self.table.weight.device)
        elif condition is not None and condition.present is not None:
            label = torch.where(condition.present, label, self.classes)
        return self.table(label)
