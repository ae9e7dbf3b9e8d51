r"""What is lost on the way through a code and back.

    reconstruction        fd of reconstructed test examples, a baseline of `fd`: no sample of a
                          model whose first stage loses something is better but by chance
    reconstruction_psnr   mean of 10 log10 (R² / mse) over test images, R the range of levels, dB
    round_trip            root of the mean square of x - d(e(x)) over test examples, as a share of
                          the range of levels, or of the training data's standard deviation

The first two are of models that have a first stage, the last of all that map data to codes and
back: an autoencoder's shows what its code leaves out, that of a flow or of a diffusion model by
its differential equation what rounding and finite steps do. On levels the way back ends on a
level, so that nothing is said of errors below half of one.

References:
    High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022),
    arXiv:2112.10752: the first stage is judged before anything is diffused
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.core.model import Coded, Gradual, Model, Reconstructing
from trilemma.core.noise import CHUNK, Noise, mix
from trilemma.data.dataset import DataSet
from trilemma.metrics.extractors import Extractor
from trilemma.metrics.frechet import frechet_distance
from trilemma.metrics.score import Score, mean_chance

__all__ = ["first_stage", "lacking", "psnr", "reconstructed", "round_trip"]

AT_ONCE = 4 * CHUNK
MOST, MOST_IN_STEPS = 128, 32
"""Examples of a round trip; of a model whose way takes many steps."""
FINEST, MOST_DECIBELS = 1e-5, 100.0
"""Root mean square, as a share of the range, that counts as no loss, and its decibels."""


def lacking(model: Model[Any, Any]) -> dict[str, str]:
    """Name what cannot be asked of a model, with the reason."""
    reasons = {}
    if not isinstance(model, Reconstructing):
        reasons["reconstruction_psnr"] = "the model has no first stage"
    if not isinstance(model, Coded):
        reasons["round_trip"] = "the model does not map data to codes and back"
    return reasons


@contextmanager
def _asked(model: Model[Any, Any]) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def reconstructed(
    model: Model[Any, Any],
    x: Tensor,
    *,
    seed: int,
    device: torch.device | str,
    check: Callable[[], None] | None = None,
) -> Tensor:
    """Return what the first stage makes of examples, [N, *shape], on the CPU."""
    assert isinstance(model, Reconstructing)
    parts = [x[:0]]
    with _asked(model):
        for start in range(0, len(x), AT_ONCE):
            if check is not None:
                check()
            part = x[start : start + AT_ONCE].to(device)
            stop = start + len(part)
            noise = Noise.for_samples(mix(seed, "reconstruction"), start, stop, device)
            parts.append(model.reconstruct(part, noise=noise).cpu())
    return torch.cat(parts)


def first_stage(
    x: Tensor,
    again: Tensor,
    data: DataSet,
    extractor: Extractor,
    test: Float[Tensor, "N F"],
    *,
    seed: int,
) -> tuple[float | None, dict[str, Score], dict[str, str]]:
    """Measure reconstructions of test examples.

    Arguments:
        x: Test examples, data units.
        again: What became of them.
        data: Where they are from.
        extractor: Of the features.
        test: Features of the test examples that samples are held against.
        seed: Seed of the interval.

    Returns:
        Their fd, None where they are too few; the scores; what is skipped with the reason.
    """
    try:
        distance = frechet_distance(extractor(again), test)
    except BadInput:
        distance = None
    values = data.domain.values
    if not isinstance(values, Levels):
        return distance, {}, {"reconstruction_psnr": "real numbers have no range"}
    each = psnr(x, again, values.count - 1)
    middle = _mean(data)
    score = Score(
        each.mean().item(),
        unit="dB",
        better="higher",
        baselines={"mean": psnr(x, middle, values.count - 1).mean().item()},
        n=len(x),
        protocol=f"mean over {len(x)} test examples of the peak signal-to-noise ratio of what the "
        f"first stage makes of them, range {values.count - 1}; interval: Student's, of a "
        "skewed mean",
    ).within(mean_chance(each), most=MOST_DECIBELS)
    return distance, {"reconstruction_psnr": score}, {}


def psnr(x: Tensor, y: Tensor, span: float) -> Float[Tensor, " N"]:
    """Return 10 log10 (R² / mse) of each example, at most 100 dB.

    >>> psnr(torch.zeros(1, 4), torch.full((1, 4), 25.5), 255.0).tolist()
    [20.0]
    """
    error = (x.double() - y.double()).flatten(1).square().mean(1) / span**2
    return -10 * error.clamp_min(FINEST**2).log10()


def round_trip(
    model: Model[Any, Any],
    x: Tensor,
    data: DataSet,
    *,
    seed: int,
    device: torch.device | str,
) -> dict[str, Score]:
    """Return how much is lost by encoding test examples and decoding the codes.

    Arguments:
        model: Is `Coded`.
        x: Test examples, data units; the first `MOST` are taken, or of a model that samples in
            steps, and encodes in as many, `MOST_IN_STEPS`.
        data: Where they are from.
        seed: Seed of the interval.
        device: Where the model lies.
    """
    assert isinstance(model, Coded)
    most = MOST_IN_STEPS if isinstance(model, Gradual) else MOST
    x = x[:most]
    with _asked(model):
        again = model.decode(model.encode(x.to(device))).cpu()
    unit = _unit(data)

    def error(y: Tensor) -> Tensor:
        scale = _plain(data.domain)
        return ((scale(x) - scale(y)) / unit).flatten(1).square().mean(1)

    each = error(again)
    value = each.mean().sqrt().item()
    square = Score(each.mean().item()).within(mean_chance(each), least=0.0)
    levels = isinstance(data.domain.values, Levels)
    what = "range" if levels else "training data's standard deviation"
    score = Score(
        value,
        unit=f"share of the {what.split()[-1]}",
        better="lower",
        baselines={"mean": error(_mean(data)).mean().sqrt().item()},
        n=len(x),
        protocol=f"root mean square of x - decode(encode(x)) over {len(x)} test examples, as a "
        f"share of the {what}; interval: Student's, of a skewed mean of squares",
    )
    return {"round_trip": replace(score, low=square.low**0.5, high=square.high**0.5)}


def _plain(domain: Domain) -> Callable[[Tensor], Tensor]:
    """Return the scale on which errors are taken: levels as they are, columns standardised."""
    if isinstance(domain.values, Levels):
        return Tensor.double
    return lambda x: domain.values.scale(x).double()


def _unit(data: DataSet) -> float:
    """Return what an error is a share of."""
    if isinstance(data.domain.values, Levels):
        return float(data.domain.values.count - 1)
    scaled = data.domain.values.scale(data.train.x).double()
    return max(scaled.var(0, correction=0).mean().sqrt().item(), 1e-12)


def _mean(data: DataSet) -> Tensor:
    """Return the training mean, one row, in data units but not rounded."""
    total = torch.zeros(data.domain.shape, dtype=torch.float64)
    for part in data.train.x.split(4096):
        total += part.double().sum(0)
    return (total / len(data.train))[None]
