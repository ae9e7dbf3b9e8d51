"""The paired game leaves no score at which a mode that is dropped costs nothing."""

from benchmarks.claims import Claim, Criterion
from benchmarks.paired import Side

CLAIM = Claim(
    says="R3GAN draws all 1,000 modes of stacked digits, with its default settings (§4)",
    data=("stacked-mnist",),
    sides=(Side("r3gan", ("r3gan",)),),
    criteria=(Criterion("r3gan", "modes", limit=1000),),
    minutes=30,
    samples=26_000,
)
