"""Paired scores and penalties on both sides make the game converge on plain networks."""

from benchmarks.claims import Claim
from benchmarks.paired import Side

CLAIM = Claim(
    says="R3GAN is simpler and better than a DCGAN (§4)",
    data=("fashion-mnist",),
    sides=(Side("dcgan", ("gan",)), Side("r3gan", ("r3gan",))),
    ours="r3gan",
    against="dcgan",
    share=0.5,
)
