r"""Bounds on a critic's weights: spectral norms of one, or a box.

A linear layer x -> W x stretches no vector by more than W's largest singular value. So

    W / sigma,    sigma = u · W v,    u, v unit vectors, W as a matrix [outputs, the rest],

in W's place makes the Lipschitz constant of every linear layer 1. The vectors start as
the exact singular pair and follow W by one step of the power method after each update,

    v <- W' u / |W' u|,    u <- W v / |W v|,

which suffices because W moves little. Between those steps they are constants: the forward pass
reads them and writes nothing, so that a loss stays a function of weights and batch alone, the
same in training and evaluation, and d sigma / d W = u v'. For a convolution, W is its kernel as a
matrix, as is customary; where windows overlap, the convolution itself may stretch k times as much,
k the kernel's side. Where averaged weights are put in place of the trained ones, u and v stay
those of the trained ones, and sigma is a little too small.

The vectors v_c of a class-conditional critic start at zero and cannot be divided by their norm:
their table is divided by max(1, sigma).

References:
    Spectral Normalization for Generative Adversarial Networks (Miyato, Kataoka, Koyama & Yoshida,
    2018), arXiv:1802.05957.
    Wasserstein GAN (Arjovsky, Chintala & Bottou, 2017), arXiv:1701.07875: weights in a box.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["Unit", "clamp", "constrain", "renew"]


class Unit(nn.Module):
    """A weight W divided by its largest singular value, sigma = u · W v.

    Arguments:
        weight: W at the start, two axes or more; the first are the outputs.
        shrink: Divide only where sigma is above one.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, *, shrink: bool = False) -> None:
        super().__init__()
        self.shrink = shrink
        u, v = _largest_pair(weight.detach().flatten(1))
        self.register_buffer("u", u)
        self.register_buffer("v", v)

    def forward(self, weight: Float[Tensor, "N ..."]) -> Float[Tensor, "N ..."]:
        """Return W / sigma, in W's own precision whatever autocast says."""
        with torch.autocast(weight.device.type, enabled=False):
            sigma = self.u.dot(weight.flatten(1).mv(self.v))
            return weight / (sigma.clamp(min=1) if self.shrink else sigma)

    @torch.no_grad()
    def renew(self, weight: Tensor) -> None:
        """Take one step of the power method with the present W."""
        matrix = weight.flatten(1)
        self.v.copy_(_unit(self.u @ matrix, self.v))
        self.u.copy_(_unit(matrix @ self.v, self.u))


def constrain(module: nn.Module) -> None:
    """Give the weight of each linear and convolutional layer the largest singular value 1.

    Tables of class vectors are held at 1 at most. The weight that is trained and saved is W; the
    layer's `weight` is W / sigma from now on. A weight that is all zeros has no direction to be
    scaled in and gets a random start. Layers that are bounded already are left as they are.

    Arguments:
        module: A critic, before its optimiser is made.

    >>> layer = nn.Linear(5, 3)
    >>> constrain(layer)
    >>> round(torch.linalg.matrix_norm(layer.weight, 2).item(), 5)
    1.0
    """
    for layer in list(module.modules()):
        if not isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
            continue
        if parametrize.is_parametrized(layer, "weight"):
            continue
        table = isinstance(layer, nn.Embedding)
        if not table and not layer.weight.any():
            nn.init.kaiming_normal_(layer.weight)
        bound = Unit(layer.weight, shrink=table)
        parametrize.register_parametrization(layer, "weight", bound)


def renew(module: nn.Module) -> None:
    """Let the vectors of each bounded weight take a step of the power method.

    To be called after each update of the critic.
    """
    for layer in module.modules():
        if isinstance(layer, parametrize.ParametrizationList):
            bound, weight = layer[0], layer.original
            if isinstance(bound, Unit) and isinstance(weight, Tensor):
                bound.renew(weight)


@torch.no_grad()
def clamp(module: nn.Module, c: float) -> None:
    """Clip every parameter into [-c, c].

    Arguments:
        module: A critic.
        c: Half the side of the box, above 0.

    >>> layer = nn.Linear(5, 3)
    >>> clamp(layer, 0.01)
    >>> bool((layer.weight.abs() <= 0.01).all())
    True
    """
    if c <= 0:
        raise ValueError(f"weights cannot be clipped into [-c, c] with c = {c}.")
    for parameter in module.parameters():
        parameter.clamp_(-c, c)


def _largest_pair(matrix: Float[Tensor, "N M"]) -> tuple[Tensor, Tensor]:
    """Return unit vectors u [N], v [M] with u · W v the largest singular value.

    From the largest eigenvalue of W W' or W' W, the smaller one, in float64.
    """
    is_wide = matrix.shape[0] <= matrix.shape[1]
    w = matrix.double() if is_wide else matrix.double().T
    u = torch.linalg.eigh(w @ w.T).eigenvectors[:, -1]
    v = _unit(u @ w, torch.full_like(w[0], w.shape[1] ** -0.5))
    u, v = (u, v) if is_wide else (v, u)
    return u.to(matrix.dtype), v.to(matrix.dtype)


def _unit(vector: Tensor, otherwise: Tensor) -> Tensor:
    """Scale a vector to length one; take another in place of zero."""
    length = vector.norm()
    return torch.where(length > 0, vector / length, otherwise)
