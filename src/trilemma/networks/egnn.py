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

    W (h_i, h_j, d) = A h_i + B h_j + C d,

so that no array of N x N x 2 W numbers is made. Pairs are many and points are few: a point may
have more numbers than a pair (`EgnnForm.pairs`), which costs little time. And a distance may be
seen as its square, which is the paper's, or by a basis of functions each of which is large at one
distance, which tells 1.4 ångström from 1.5 more easily.

References:
    E(n) Equivariant Graph Neural Networks (Garcia Satorras, Hoogeboom & Welling, 2021),
    arXiv:2102.09844.
    Equivariant Diffusion for Molecule Generation in 3D (Hoogeboom, Garcia Satorras, Vignac &
    Welling, 2022), arXiv:2203.17003: attention, normalised differences, two steps a layer.
    SchNet (Schütt et al., 2017), arXiv:1706.08566: distances in a basis of Gaussians.
    SemlaFlow (Irwin, Tibo, Janet & Olsson, 2024), arXiv:2406.07266: pairs narrower than points.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trilemma.core.batch import Condition
from trilemma.core.point_cloud import centred
from trilemma.networks.property_condition import PropertyCondition

__all__ = [
    "LARGEST",
    "TIMES",
    "DistanceBasis",
    "Egnn",
    "EgnnDenoiser",
    "EgnnForm",
    "EgnnLayer",
    "PairNetwork",
    "clock",
    "shared_by_points",
    "trimmed",
]

LARGEST = 256
"""Points of a cloud at most: every pair of them is looked at."""
AT_ONCE = 8_000_000
"""Numbers of pairs that are computed together, at most. An array of 32 MiB, which 2^23 numbers in
float32 are, is memory that the C library asks the system for anew each time, which clears it page
by page: of 64 clouds of 96 points at once a training step took three times as long."""
PARTS, UNEVEN = 4, 1.5
"""Parts in which a batch is computed where its room has more than so many times the pairs that
there are."""
SMALLEST = 1e-8
"""Added to squared distances before their root is taken, whose derivative is infinite at 0."""
REACH = 5.0
"""r: how far a pair may move a point in one layer, at most, times c."""
SUMMED = 10.0
"""c, about the number of the points whose messages are summed."""


FURTHEST = 5.0
"""The largest distance that a basis tells from others, in units of the spread of positions."""


@dataclass(frozen=True)
class EgnnForm:
    """How a network is built; by default as the paper has it, at a small size.

    Arguments:
        width: W, numbers of a point.
        layers: How many layers.
        pairs: P, numbers of a pair; 0: as many as of a point.
        basis: K, Gaussians in which a distance is seen; 0: by its square.
        is_normed: Whether a layer sees features of mean 0 and variance 1.
        reach: r.
        summed: c.
        is_separate: Whether displacements are of a pair network of their own, of the features
            after their update, as in EDM; else of the messages.
    """

    width: int = 64
    layers: int = 4
    pairs: int = 0
    basis: int = 0
    is_normed: bool = False
    reach: float = REACH
    summed: float = SUMMED
    is_separate: bool = False


class DistanceBasis(nn.Module):
    """Distances as numbers: K Gaussians at even distances, and the distance; or its square.

        b_k(d) = exp(-(d - c_k)^2 / (2 s^2)),    c_k = 0, s, 2 s, …, 5

    Arguments:
        count: K; 0: the square alone.
    """

    centres: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.numbers = count + 1
        self.sharpness = (count - 1) / FURTHEST
        self.register_buffer("centres", torch.linspace(0, FURTHEST, count), persistent=False)

    def forward(self, squared: Float[Tensor, "B N N"]) -> Float[Tensor, "B N N K+1"]:
        """Return the numbers of squared distances."""
        if self.numbers == 1:
            return squared[..., None]
        d = (squared[..., None] + SMALLEST).sqrt()
        waves = ((d - self.centres) * self.sharpness).square().mul(-0.5).exp()
        return torch.cat([waves, d], dim=-1)


class PairNetwork(nn.Module):
    """Two layers over pairs: (h_i, h_j, distances now and at first) to P numbers.

    Arguments:
        form: Of the network.
    """

    def __init__(self, form: EgnnForm) -> None:
        super().__init__()
        pairs = form.pairs or form.width
        self.receiver = nn.Linear(form.width, pairs)
        self.sender = nn.Linear(form.width, pairs, bias=False)
        self.distances = nn.Linear(2 * (form.basis + 1), pairs, bias=False)
        self.second = nn.Linear(pairs, pairs)

    def forward(
        self,
        h: Float[Tensor, "B N W"],
        now: Float[Tensor, "B N N K"],
        initial: Float[Tensor, "B N N K"],
    ) -> Float[Tensor, "B N N P"]:
        """Return the pairs' numbers."""
        pairs = self.receiver(h)[:, :, None] + self.sender(h)[:, None]
        distances = torch.cat([now, initial], dim=-1)
        is_square = now.shape[-1] == 1  # large and fine: never in bf16
        with torch.autocast(h.device.type, enabled=False) if is_square else nullcontext():
            pairs = torch.addmm(
                (pairs.to(distances) if is_square else pairs).flatten(0, 2),
                distances.flatten(0, 2),
                self.distances.weight.T,
            ).view_as(pairs)
        inplace = not torch.is_grad_enabled()  # then nothing is wanted of what was there before
        return F.silu(self.second(F.silu(pairs, inplace=inplace)), inplace=inplace)


class EgnnLayer(nn.Module):
    """One update of features and positions.

    Arguments:
        form: Of the network.
    """

    def __init__(self, form: EgnnForm) -> None:
        super().__init__()
        width, pairs = form.width, form.pairs or form.width
        self.share, self.summed = form.reach / form.summed, form.summed
        self.norm = nn.LayerNorm(width) if form.is_normed else nn.Identity()
        self.messages = PairNetwork(form)
        self.attention = nn.Linear(pairs, 1)
        self.update = nn.Sequential(
            nn.Linear(width + pairs, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.displacements = PairNetwork(form) if form.is_separate else None
        self.displacement = nn.Linear(pairs, 1, bias=False)
        nn.init.xavier_uniform_(self.displacement.weight, gain=0.001)

    def forward(
        self,
        x: Float[Tensor, "B N 3"],
        h: Float[Tensor, "B N W"],
        initial: Float[Tensor, "B N N K"],
        pairs: Float[Tensor, "B N N"],
        point_mask: Float[Tensor, "B N 1"],
        basis: DistanceBasis,
    ) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N W"]]:
        """Return positions and features after the update.

        Arguments:
            x: Positions.
            h: Features.
            initial: Distances of the positions that the network was given, in the basis.
            pairs: 1 for pairs of two points that are there, else 0.
            point_mask: 1 for points that are there, else 0.
            basis: In which distances are seen.
        """
        differences = x[:, :, None] - x[:, None]
        squared = differences.square().sum(-1)
        distance_features, normed_h = basis(squared), self.norm(h)
        messages = self.messages(normed_h, distance_features, initial)
        weights = self.attention(messages)[..., 0].sigmoid() * pairs
        aggregated = (weights[:, :, None].to(messages) @ messages)[:, :, 0] / self.summed
        h = (h + self.update(torch.cat([normed_h, aggregated], dim=-1))) * point_mask
        if self.displacements is not None:
            messages = self.displacements(self.norm(h), distance_features, initial)
        displacement_weights = self.displacement(messages)[..., 0].to(x).tanh()
        displacement_weights = (
            displacement_weights * pairs * self.share / ((squared + SMALLEST).sqrt() + 1)
        )
        return x + (displacement_weights[..., None] * differences).sum(2) * point_mask, h


class Egnn(nn.Module):
    """Positions and features of points to positions and features.

    Arguments:
        inputs: Features of a point.
        outputs: Features that are given of a point.
        form: How it is built.
    """

    def __init__(self, inputs: int, outputs: int, form: EgnnForm) -> None:
        super().__init__()
        self.embedding = nn.Linear(inputs, form.width)
        self.basis = DistanceBasis(form.basis)
        self.layers = nn.ModuleList(EgnnLayer(form) for _ in range(form.layers))
        self.output = nn.Linear(form.width, outputs)
        self.widest = max(form.pairs or form.width, 2 * self.basis.numbers)
        """Numbers of a pair in the largest array."""

    def forward(
        self,
        x: Float[Tensor, "B N 3"],
        h: Float[Tensor, "B N F"],
        mask: Bool[Tensor, "B N"],
    ) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N G"]]:
        """Return positions, which move as the given ones do, and features, which stay.

        The mean of the positions stays where it is. A batch is computed in parts where that takes
        less time: of large clouds, and of clouds that differ much in size.

        Arguments:
            x: Positions.
            h: Features.
            mask: Which points are there.
        """
        parts = self._parts(mask)
        if len(parts) == 1:
            return self._forward_batch(x, h, mask)
        outputs = [self._part(x, h, mask, rows) for rows in parts]
        inverse_order = torch.cat(parts).argsort()
        positions, features = (
            torch.cat(tensors)[inverse_order] for tensors in zip(*outputs, strict=True)
        )
        return positions, features

    def _forward_batch(
        self, x: Float[Tensor, "B N 3"], h: Float[Tensor, "B N F"], mask: Bool[Tensor, "B N"]
    ) -> tuple[Float[Tensor, "B N 3"], Float[Tensor, "B N G"]]:
        """Compute a batch in one part."""
        point_mask = mask[..., None].to(x)
        off_diagonal = 1 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        pairs = point_mask * point_mask.mT * off_diagonal
        initial = self.basis(squared_distances(x))
        features, positions = self.embedding(h) * point_mask, x
        for layer in self.layers:
            positions, features = layer(
                positions, features, initial, pairs, point_mask, self.basis
            )
        return (x + centred(positions - x, mask)) * point_mask, self.output(features) * point_mask

    def _parts(self, mask: Bool[Tensor, "B N"]) -> list[Int[Tensor, " b"]]:
        """Return the rows that are computed together, of clouds of like size.

        All pairs of the room of a part are computed, there or not. A processor has the less to
        do the smaller that room is; a GPU does it all at once.
        """
        count, padded_size = mask.shape
        sizes, pairs = extents(mask), count * padded_size**2
        parts = -(-pairs * self.widest // AT_ONCE)
        if mask.device.type == "cpu" and count >= PARTS**2:
            parts = max(parts, PARTS if pairs > UNEVEN * int(sizes.square().sum()) else 1)
        return list(sizes.argsort(stable=True).chunk(max(min(parts, count), 1)))

    def _part(
        self, x: Tensor, h: Tensor, mask: Tensor, rows: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b N 3"], Float[Tensor, "b N G"]]:
        """Compute some rows, in the room that they fill."""
        padded_size = x.shape[1]
        trimmed_size = max(1, int(extents(mask[rows]).max()))
        positions, features = self._forward_batch(
            x[rows, :trimmed_size], h[rows, :trimmed_size], mask[rows, :trimmed_size]
        )
        return F.pad(positions, (0, 0, 0, padded_size - trimmed_size)), F.pad(
            features, (0, 0, 0, padded_size - trimmed_size)
        )


class EgnnDenoiser(nn.Module):
    """A denoiser of clouds: a network between states [B, N, 3 + F], conditioned on the log-SNR.

    What it gives in the place of positions is a difference of positions: it turns with them, and
    is never moved by a translation.

    Arguments:
        features: F, numbers of a point beside its position.
        form: How the network is built.
        properties: Reads the properties that a cloud is wanted to have; None: it has no say.
    """

    def __init__(
        self,
        features: int,
        form: EgnnForm,
        *,
        properties: PropertyCondition | None = None,
    ) -> None:
        super().__init__()
        self.properties = properties
        property_width = 0 if properties is None else properties.width
        self.network = Egnn(features + TIMES + property_width, features, form)

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
        padded_size = x.shape[1]
        x, mask = trimmed(x, condition)
        trimmed_size = x.shape[1]
        shared = shared_by_points(log_snr, condition, self.properties)[:, None].expand(
            -1, trimmed_size, -1
        )
        positions, features = x[..., :3], x[..., 3:]
        new_positions, features = self.network(
            positions, torch.cat([features, shared], dim=-1), mask
        )
        out = torch.cat([centred(new_positions - positions, mask), features], dim=-1)
        return F.pad(out, (0, 0, 0, padded_size - trimmed_size))


TIMES = 3
"""Width of a time embedding."""


def clock(log_snr: Float[Tensor, " B"]) -> Float[Tensor, "B 3"]:
    """Return the log-SNR in numbers of about 1: itself, and the shares of signal at two scales."""
    return torch.stack([log_snr / 8, (log_snr / 2).sigmoid(), (log_snr / 6).sigmoid()], dim=1)


def shared_by_points(
    log_snr: Float[Tensor, " B"],
    condition: Condition | None,
    properties: PropertyCondition | None,
) -> Float[Tensor, "B Q"]:
    """Return the condition of every point of a cloud: the time, and the wanted properties."""
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
    trimmed_size = max(1, int(mask.sum(1).max()))
    return x[:, :trimmed_size], mask[:, :trimmed_size]


def extents(mask: Bool[Tensor, "B N"]) -> Int[Tensor, " B"]:
    """Return how many places of each cloud are needed: up to the last point that is there."""
    return (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(1)


def squared_distances(x: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N N"]:
    """Return |x_i - x_j|^2."""
    return (x[:, :, None] - x[:, None]).square().sum(-1)
