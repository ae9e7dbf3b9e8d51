"""One of the images that fit looks like an image; their mean is a blur, and bicubic is one too."""

from benchmarks.claims import Claim, Wanted
from benchmarks.paired import Side

CLAIM = Claim(
    says="diffusion draws in 10 evaluations what a regressor and bicubic blur (§6)",
    data=("photos",),
    sides=(Side("sr3", ("sr3",)), Side("regression", ("sr3", "--method", "regression"))),
    wanted=(
        Wanted("sr3", "fd", "regression"),
        Wanted("sr3", "fd", "bicubic"),
        Wanted("sr3", "discrepancy", "regression"),
        Wanted("sr3", "discrepancy", "bicubic"),
        Wanted("sr3", "consistency", limit=40),
        Wanted("sr3", "network_calls_each", limit=10),
    ),
    minutes=20,
    samples=1000,
    beside=("psnr", "ssim", "precision"),
)
