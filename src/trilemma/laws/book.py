"""All laws of the library, in the order of the lecture."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence

from trilemma.core.errors import BadInput, Interrupted
from trilemma.laws import (
    adversarial,
    attention,
    augment,
    autoencoding,
    autoregressive,
    bounds,
    column_coordinates,
    columns,
    continuous,
    denoising,
    diffusion,
    discrepancy,
    energy,
    flow,
    fragments,
    games,
    gcpn,
    geometry,
    graph_metrics,
    graph_rnn,
    latent,
    memorisation,
    metrics,
    policy,
    property_condition,
    restoration,
    samplers,
    spline,
    tables,
    tabular_autoregressive,
    transformer,
)
from trilemma.laws.law import Check, Computation, Law, equal

__all__ = ["library_laws", "timed"]


def library_laws() -> Sequence[Check]:
    """Return the checks of every family and of the metrics."""
    return (
        *autoencoding.CHECKS,
        *bounds.CHECKS,
        *columns.CHECKS,
        *column_coordinates.CHECKS,
        *adversarial.CHECKS,
        *games.CHECKS,
        *augment.CHECKS,
        *energy.CHECKS,
        *autoregressive.CHECKS,
        *transformer.CHECKS,
        *tabular_autoregressive.CHECKS,
        *flow.CHECKS,
        *spline.CHECKS,
        *continuous.CHECKS,
        *diffusion.CHECKS,
        *denoising.CHECKS,
        *samplers.CHECKS,
        *attention.CHECKS,
        *latent.CHECKS,
        *restoration.CHECKS,
        *graph_rnn.CHECKS,
        *policy.CHECKS,
        *gcpn.CHECKS,
        *geometry.CHECKS,
        *property_condition.CHECKS,
        *fragments.CHECKS,
        *metrics.CHECKS,
        *discrepancy.CHECKS,
        *tables.CHECKS,
        *graph_metrics.CHECKS,
        *memorisation.CHECKS,
    )


def timed(checks: Iterable[Computation]) -> Iterator[tuple[Law, float]]:
    """Run checks one after another; yield each law with its share of the check's seconds.

    A check that ends in an error is a law that does not hold, which names the check and the error.
    """
    for check in checks:
        start = time.perf_counter()
        try:
            laws = check()
        except (BadInput, Interrupted):
            raise
        except Exception as error:  # the other laws are to run
            laws = [_broken(check, error)]
        seconds = (time.perf_counter() - start) / max(len(laws), 1)
        yield from ((law, seconds) for law in laws)


def _broken(check: Computation, error: Exception) -> Law:
    """Return the law that fails for a check that could not be computed."""
    name, module = (getattr(check, key, "") for key in ("__name__", "__module__"))
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    title = f"check '{name or check}' can be computed; it ends in {reason}"
    return equal(title, module.removeprefix("trilemma."), math.nan, 0, 0)
