"""Paired scores and penalties on both sides make the game converge on plain networks."""

from benchmarks.claims import Claim, Criterion
from benchmarks.paired import Side

DCGAN = ("gan", "--network", "dcgan", "--ema", "0")
"""Without averaged weights. In its paper's form it has no penalty and a low learning rate; with
R1 and the recipe's rate it is a stronger opponent."""
CLAIM = Claim(
    says="R3GAN is simpler and better than a DCGAN (§4)",
    data=("fashion-mnist",),
    sides=(
        Side("dcgan", (*DCGAN, "--penalty", "none", "--lr", "2e-4")),
        Side("r3gan", ("r3gan",)),
        Side("penalised-dcgan", DCGAN),
    ),
    criteria=(Criterion("r3gan", "fd", "dcgan", 0.5),),
    watched=("fd", "overfitting"),
)
