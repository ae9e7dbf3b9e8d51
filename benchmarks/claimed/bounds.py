"""Bounds and exact likelihoods of binarised digits stand in one column."""

from benchmarks.claims import Claim, Criterion
from benchmarks.paired import Side

CLAIM = Claim(
    says="a hierarchy of latents has a tighter bound than one level, and an autoregressive model "
    "a higher likelihood than either (§2, §5)",
    data=("mnist-dynamic",),
    sides=(
        Side("vae", ("vae",)),
        Side("hierarchical", ("vae", "--levels", "3")),
        Side("pixelcnn", ("pixelcnn",)),
    ),
    criteria=(
        Criterion("vae", "importance_bound", limit=-85),
        Criterion("hierarchical", "importance_bound", limit=-81),
        Criterion("pixelcnn", "log_prob", limit=-80),
    ),
    minutes=60,
    measuring=("--draws", "500"),
)
