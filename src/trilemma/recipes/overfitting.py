r"""Overfitting of a critic: how much of its training examples it knows by heart.

With D the critic's score, x a training example, y a test example that it has not seen, and s a
sample,

    r = (E[D(x)] - E[D(y)]) / (E[D(x)] - E[D(s)])

is 0 where unseen examples look as real as those that it has seen, and 1 where they look like
samples: then its score says whether an example was seen, and nothing of how samples differ from
the data. Where training examples and samples differ by less than chance, there is no r.

Reference:
    Training Generative Adversarial Networks with Limited Data (Karras, Aittala, Hellsten, Laine,
    Lehtinen & Aila, 2020), arXiv:2006.06676: r_v.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from trilemma.core.batch import Condition
from trilemma.core.model import Model, Scoring
from trilemma.core.noise import Noise
from trilemma.data.dataset import DataSet, Split

__all__ = ["CriticOverfitting", "critic_scores"]

EXAMPLES = 128
"""Examples of each kind that are scored, at most."""
THRESHOLD = 0.6
"""The r from which on a critic is said to overfit."""
STANDARD_ERRORS = 2.0
"""By how many training examples and samples are to differ."""


@torch.no_grad()
def critic_scores(model: Model, data: DataSet, seed: int) -> dict[str, float]:
    """Score training examples, test examples and samples.

    Arguments:
        model: A model that is `Scoring`. Samples of a conditional one have the classes of the
            test examples.
        data: What it learns from, with a test split.
        seed: Of the samples.

    Returns:
        'score_train', 'score_test' and 'score_samples', the means, and 'overfitting', r; without
        it where training examples and samples do not differ.
    """
    assert isinstance(model, Scoring)
    n = min(EXAMPLES, len(data.train), len(data.test))
    noise = Noise.for_samples(seed, 0, n, next(model.parameters()).device)
    x, x_condition = _examples(data.train, n, noise.device, conditional=model.conditional)
    y, y_condition = _examples(data.test, n, noise.device, conditional=model.conditional)
    samples = model.sample(n, condition=y_condition, noise=noise)
    train = model.score(x, condition=x_condition).double()
    test = model.score(y, condition=y_condition).double()
    fake = model.score(samples, condition=y_condition).double()
    scores = {
        "score_train": float(train.mean()),
        "score_test": float(test.mean()),
        "score_samples": float(fake.mean()),
    }
    margin = scores["score_train"] - scores["score_samples"]
    standard_error = math.sqrt(float(train.var() + fake.var()) / n) if n > 1 else math.inf
    if margin > STANDARD_ERRORS * standard_error:
        scores["overfitting"] = (scores["score_train"] - scores["score_test"]) / margin
    return {name: float(f"{value:.4g}") for name, value in scores.items()}


class CriticOverfitting:
    """Looks at a critic now and then, and warns where it overfits twice in a row.

    Arguments:
        data: What the critic learns from, with a test split.
        seed: Of the samples.
        warm_up: Step from which on it warns.
    """

    def __init__(self, data: DataSet, seed: int, *, warm_up: int) -> None:
        self.data, self.seed, self.warm_up = data, seed, warm_up
        self._was_overfitting = False

    def __call__(self, model: Model, step: int) -> dict[str, Any]:
        """Return `critic_scores`, and 'alarms' with a sentence where there is one."""
        scores = critic_scores(model, self.data, self.seed)
        r = scores.get("overfitting", 0.0)
        is_lasting = r >= THRESHOLD and self._was_overfitting and step >= self.warm_up
        self._was_overfitting = r >= THRESHOLD
        return scores | ({"alarms": {"overfitting": self._warning(r)}} if is_lasting else {})

    def _warning(self, r: float) -> str:
        is_image = self.data.domain.kind == "image"
        augment = ", or --augment colour+translation+cutout, in gan with --adaptive true"
        return (
            f"the critic knows its {len(self.data.train):,} training examples by heart: others "
            f"look to it like samples (r = {r:.2f}, 0 is right, 1 the worst); more data "
            f"help{augment if is_image else ''}."
        )


def _examples(
    split: Split, n: int, device: torch.device, *, conditional: bool
) -> tuple[Tensor, Condition | None]:
    """Take n examples, evenly spaced, and the condition on their classes."""
    rows = torch.arange(n) * (len(split) // n)
    labels = split.labels
    if not conditional or labels is None:
        return split.x[rows].to(device), None
    return split.x[rows].to(device), Condition(label=labels[rows].to(device))
