r"""How well small images are enlarged, against the large ones that they were made of.

    psnr          10 log10(L^2 / mse) of the enlarged image, L the highest level; dB
    ssim          structural similarity: means, variances and covariance in windows; 1 is equality
    consistency   psnr of the enlarged image, reduced again, against the small one
    colour_shift  mean over channels of |mean of the enlarged - mean of the true image|, in levels

All are means over test images. PSNR and SSIM ask for *the* image and are best served by the mean
of all that fit, which is blurred; a model that draws one of them loses on both and wins on `fd`.
Consistency and colour shift ask for nothing that the small image does not say. Beside each stands
what bicubic enlargement reaches. An image without error counts 100 dB.

References:
    | Image Quality Assessment: From Error Visibility to Structural Similarity (Wang, Bovik,
      Sheikh & Simoncelli, 2004)
    | The Perception-Distortion Tradeoff (Blau & Michaeli, 2018, arXiv:1711.06077)
    | Image Super-Resolution via Iterative Refinement (Saharia et al., 2021, arXiv:2104.07636):
      consistency
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from trilemma.core import sampling
from trilemma.core.domain import Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Restoring
from trilemma.core.noise import Noise, mix
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet
from trilemma.maths.resize import enlarged
from trilemma.metrics.context import Context, test_rows
from trilemma.metrics.metric import RARE, Better, Metric, Need
from trilemma.metrics.score import Score, mean_chance

__all__ = ["METRICS", "Enlarged", "bicubic", "compared", "enlarge", "restored", "test_images"]

MOST = 100.0
"""Decibels of an image without error."""

AT_ONCE = 64
"""Images restored together."""

GAUSSIAN, SQUARE = 11, 7
"""Side of SSIM's window: of the usual one, and of that for images too small for it."""


@dataclass(frozen=True)
class Enlarged:
    """Test images that a model shrank and enlarged, levels."""

    large: Tensor
    """[n, C, H, W]: what the model made."""
    true: Tensor
    """[n, C, H, W]."""
    small: Tensor
    """[n, C, h, w]."""
    top: int
    """The highest level."""


def enlarge(
    model: Restoring,
    data: DataSet,
    *,
    session: Session,
    n: int,
) -> Enlarged:
    """Shrink test images and let the model enlarge them.

    Arguments:
        model: Enlarges images of the data set's size; lies on the session's device.
        data: Has test examples.
        session: Its seed is that of the choice of images and of the model's noise.
        n: Most test images.

    Raises:
        BadInput: There are no test examples, or they are not of levels.
    """
    true, top = test_images(data, n, session.seed), _top(data)
    chunks = true.split(AT_ONCE)
    small = torch.cat([model.shrink(chunk.to(session.device)).cpu() for chunk in chunks])
    large = restored(model, small, session)
    return Enlarged(large, true, small, top)


def test_images(data: DataSet, n: int, seed: int) -> Tensor:
    """Return at most n test images, drawn by the seed, data units.

    Raises:
        BadInput: There are none.
    """
    if len(data.test) == 0:
        raise BadInput(f"data set '{data.name}' has no test images to restore.")
    return test_rows(data, n, seed)


def restored(
    model: Restoring,
    small: Tensor,
    session: Session,
) -> Tensor:
    """Return the large image of each small one, on the CPU; image i depends on seed and i alone.

    Runs under `no_grad` with the model in evaluation mode, and leaves its modes as they were.
    """
    assert isinstance(model, torch.nn.Module)
    parts = []
    with (
        sampling.evaluation_mode(model),
        torch.no_grad(),
        sampling.watched(model, session.check),  # type: ignore[arg-type]
    ):
        for low in range(0, len(small), AT_ONCE):
            chunk = small[low : low + AT_ONCE].to(session.device)
            high = low + len(chunk)
            noise = Noise.for_samples(mix(session.seed, "restore"), low, high, session.device)
            parts.append(model.restore(chunk, noise=noise).cpu())
            session.progress("restored", high, len(small))
    return torch.cat(parts)


def bicubic(small: Tensor, scale: int, top: int) -> Tensor:
    """Return the bicubic enlargement of levels 0 … top, uint8."""
    return enlarged(small.float(), scale).round().clamp(0, top).to(torch.uint8)


def compared(
    it: Enlarged, shrink: Callable[[Tensor], Tensor], *, seed: int, baselines: Mapping[str, Tensor]
) -> dict[str, Score]:
    """Score enlarged images against the true ones.

    Arguments:
        it: Enlarged images, with what they were made of.
        shrink: Makes small images of large ones.
        seed: Seed of the intervals.
        baselines: Other enlarged images of the same, by name.
    """

    def each(large: Tensor) -> dict[str, Tensor]:
        return _each(large, it.true, it.small, shrink, it.top)

    baseline_values = {name: each(baseline) for name, baseline in baselines.items()}
    return {
        name: Score(
            values.mean().item(),
            baselines={baseline: v[name].mean().item() for baseline, v in baseline_values.items()},
            n=len(it.large),
            protocol=_protocol(name, it.large, seed),
        ).with_interval(mean_chance(values))
        for name, values in each(it.large).items()
    }


def _each(
    large: Tensor, true: Tensor, small: Tensor, shrink: Callable[[Tensor], Tensor], top: int
) -> dict[str, Float[Tensor, " n"]]:
    """Return each metric of each image."""
    shrunk = torch.cat([shrink(chunk) for chunk in large.split(AT_ONCE)])
    means = [x.double().flatten(2).mean(2) for x in (large, true)]
    return {
        "psnr": _psnr(large, true, top),
        "ssim": _ssim(large, true, top),
        "consistency": _psnr(shrunk, small, top),
        "colour_shift": (means[0] - means[1]).abs().mean(1),
    }


def _psnr(x: Tensor, y: Tensor, top: int) -> Float[Tensor, " n"]:
    # Its import takes long, and is needed here alone.
    from torchmetrics.functional.image import peak_signal_noise_ratio

    values = peak_signal_noise_ratio(
        x.float(), y.float(), data_range=float(top), reduction="none", dim=(1, 2, 3)
    )
    return values.clamp(max=MOST)


def _ssim(x: Tensor, y: Tensor, top: int) -> Float[Tensor, " n"]:
    """Return the mean over windows that lie wholly inside the image, and over channels."""
    parts = zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True)
    window = _window(min(x.shape[2:]))
    return torch.cat([_ssim_of(a.double(), b.double(), window, top) for a, b in parts])


def _window(side: int) -> Float[Tensor, "k k"]:
    """Return the weights of a window: the usual Gaussian, or a square for small images."""
    if side >= GAUSSIAN:
        offsets = torch.arange(GAUSSIAN, dtype=torch.float64) - GAUSSIAN // 2
        profile = torch.exp(-offsets.square() / (2 * 1.5**2))
    else:
        profile = torch.ones(min(SQUARE, side - 1 + side % 2), dtype=torch.float64)
    weights = torch.outer(profile, profile)
    return weights / weights.sum()


def _ssim_of(x: Tensor, y: Tensor, window: Tensor, top: int) -> Float[Tensor, " n"]:
    def mean(z: Tensor) -> Tensor:
        return conv2d(z.flatten(0, 1)[:, None], window[None, None]).unflatten(0, x.shape[:2])

    c1, c2 = (0.01 * top) ** 2, (0.03 * top) ** 2
    m, k = mean(x), mean(y)
    var_x, var_y, cov = mean(x * x) - m * m, mean(y * y) - k * k, mean(x * y) - m * k
    likeness = (2 * m * k + c1) * (2 * cov + c2)
    return (likeness / ((m * m + k * k + c1) * (var_x + var_y + c2))).flatten(1).mean(1)


def _protocol(name: str, large: Tensor, seed: int) -> str:
    height, width = large.shape[2:]
    how = {
        "psnr": "mean of the images' PSNR, at most 100 dB each",
        "ssim": "Gaussian window of 11 pixels, 1.5 wide"
        if min(height, width) >= GAUSSIAN
        else f"square window of at most {SQUARE} pixels, as images are small",
        "consistency": "enlarged images reduced again against the small ones, at most 100 dB each",
        "colour_shift": "mean over images and channels of the absolute difference of means",
    }[name]
    return f"{len(large)} test images of {width}x{height}; {how}; seed {seed}"


def _top(data: DataSet) -> int:
    values = data.domain.values
    if not isinstance(values, Levels):
        raise BadInput(f"data set '{data.name}' is not of levels, which PSNR is about.")
    return values.count - 1


def _restored(context: Context) -> dict[str, Score]:
    """Score the samples, which are the test images that the model enlarged."""
    model, data = context.required_model, context.data
    true, top = test_images(data, context.n, context.seed), _top(data)
    small = torch.cat(
        [model.shrink(chunk.to(context.device)).cpu() for chunk in true.split(AT_ONCE)]
    )
    return compared(
        Enlarged(context.samples, true, small, top),
        model.shrink,
        seed=context.seed,
        baselines={"bicubic": bicubic(small, model.scale, top)},
    )


ENLARGING = Need(
    has=lambda model: isinstance(model, Restoring), absence="the model enlarges no images"
)


def _metric(
    name: str, better: Better, unit: str, meaning: str, failure: str, least: float, most: float
) -> Metric:
    return Metric(
        name=name,
        label=name.replace("_", " "),
        better=better,
        unit=unit,
        section="restoration",
        meaning=meaning,
        failure=failure,
        kinds=("image",),
        needs=ENLARGING,
        least=least,
        most=most,
        estimand="the expected value over fresh test images",
        leaves_out=RARE,
        measure=lambda context: context.once(_restored)[name],
    )


METRICS = (
    _metric(
        "psnr",
        "higher",
        "dB",
        "How near an enlarged image is to the true one, pixel by pixel, in decibels.",
        "Blurred images do well.",
        -math.inf,
        MOST,
    ),
    _metric(
        "ssim",
        "higher",
        "similarity",
        "How like an enlarged image is to the true one in the structure of small windows; 1 is "
        "equality.",
        "Blurred images do well here too.",
        -1.0,
        1.0,
    ),
    _metric(
        "consistency",
        "higher",
        "dB",
        "How near an enlarged image, reduced again, is to the small one that it was made of, in "
        "decibels: does it keep to what was given?",
        "It asks for nothing that the small image does not say.",
        -math.inf,
        MOST,
    ),
    _metric(
        "colour_shift",
        "lower",
        "levels",
        "By how many levels the mean colour of an enlarged image differs from the true one's.",
        "Faults that cancel in the mean do not show.",
        0.0,
        math.inf,
    ),
)
