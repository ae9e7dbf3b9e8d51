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

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core.domain import Domain, Levels
from trilemma.core.model import Coded, Gradual, Model, Reconstructing
from trilemma.core.noise import Noise, mix
from trilemma.core.sampling import evaluation_mode
from trilemma.core.session import Session
from trilemma.data.dataset import DataSet
from trilemma.metrics.context import AT_ONCE, Context
from trilemma.metrics.metric import RARE, Metric, Need, Unmeasured
from trilemma.metrics.score import Score, mean_chance

__all__ = ["METRICS", "psnr", "reconstruct_test_examples", "reconstructed", "round_trip"]

MOST, MOST_IN_STEPS = 128, 32
"""Examples of a round trip; of a model whose way takes many steps."""
FINEST = 1e-5
"""Root mean square, as a share of the range, that counts as no loss: 100 dB."""


def reconstructed(
    model: Model[Any, Any],
    x: Tensor,
    session: Session,
) -> Tensor:
    """Return what the first stage makes of examples, [N, *shape], on the CPU."""
    assert isinstance(model, Reconstructing)
    parts = [x[:0]]
    with evaluation_mode(model), torch.no_grad():
        for start in range(0, len(x), AT_ONCE):
            session.check()
            chunk = x[start : start + AT_ONCE].to(session.device)
            stop = start + len(chunk)
            noise = Noise.for_samples(
                mix(session.seed, "reconstruction"), start, stop, session.device
            )
            parts.append(model.reconstruct(chunk, noise=noise).cpu())
    return torch.cat(parts)


def reconstruct_test_examples(context: Context) -> Tensor:
    """Return the first stage's reconstructions of test examples."""
    return reconstructed(context.required_model, context.test, context.session)


def first_stage_psnr(context: Context) -> Score:
    """Return the mean signal-to-noise ratio of reconstructed test examples.

    Raises:
        Unmeasured: The data are real numbers, which have no range.
    """
    values, x = context.data.domain.values, context.test
    if not isinstance(values, Levels):
        raise Unmeasured("real numbers have no range")
    psnr_values = psnr(x, context.once(reconstruct_test_examples), values.count - 1)
    return Score(
        psnr_values.mean().item(),
        baselines={"mean": psnr(x, _mean(context.data), values.count - 1).mean().item()},
        n=len(x),
        protocol=f"mean over {len(x)} test examples of the peak signal-to-noise ratio of what the "
        f"first stage makes of them, range {values.count - 1}; interval: Student's, of a skewed "
        "mean",
    ).with_interval(mean_chance(psnr_values))


def psnr(x: Tensor, y: Tensor, span: float) -> Float[Tensor, " N"]:
    """Return 10 log10 (R² / mse) of each example, at most 100 dB.

    >>> psnr(torch.zeros(1, 4), torch.full((1, 4), 25.5), 255.0).tolist()
    [20.0]
    """
    error = (x.double() - y.double()).flatten(1).square().mean(1) / span**2
    return -10 * error.clamp_min(FINEST**2).log10()


def round_trip(context: Context) -> Score:
    """Return how much is lost by encoding test examples and decoding the codes.

    The first `MOST` test examples are taken, or `MOST_IN_STEPS` of a model that samples in steps,
    and encodes in as many.
    """
    data = context.data
    max_examples = MOST_IN_STEPS if isinstance(context.model, Gradual) else MOST
    x = context.test[:max_examples]
    model = context.required_model
    with evaluation_mode(model), torch.no_grad():
        decoded = model.decode(model.encode(x.to(context.device))).cpu()
    unit = _unit(data)

    def error(y: Tensor) -> Tensor:
        scale = _plain(data.domain)
        return ((scale(x) - scale(y)) / unit).flatten(1).square().mean(1)

    square_errors = error(decoded)
    value = square_errors.mean().sqrt().item()
    mean_square = Score(square_errors.mean().item()).with_interval(mean_chance(square_errors))
    levels = isinstance(data.domain.values, Levels)
    what = "range" if levels else "training data's standard deviation"
    return Score(
        value,
        unit=f"share of the {what.split()[-1]}",
        baselines={"mean": error(_mean(data)).mean().sqrt().item()},
        n=len(x),
        low=max(mean_square.low, 0.0) ** 0.5,
        high=mean_square.high**0.5,
        protocol=f"root mean square of x - decode(encode(x)) over {len(x)} test examples, as a "
        f"share of the {what}; interval: Student's, of a skewed mean of squares",
    )


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
    for chunk in data.train.x.split(4096):
        total += chunk.double().sum(0)
    return (total / len(data.train))[None]


METRICS = (
    Metric(
        name="reconstruction_psnr",
        label="first stage psnr",
        better="higher",
        unit="dB",
        section="codes",
        meaning="How near unseen images come back from the first stage's code, in decibels: what "
        "the samples cannot exceed.",
        failure="Blurred images do well.",
        kinds=("image",),
        needs=Need(
            has=lambda model: isinstance(model, Reconstructing),
            absence="the model has no first stage",
        ),
        most=100.0,
        estimand="the expected value over fresh test examples",
        measure=first_stage_psnr,
    ),
    Metric(
        name="round_trip",
        label="round trip",
        better="lower",
        section="codes",
        meaning="What is lost when unseen data are encoded and decoded again, as a share of their "
        "range (or standard deviation): 0 is nothing.",
        failure="On levels the way back ends on a level, so that it says nothing of errors below "
        "half of one.",
        kinds=("image", "points"),
        needs=Need(
            has=lambda model: isinstance(model, Coded),
            absence="the model does not map data to codes and back",
        ),
        least=0.0,
        estimand="the expected value over fresh test examples",
        leaves_out=RARE,
        measure=round_trip,
    ),
)
