r"""How much of its training examples a critic knows by heart.

With D the critic's score, x a training example, y a test example that it has not seen, and s a
sample,

    r = (E[D(x)] - E[D(y)]) / (E[D(x)] - E[D(s)])

is 0 where unseen examples look as real as those that it has seen, and 1 where they look like
samples: then its score says whether an example was seen, and nothing of how samples differ from
the data. Where training examples and samples are told apart by less than chance, there is no r.

Reference:
    Training Generative Adversarial Networks with Limited Data (Karras, Aittala, Hellsten, Laine,
    Lehtinen & Aila, 2020), arXiv:2006.06676: r_v.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trilemma.core.batch import Condition
from trilemma.core.model import Model, Scoring
from trilemma.core.noise import Noise
from trilemma.data.dataset import DataSet, Split

__all__ = ["AS_MANY", "BY_HEART", "critic_scores", "known_by_heart"]

AS_MANY = 128
"""Examples of each kind that are scored, at most."""
BY_HEART = 0.6
"""The r from which on a critic is said to know its examples by heart."""
SURELY = 2.0
"""Standard errors by which training examples and samples are to differ."""


@torch.no_grad()
def critic_scores(
    model: Model, data: DataSet, seed: int, *, is_told: bool = False
) -> dict[str, float]:
    """Score training examples, test examples and samples.

    Arguments:
        model: A model that is `Scoring`.
        data: What it learns from, with a test split.
        seed: Of the samples.
        is_told: Whether the critic is told classes; samples then have those of the test examples.

    Returns:
        'score_train', 'score_test' and 'score_samples', the means, and 'overfitting', r; without
        it where training examples and samples are not told apart.
    """
    assert isinstance(model, Scoring)
    n = min(AS_MANY, len(data.train), len(data.test))
    noise = Noise.for_samples(seed, 0, n, next(model.parameters()).device)
    seen, unseen = (_some(split, n, noise.device) for split in (data.train, data.test))
    told = [Condition(label=label) if is_told else None for _, label in (seen, unseen)]
    samples = model.sample(n, condition=told[1], noise=noise)
    known = model.score(seen[0], condition=told[0]).double()
    unknown = model.score(unseen[0], condition=told[1]).double()
    made = model.score(samples, condition=told[1]).double()
    gap = float(known.mean() - made.mean())
    found = {
        "score_train": float(known.mean()),
        "score_test": float(unknown.mean()),
        "score_samples": float(made.mean()),
    }
    chance = math.sqrt(float(known.var() + made.var()) / n) if n > 1 else math.inf
    if gap > SURELY * chance:
        found["overfitting"] = (found["score_train"] - found["score_test"]) / gap
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def known_by_heart(r: float, data: DataSet) -> str:
    """Say that a critic knows its examples by heart; empty where it does not."""
    if r < BY_HEART:
        return ""
    help_ = ", or --augment colour+translation+cutout" if data.domain.kind == "image" else ""
    return (
        f"the critic knows its {len(data.train):,} training examples by heart: others look to it "
        f"like samples (r = {r:.2f}, 0 is right, 1 the worst); more data help{help_}."
    )


def _some(split: Split, n: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Take n examples, evenly spaced, and their classes."""
    rows = torch.arange(n) * (len(split) // n)
    labels = None if split.labels is None else split.labels[rows].to(device)
    return split.x[rows].to(device), labels
