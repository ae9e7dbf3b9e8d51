"""Paired scores and penalties on both sides make the game converge on plain networks."""

from benchmarks.claims import Claim, Wanted
from benchmarks.paired import Side

CLAIM = Claim(
    says="R3GAN is simpler and better than a DCGAN (§4)",
    data=("fashion-mnist",),
    sides=(Side("dcgan", ("gan", "--network", "dcgan", "--ema", "0")), Side("r3gan", ("r3gan",))),
    wanted=(Wanted("r3gan", "fd", "dcgan", 0.5),),
    watched=("fd", "overfitting"),
)
