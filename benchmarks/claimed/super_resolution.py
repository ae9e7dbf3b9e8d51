"""One of the images that fit looks like an image; their mean is a blur, and bicubic is one too."""

from benchmarks.claims import Claim, Criterion
from benchmarks.paired import Side

CLAIM = Claim(
    says="diffusion draws in 10 evaluations what a regressor and bicubic blur (§6)",
    data=("photos",),
    sides=(Side("sr3", ("sr3",)), Side("regression", ("sr3", "--method", "regression"))),
    criteria=(
        Criterion("sr3", "fd", "regression"),
        Criterion("sr3", "fd", "bicubic"),
        Criterion("sr3", "discrepancy", "regression"),
        Criterion("sr3", "discrepancy", "bicubic"),
        Criterion("sr3", "consistency", limit=40),
        Criterion("sr3", "network_calls_each", limit=10),
    ),
    minutes=20,
    samples=1000,
    also_shown=("psnr", "ssim", "precision"),
)
