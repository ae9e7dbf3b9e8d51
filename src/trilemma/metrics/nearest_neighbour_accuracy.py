r"""Whether samples and test clouds can be told apart by their nearest neighbours.

With S samples and as many test clouds T, each cloud of S ∪ T is given the side of its nearest
other cloud by the Chamfer distance,

    d(X, Y) = 1/|X| sum_x min_y |x - y|² + 1/|Y| sum_y min_x |x - y|²,

and the accuracy is the share of clouds that are given their own side: 1/2 where S and T are drawn
from one distribution, 1 where they are told apart, and below 1/2 where samples are copies of test
clouds. Clouds are compared in the pose that their principal axes give them, of four reflections
of the axes (rotations by half a turn) the nearest, and centred.

Reference:
    PointFlow: 3D Point Cloud Generation with Continuous Normalizing Flows (Yang et al., 2019).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.noise import mix
from trilemma.core.point_cloud import centred, mask_of, positions
from trilemma.metrics.context import Context, Reference
from trilemma.metrics.metric import QUALITY, Metric, Unmeasured
from trilemma.metrics.score import Score, Trials
from trilemma.metrics.trivial_point_clouds import TRIVIAL

__all__ = ["METRICS", "accuracy", "chamfer", "posed"]

MOST = 128
"""Clouds of each side at most."""
FEWEST = 20
TURNS = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
"""Rotations by half a turn about the axes, and none."""


def posed(x: Float[Tensor, "B N 4"]) -> tuple[Float[Tensor, "B N 3"], Tensor]:
    """Return positions along the principal axes of each cloud, right-handed, and the mask."""
    mask = mask_of(x)
    coords = centred(positions(x), mask)
    axes = torch.linalg.eigh((coords.mT @ coords).double()).eigenvectors.flip(2)
    axes[:, :, 2] *= torch.linalg.det(axes).sign()[:, None]
    return coords @ axes.to(coords), mask


def chamfer(
    a: Float[Tensor, "N 3"], b: Float[Tensor, "M K 3"], mask: Tensor
) -> Float[Tensor, " M"]:
    """Return the Chamfer distance of one cloud to others, the nearest of four half turns.

    Arguments:
        a: All points of the one.
        b: The others.
        mask: Which points of the others are there, [M, K].
    """
    best = torch.full((len(b),), torch.inf)
    count = mask.sum(1).clamp_min(1)
    for rotation in TURNS.to(a):
        square_distances = torch.cdist((a * rotation).expand(len(b), -1, -1), b).square()
        forward = square_distances.masked_fill(~mask[:, None], torch.inf).amin(2).mean(1)
        backward = (square_distances.amin(1) * mask).sum(1) / count
        best = torch.minimum(best, forward + backward)
    return best


def accuracy(one: Float[Tensor, "B N 4"], other: Float[Tensor, "B M 4"]) -> float:
    """Return the share of clouds whose nearest other cloud is of their own side."""
    posed_clouds = [posed(one), posed(other)]
    max_points = max(xyz.shape[1] for xyz, _ in posed_clouds)
    xyz = torch.cat(
        [torch.nn.functional.pad(a, (0, 0, 0, max_points - a.shape[1])) for a, _ in posed_clouds]
    )
    mask = torch.cat(
        [torch.nn.functional.pad(m, (0, max_points - m.shape[1])) for _, m in posed_clouds]
    )
    distances = torch.full((len(xyz), len(xyz)), torch.inf)
    for i in range(len(xyz) - 1):  # a half turn is its own inverse: the distance is the same back
        distances[i, i + 1 :] = chamfer(xyz[i][mask[i]], xyz[i + 1 :], mask[i + 1 :])
    distances = torch.minimum(distances, distances.T)
    is_first = torch.arange(len(xyz)) < len(one)
    return float((is_first[distances.argmin(1)] == is_first).double().mean())


def _marks(reference: Reference) -> tuple[Tensor, float, dict[str, float]]:
    """Return test clouds, and the accuracies of training clouds and of trivial ones."""
    data, seed = reference.data, reference.seed
    generator = torch.Generator().manual_seed(mix(seed, "nearest neighbours"))
    count = min(MOST, len(data.test), len(data.train), reference.n)
    test = data.test.x[torch.randperm(len(data.test), generator=generator)[:count]]
    train = data.train.x[torch.randperm(len(data.train), generator=generator)[:count]]
    trivial = {name: accuracy(make(data, count, seed), test) for name, make in TRIVIAL.items()}
    return test, accuracy(train, test), trivial


def _measure(context: Context) -> Score:
    test, floor, trivial = context.reference.once(_marks)
    count = min(len(test), context.n)
    if count < FEWEST:
        raise Unmeasured(f"{count} clouds a side are too few; take {FEWEST} or more")
    x = context.samples[:count]
    if not x.isfinite().all():
        raise Unmeasured("samples have coordinates that are not finite")
    return Score(
        accuracy(x, test[:count]),
        floor=floor,
        baselines=trivial,
        n=count,
        protocol=f"1-nearest-neighbour accuracy of {count} samples and {count} test clouds, "
        "squared Chamfer distance, posed by principal axes, the nearest of four half turns; "
        "1/2: not told apart; floor: training clouds; interval: Wilson's, of clouds",
    ).with_interval(Trials(2 * count))


METRICS = (
    Metric(
        name="nn_accuracy",
        label="1-NN accuracy",
        better="lower",
        unit="share of clouds",
        meaning="Share of samples and test clouds whose nearest other cloud is of their own side; "
        "one half where they cannot be told apart.",
        failure="Below one half where samples copy the test clouds; copies of training clouds "
        "reach the floor.",
        kinds=("point-cloud",),
        ranks=QUALITY,
        least=0.0,
        most=1.0,
        too_wide="everywhere, as neighbours are shared",
        measure=_measure,
    ),
)
