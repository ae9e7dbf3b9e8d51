"""The way back from noise is smooth: few evaluations of the network follow it."""

from benchmarks.claims import Claim, Criterion
from benchmarks.paired import Side

CLAIM = Claim(
    says="10 evaluations draw what the chain draws in 1,000 (§6)",
    data=("fashion-mnist",),
    sides=(
        Side("ten", ("ddpm",)),
        Side("chain", of="ten", drawing=("--steps", "1000", "--sampler", "ancestral")),
    ),
    criteria=(
        Criterion("ten", "fd", "chain", 1.1),
        Criterion("ten", "network_calls_each", limit=10),
    ),
    minutes=20,
)
