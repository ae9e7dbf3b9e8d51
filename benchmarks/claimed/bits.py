"""Exact and bounded likelihoods of grey digits, in bits a dimension."""

from benchmarks.claims import Claim, Wanted
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
    wanted=(
        Wanted("glow", "bits_per_dim", limit=1.05),
        Wanted("flow-matching", "bits_per_dim", limit=1.1),
        Wanted("ddpm", "bits_per_dim", limit=1.35),
    ),
    minutes=60,
)
