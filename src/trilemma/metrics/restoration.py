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

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from trilemma.core import sampling
from trilemma.core.domain import Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Restoring
from trilemma.core.noise import Noise, mix
from trilemma.data.dataset import DataSet
from trilemma.maths.resize import enlarged
from trilemma.metrics.score import Score, mean_chance

__all__ = ["METRICS", "bicubic", "compared", "lacking", "restoration", "restored", "test_images"]

UNITS = {"psnr": "dB", "ssim": "similarity", "consistency": "dB", "colour_shift": "levels"}
METRICS = tuple(UNITS)

MOST = 100.0
"""Decibels of an image without error."""

AT_ONCE = 64
"""Images restored together."""

GAUSSIAN, SQUARE = 11, 7
"""Side of SSIM's window: of the usual one, and of that for images too small for it."""

Progress = Callable[[str, int, int], None]


def restoration(
    model: Restoring,
    data: DataSet,
    *,
    n: int,
    seed: int,
    device: torch.device | str = "cpu",
    check: Callable[[], None] | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Score], Tensor]:
    """Shrink test images, let the model enlarge them, and compare.

    Arguments:
        model: Enlarges images of the data set's size; lies on `device`.
        data: Has test examples.
        n: Most test images.
        seed: Seed of the choice of images, of the model's noise and of the intervals.
        device: Where the model lies.
        check: Called before each network call; raises to stop.
        progress: Told of each chunk.

    Returns:
        The scores by name, and the enlarged images, [n, C, H, W] in data units.

    Raises:
        BadInput: There are no test examples.
    """
    true = test_images(data, n, seed)
    small = torch.cat([model.shrink(part.to(device)).cpu() for part in true.split(AT_ONCE)])
    large = restored(model, small, seed=seed, device=device, check=check, progress=progress)
    top = _top(data)
    scores = compared(
        large,
        true,
        small,
        model.shrink,
        top=top,
        seed=seed,
        baselines={"bicubic": bicubic(small, model.scale, top)},
    )
    return scores, large


def test_images(data: DataSet, n: int, seed: int) -> Tensor:
    """Return at most n test images, drawn by the seed, data units.

    Raises:
        BadInput: There are none.
    """
    if len(data.test) == 0:
        raise BadInput(f"data set '{data.name}' has no test images to restore.")
    generator = torch.Generator().manual_seed(seed)
    return data.test.x[torch.randperm(len(data.test), generator=generator)[:n]]


def restored(
    model: Restoring,
    small: Tensor,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    check: Callable[[], None] | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Return the large image of each small one, on the CPU; image i depends on seed and i alone.

    Runs under `no_grad` with the model in evaluation mode, and leaves its modes as they were.
    """
    assert isinstance(model, torch.nn.Module)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    parts = []
    try:
        with torch.no_grad(), sampling.watched(model, check):  # type: ignore[arg-type]
            for low in range(0, len(small), AT_ONCE):
                part = small[low : low + AT_ONCE].to(device)
                high = low + len(part)
                noise = Noise.for_samples(mix(seed, "restore"), low, high, device)
                parts.append(model.restore(part, noise=noise).cpu())
                if progress is not None:
                    progress("restored", high, len(small))
    finally:
        for module, training in modes:
            module.training = training
    return torch.cat(parts)


def bicubic(small: Tensor, scale: int, top: int) -> Tensor:
    """Return the bicubic enlargement of levels 0 … top, uint8."""
    return enlarged(small.float(), scale).round().clamp(0, top).to(torch.uint8)


def compared(
    large: Tensor,
    true: Tensor,
    small: Tensor,
    shrink: Callable[[Tensor], Tensor],
    *,
    top: int,
    seed: int,
    baselines: Mapping[str, Tensor],
) -> dict[str, Score]:
    """Score enlarged images against the true ones.

    Arguments:
        large: [n, C, H, W], levels.
        true: [n, C, H, W], levels.
        small: [n, C, h, w], levels, of which `large` were made.
        shrink: Makes small images of large ones.
        top: The highest level.
        seed: Seed of the intervals.
        baselines: Other enlarged images of the same, by name.
    """
    found = _each(large, true, small, shrink, top)
    beside = {name: _each(other, true, small, shrink, top) for name, other in baselines.items()}
    scores = {}
    for name, values in found.items():
        scores[name] = Score(
            values.mean().item(),
            unit=UNITS[name],
            better="lower" if name == "colour_shift" else "higher",
            baselines={other: v[name].mean().item() for other, v in beside.items()},
            n=len(large),
            protocol=_protocol(name, large, seed),
        ).within(mean_chance(values), **_range(name))
    return scores


def lacking(model: object) -> dict[str, str]:
    """Return the reason why each metric is skipped, for a model that enlarges nothing."""
    if isinstance(model, Restoring):
        return {}
    return dict.fromkeys(METRICS, "the model enlarges no images")


def _each(
    large: Tensor, true: Tensor, small: Tensor, shrink: Callable[[Tensor], Tensor], top: int
) -> dict[str, Float[Tensor, " n"]]:
    """Return each metric of each image."""
    again = torch.cat([shrink(part) for part in large.split(AT_ONCE)])
    means = [x.double().flatten(2).mean(2) for x in (large, true)]
    return {
        "psnr": _psnr(large, true, top),
        "ssim": _ssim(large, true, top),
        "consistency": _psnr(again, small, top),
        "colour_shift": (means[0] - means[1]).abs().mean(1),
    }


def _psnr(x: Tensor, y: Tensor, top: int) -> Float[Tensor, " n"]:
    # Its import takes long, and is needed here alone.
    from torchmetrics.functional.image import peak_signal_noise_ratio

    each = peak_signal_noise_ratio(
        x.float(), y.float(), data_range=float(top), reduction="none", dim=(1, 2, 3)
    )
    return each.clamp(max=MOST)


def _ssim(x: Tensor, y: Tensor, top: int) -> Float[Tensor, " n"]:
    """Return the mean over windows that lie wholly inside the image, and over channels."""
    parts = zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True)
    window = _window(min(x.shape[2:]))
    return torch.cat([_ssim_of(a.double(), b.double(), window, top) for a, b in parts])


def _window(side: int) -> Float[Tensor, "k k"]:
    """Return the weights of a window: the usual Gaussian, or a square for small images."""
    if side >= GAUSSIAN:
        at = torch.arange(GAUSSIAN, dtype=torch.float64) - GAUSSIAN // 2
        line = torch.exp(-at.square() / (2 * 1.5**2))
    else:
        line = torch.ones(min(SQUARE, side - 1 + side % 2), dtype=torch.float64)
    weights = torch.outer(line, line)
    return weights / weights.sum()


def _ssim_of(x: Tensor, y: Tensor, window: Tensor, top: int) -> Float[Tensor, " n"]:
    def mean(z: Tensor) -> Tensor:
        return conv2d(z.flatten(0, 1)[:, None], window[None, None]).unflatten(0, x.shape[:2])

    c1, c2 = (0.01 * top) ** 2, (0.03 * top) ** 2
    m, k = mean(x), mean(y)
    var_x, var_y, cov = mean(x * x) - m * m, mean(y * y) - k * k, mean(x * y) - m * k
    likeness = (2 * m * k + c1) * (2 * cov + c2)
    return (likeness / ((m * m + k * k + c1) * (var_x + var_y + c2))).flatten(1).mean(1)


def _range(name: str) -> dict[str, float]:
    """Return the ends of a metric's range."""
    return {"colour_shift": {"least": 0.0}, "ssim": {"least": -1.0, "most": 1.0}}.get(
        name, {"most": MOST}
    )


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
