"""Laws that a trained model has to obey, asked by what it can do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trilemma.core.domain import Columns, Domain
from trilemma.core.model import (
    Bounded,
    Coded,
    Completing,
    Density,
    Energetic,
    Gradual,
    Invertible,
    Model,
    Ordered,
    Partitioned,
    Tightening,
)
from trilemma.core.noise import Noise
from trilemma.core.sampling import draw
from trilemma.laws.law import Computation, Law, at_most, equal

__all__ = ["trained_laws"]

LOOK = 64
"""Test examples looked at."""


def trained_laws(model: Model[Any, Any], x: Tensor) -> Sequence[Computation]:
    """Return the checks that apply to a model, on some test examples in data units."""
    batch = x[:LOOK].to(next(model.parameters()).device)
    checks: list[Computation] = [partial(_samples, model)]
    if isinstance(model, Bounded):
        checks.append(partial(_bounds, model, batch))
    if isinstance(model, Gradual):
        checks.append(partial(_path, model))
    if isinstance(model, Coded):
        checks.append(partial(_codes, model, batch))
    if isinstance(model, Completing) and batch.dim() == 4:
        checks.append(partial(_completions, model, batch))
    if isinstance(model, Ordered) and isinstance(model, Density):
        checks.append(partial(_order, model, batch))
    if isinstance(model, Energetic) and isinstance(model, Partitioned):
        checks.append(partial(_partition, model))
    checks += [
        partial(_inverse, child, model.domain.values.dequantise(batch, Noise.of(3, len(batch))))  # type: ignore[union-attr]
        for child in model.children()
        if isinstance(child, Invertible)
    ]
    return checks


def _share_that_differs(a: Tensor, b: Tensor) -> float:
    """Return the share of numbers that differ, beyond 1e-4 where they are floats."""
    if a.dtype == torch.uint8:
        return float((a != b).float().mean())
    return float(((a - b).abs() > 1e-4 * (1 + b.abs())).float().mean())


def _samples(model: Model[Any, Any]) -> list[Law]:
    weights_before = {name: value.clone() for name, value in model.state_dict().items()}
    samples = draw(model, 70, seed=0)
    first_samples = draw(model, 3, seed=0)
    changed = sum(not torch.equal(v, weights_before[k]) for k, v in model.state_dict().items())
    source = "core contract"
    return [
        equal(
            "sample i is the same for n = 3 and n = 70 (share of values that differ)",
            source,
            _share_that_differs(first_samples, samples[:3]),
            0,
            1e-3,
        ),
        equal("sampling changes no weight (tensors changed)", source, changed, 0, 0),
        equal(
            "samples are finite (share that is not)",
            source,
            float((~samples.float().isfinite()).float().mean()),
            0,
            0,
        ),
    ]


def _bounds(model: Bounded, x: Tensor) -> list[Law]:
    with torch.no_grad():
        bound = model.bound(x, noise=Noise.of(1, len(x), x.device)).double()
        laws = []
        spread = 3 * float(bound.std()) / math.sqrt(len(x))
        if isinstance(model, Density):
            exact = model.log_prob(x).double()
            laws.append(
                at_most(
                    "bound <= ln p(x), in mean over test examples, nats",
                    "lecture §3, §6",
                    float(bound.mean()),
                    float(exact.mean()),
                    spread,
                )
            )
        if isinstance(model, Tightening):
            importance_bound = model.importance_bound(
                x, 16, noise=Noise.of(2, len(x), x.device)
            ).double()
            laws.append(
                at_most(
                    "ELBO <= importance-weighted bound of 16, in mean, nats",
                    "lecture §3; Burda, Grosse & Salakhutdinov 2016",
                    float(bound.mean()),
                    float(importance_bound.mean()),
                    3 * float((bound - importance_bound).std()) / math.sqrt(len(x)),
                )
            )
        laws.append(
            equal(
                "the bound is finite (share of test examples for which it is not)",
                "lecture §3, §6",
                float((~bound.isfinite()).double().mean()),
                0,
                0,
            )
        )
    return laws


def _path(model: Gradual) -> list[Law]:
    with torch.no_grad():
        device = next(model.parameters()).device  # type: ignore[attr-defined]
        frames = model.path(4, frames=5, noise=Noise.for_samples(0, 0, 4, device))
        end = model.sample(4, noise=Noise.for_samples(0, 0, 4, device))  # type: ignore[attr-defined]
    return [
        equal(
            "the way from noise ends at the sample (share of values that differ)",
            "lecture §6",
            _share_that_differs(frames[-1], end),
            0,
            1e-3,
        )
    ]


def _codes(model: Coded, x: Tensor) -> list[Law]:
    with torch.no_grad():
        subset_codes, batch_codes = model.encode(x[:8]), model.encode(x)[:8]
    gap = float((subset_codes - batch_codes).abs().max() / (1 + batch_codes.abs().max()))
    return [equal("a code does not depend on its batch (largest gap)", "lecture §2", gap, 0, 1e-4)]


def _completions(model: Completing, x: Tensor) -> list[Law]:
    x, known_mask = x[:8], torch.zeros_like(x[:8], dtype=torch.bool)
    known_mask[:, :, : x.shape[2] // 2] = True
    with torch.no_grad():
        completed = model.complete(x, known_mask, noise=Noise.of(4, len(x), x.device))
        unconstrained = model.complete(
            x, torch.zeros_like(known_mask), noise=Noise.of(4, len(x), x.device)
        )
        samples = model.sample(len(x), noise=Noise.of(4, len(x), x.device))  # type: ignore[attr-defined]
    return [
        equal(
            "a completion keeps what is known (share of known values changed)",
            "lecture §5",
            float((completed != x)[known_mask].float().mean()),
            0,
            0,
        ),
        equal(
            "with nothing known it is a sample (share of values that differ)",
            "lecture §5",
            _share_that_differs(unconstrained, samples),
            0,
            1e-3,
        ),
    ]


def _order(model: Any, x: Tensor) -> list[Law]:  # noqa: ANN401
    """Change the lower part of images, or later columns: what is said before must not move."""
    x = x[:8]
    early = _early(model.domain).to(x.device)
    changed = torch.where(early, x, x.flip(0))
    with torch.no_grad():
        original_terms, changed_terms = (
            model.conditionals(x).double(),
            model.conditionals(changed).double(),
        )
        log_prob = model.log_prob(x).double()
    return [
        equal(
            "what comes later changes nothing said before (largest change, nats)",
            "lecture §5; van den Oord, Kalchbrenner & Kavukcuoglu 2016",
            float(((original_terms - changed_terms) * early).abs().max()),
            0,
            1e-4,
        ),
        equal(
            "and something said after (1 if so)",
            "lecture §5",
            float(((original_terms - changed_terms) * ~early).abs().max() > 1e-6),
            1,
            0,
        ),
        equal(
            "ln p(x) is the sum of its conditionals (largest gap, nats)",
            "lecture §5",
            float((original_terms.flatten(1).sum(1) - log_prob).abs().max()),
            0,
            1e-2,
        ),
    ]


def _early(domain: Domain) -> Tensor:
    """Tell which coordinates come in the first half of the order, of the shape of an example."""
    axis = 1 if domain.kind == "image" else 0
    size = domain.shape[axis]
    half = size // 2
    if domain.kind == "image":
        half -= half % 4  # a multiple of every cell's side
    elif isinstance(domain.values, Columns) and half in domain.values.flags:
        half += 1  # a value and its flag are not parted
    index = (torch.arange(size) < half).view(-1, *(1 for _ in domain.shape[axis + 1 :]))
    return index.expand(domain.shape)


def _partition(model: Partitioned) -> list[Law]:
    device = next(model.parameters()).device  # type: ignore[attr-defined]
    ln_z = model.log_partition(noise=Noise.of(5, 16, device))
    return [
        at_most(
            "forward estimate of ln Z <= reverse estimate, by 16 chains each way, nats",
            "lecture §5; Neal 2001",
            ln_z.lower,
            ln_z.upper,
            0.5 + 0.01 * abs(ln_z.upper),
        )
    ]


def _inverse(part: Invertible, y: Tensor) -> list[Law]:
    return [
        at_most(
            "a flow's inverse undoes it (largest error, data of spread about 1)",
            "lecture §5; Dinh, Sohl-Dickstein & Bengio 2017",
            float(part.inverse_error(y).max()),
            0,
            1e-2,
        )
    ]
