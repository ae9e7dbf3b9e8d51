"""A critic with few real examples learns them by heart; changed alike, they are more."""

from benchmarks.claims import Claim, Criterion
from benchmarks.paired import Side

AUGMENT = ("--augment", "colour+translation+cutout")
CLAIM = Claim(
    says="with few data augmentation of real and fake examples makes a GAN better (§4)",
    data=("fashion-mnist@1%", "fashion-mnist@10%"),
    sides=(
        Side("plain", ("gan",)),
        Side("adaptive", ("gan", *AUGMENT, "--adaptive", "true")),
        Side("always", ("gan", *AUGMENT)),
    ),
    criteria=(Criterion("adaptive", "fd", "plain"), Criterion("always", "fd", "plain")),
    watched=("fd", "overfitting"),
)
