r"""E(n)-equivariant graph networks on point clouds, over all pairs of their points.

A layer updates features h_i and positions x_i of each point by messages over its pairs:

    m_ij = phi_e(h_i, h_j, |x_i - x_j|^2, |x_i^0 - x_j^0|^2) a_ij,    a_ij = sigmoid(w m_ij)
    h_i' = h_i + phi_h(h_i, sum_j m_ij / c)
    x_i' = x_i + r / c sum_j (x_i - x_j) / (|x_i - x_j| + 1) tanh phi_x(m_ij)

with x^0 the positions that the network was given, and c and r fixed numbers: with the c = 1 and
r = 15 of EDM a learning rate above 1e-4 throws points far away. Messages see distances alone, so
that features are invariant under rotations R, reflections and translations t, and positions move
with them:

    (R x' + t, h') = network(R x + t, h)

which holds of reflections too: the network cannot tell a molecule from its mirror image. Points
that are not there change nothing, and the order of the points changes the order of the answers.

Batches are dense: pairs are [B, N, N], and a mask says which points there are. Positions and
distances stay in the numbers that they come in; half precision is of products of features alone.
The first layer of phi_e is linear in (h_i, h_j, distances) and computed for each point once,

    W (h_i, h_j, d) = A h_i + B h_j + c d,

so that no array of N x N x 2 W numbers is made.

References:
    E(n) Equivariant Graph Neural Networks (Garcia Satorras, Hoogeboom & Welling, 2021),
    arXiv:2102.09844.
    Equivariant Diffusion for Molecule Generation in 3D (Hoogeboom, Garcia Satorras, Vignac &
    Welling, 2022), arXiv:2203.17003: attention, normalised differences, two steps a layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.point_cloud import centred
from trilemma.networks.property_condition import PropertyCondition

__all__ = [
    "LARGEST",
    "TIMES",
    "Egnn",
    "EgnnDenoiser",
    "EgnnLayer",
    "PairNetwork",
    "clock",
    "shared_by_points",
    "trimmed",
]

LARGEST = 256
"""Points of a cloud at most: every pair of them is looked at."""
SMALLEST = 1e-8
"""Added to squared distances before their root is taken, whose slope is infinite at 0."""
REACH = 5.0
"""r: how far a pair may move a point in one layer, at most, times c."""
SUMMED = 10.0
"""c, about the number of the points whose messages are summed."""


class PairNetwork(nn.Module):
    """Two layers over pairs: (h_i, h_j, squared distances now and at first) to W numbers.

    Arguments:
        width: W, numbers of a point and of a pair.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.distances = nn.Linear(2, width, bias=False)
        self.second = nn.Linear(width, width)

    def forward(
        self,
        h: Float[Tensor, "B N W"],
        squared: Float[Tensor, "B N N"],
        initial: Float[Tensor, "B N N"],
    ) -> Float[Tensor, "B N N W"]:
        """Return the pairs' numbers."""
        now, first = self.distances.weight.unbind(1)  # not as a product, which may be in bf16
        pairs = squared[..., None] * now + initial[..., None] * first
        pairs = pairs + self.receiver(h)[:, :, None] + self.sender(h)[:, None]
        return F.silu(self.second(F.silu(pairs)))


class EgnnLayer(nn.Module):
    """One update of features and positions.

    Arguments:
        width: W, numbers of a point.
        reach: r.
        summed: c.
        is_separate: Whether displacements are of a pair network of their own, of the features
            after their update, as in EDM; else of the messages.
    """

    def __init__(
        self,
        width: int,
        reach: float = REACH,
        summed: float = SUMMED,
        *,
        is_separate: bool = False,
    ) -> None:
        super().__init__()
        self.reach, self.summed = reach, summed
        self.messages = PairNetwork(width)
        self.attention = nn.Linear(width, 1)
        self.update = nn.Sequential(
            nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.displacements = PairNetwork(width) if is_separate else None
        self.displacement = nn.Linear(width, 1, bias=False)
        nn.init.xavier_uniform_(self.displacement.weight, gain=0.001)

    def forward(
        self,
        x: Float[Tensor, "B N 3"],
        h: Float[Tensor, "B N W"],
        initial: Float[Tensor, "B N N"],
        pairs: Float[Tensor, "B N N"],
        here: Float[Tensor, "B N 1"],
    ) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N W"]]:
        """Return positions and features after the update.

        Arguments:
            x: Positions.
            h: Features.
            initial: Squared distances of the positions that the network was given.
            pairs: 1 for pairs of two points that are there, else 0.
            here: 1 for points that are there, else 0.
        """
        apart = x[:, :, None] - x[:, None]
        squared = apart.square().sum(-1)
        messages = self.messages(h, squared, initial)
        weights = self.attention(messages)[..., 0].sigmoid() * pairs
        received = (weights[:, :, None].to(messages) @ messages)[:, :, 0] / self.summed
        h = (h + self.update(torch.cat([h, received], dim=-1))) * here
        if self.displacements is not None:
            messages = self.displacements(h, squared, initial)
        pull = self.displacement(messages)[..., 0].to(x).tanh()
        pull = pull * pairs * (self.reach / self.summed) / ((squared + SMALLEST).sqrt() + 1)
        return x + (pull[..., None] * apart).sum(2) * here, h


class Egnn(nn.Module):
    """Positions and features of points to positions and features.

    Arguments:
        inputs: Features of a point.
        outputs: Features that are given of a point.
        width: W, numbers of a point within the network.
        layers: How many layers.
        reach: r.
        summed: c.
        is_separate: Whether displacements have a pair network of their own, as in EDM.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 64,
        layers: int = 4,
        reach: float = REACH,
        summed: float = SUMMED,
        is_separate: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = nn.Linear(inputs, width)
        self.layers = nn.ModuleList(
            EgnnLayer(width, reach, summed, is_separate=is_separate) for _ in range(layers)
        )
        self.output = nn.Linear(width, outputs)

    def forward(
        self,
        x: Float[Tensor, "B N 3"],
        h: Float[Tensor, "B N F"],
        mask: Bool[Tensor, "B N"],
    ) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N G"]]:
        """Return positions, which move as the given ones do, and features, which stay.

        The mean of the positions stays where it is.

        Arguments:
            x: Positions.
            h: Features.
            mask: Which points are there.
        """
        here = mask[..., None].to(x)
        apart = 1 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        pairs = here * here.mT * apart
        initial = squared_distances(x)
        features, at = self.embedding(h) * here, x
        for layer in self.layers:
            at, features = layer(at, features, initial, pairs, here)
        return (x + centred(at - x, mask)) * here, self.output(features) * here


class EgnnDenoiser(nn.Module):
    """A denoiser of clouds: a network between states [B, N, 3 + F], told the log-SNR.

    What it gives in the place of positions is a difference of positions: it turns with them, and
    is never moved by a translation.

    Arguments:
        features: F, numbers of a point beside its position.
        width: Numbers of a point within the network.
        layers: How many layers.
        properties: Reads the properties that a cloud is wanted to have; None: it has no say.
    """

    def __init__(
        self,
        features: int,
        *,
        width: int = 64,
        layers: int = 4,
        properties: PropertyCondition | None = None,
    ) -> None:
        super().__init__()
        self.properties = properties
        wanted = 0 if properties is None else properties.width
        self.network = Egnn(features + TIMES + wanted, features, width=width, layers=layers)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        log_snr: Float[Tensor, " B"],
        condition: Condition | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Return what is predicted of each state.

        Arguments:
            x: States, positions first.
            log_snr: ln(alpha^2 / sigma^2) of each.
            condition: Which points are there; all without one. And the properties that are
                wanted, in their units.
        """
        room = x.shape[1]
        x, mask = trimmed(x, condition)
        most = x.shape[1]
        shared = shared_by_points(log_snr, condition, self.properties)[:, None].expand(
            -1, most, -1
        )
        at, features = x[..., :3], x[..., 3:]
        moved, features = self.network(at, torch.cat([features, shared], dim=-1), mask)
        out = torch.cat([centred(moved - at, mask), features], dim=-1)
        return F.pad(out, (0, 0, 0, room - most))


TIMES = 3
"""Numbers by which a network is told the time."""


def clock(log_snr: Float[Tensor, " B"]) -> Float[Tensor, "B 3"]:
    """Return the log-SNR in numbers of about 1: itself, and the shares of signal at two scales."""
    return torch.stack([log_snr / 8, (log_snr / 2).sigmoid(), (log_snr / 6).sigmoid()], dim=1)


def shared_by_points(
    log_snr: Float[Tensor, " B"],
    condition: Condition | None,
    properties: PropertyCondition | None,
) -> Float[Tensor, "B Q"]:
    """Return what every point of a cloud is told: the time, and the properties that are wanted."""
    time = clock(log_snr)
    if properties is None:
        return time
    return torch.cat([time, properties(condition, time)], dim=1)


def trimmed(
    x: Float[Tensor, "B N D"], condition: Condition | None
) -> tuple[Float[Tensor, "B n D"], Bool[Tensor, "B n"]]:
    """Return states without the room that no cloud of the batch fills, and which points are there.

    Points are packed, so that what is cut off would be computed in vain.
    """
    mask = None if condition is None else condition.points
    if mask is None:
        return x, x.new_ones(x.shape[:2], dtype=torch.bool)
    most = max(1, int(mask.sum(1).max()))
    return x[:, :most], mask[:, :most]


def squared_distances(x: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N N"]:
    """Return |x_i - x_j|^2."""
    return (x[:, :, None] - x[:, None]).square().sum(-1)
