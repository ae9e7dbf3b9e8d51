"""Exact and bounded likelihoods of grey digits, in bits a dimension."""

from benchmarks.claims import Claim, Criterion
from benchmarks.paired import Side

CLAIM = Claim(
    says="flows and diffusion have likelihoods of pixels: by the change of variables, by an ODE, "
    "by a bound (§6, §7)",
    data=("mnist",),
    sides=(
        Side("glow", ("glow",)),
        Side("flow-matching", ("flow-matching",)),
        Side("ddpm", ("ddpm",)),
    ),
    criteria=(
        Criterion("glow", "bits_per_dim", limit=1.05),
        Criterion("flow-matching", "bits_per_dim", limit=1.1),
        Criterion("ddpm", "bits_per_dim", limit=1.35),
    ),
    minutes=60,
)
