"""How much of a Fréchet distance is owed to which classes are drawn.

Takes trained runs on data of which a classifier is shipped. Of each, samples are drawn and sorted
by the classifier; `fd` stands of the first of them, and of as many of each class, in the order in
which they were drawn: what is left is no matter of the shares of the classes.

    python -m benchmarks class-balance --runs runs/one,runs/other
"""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.record import Section
from benchmarks.trained import trained_alike
from trilemma.core.errors import BadInput
from trilemma.core.sampling import draw
from trilemma.core.session import Session
from trilemma.metrics.extractors import extractor
from trilemma.metrics.features import feature_reference
from trilemma.metrics.judge import judge_samples
from trilemma.metrics.modes import mode_count, modes_of
from trilemma.recipes.runs import load

ABOUT = "fd of samples as they are drawn, and of as many of each class"
OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "runs": ("", "folders of trained runs on the same data, with commas"),
    "samples": (2000, "samples that are measured"),
    "drawn": (6000, "samples among which as many of each class are looked for"),
}
SMALLEST = {"samples": 130, "drawn": 600}
"""Options with which all of it runs once, soon."""
SEED = 0


def main(options: Any) -> list[Section]:
    """Measure both of each run."""
    paths, data = trained_alike(options.runs)
    classifier = extractor(None, data, n=options.samples)
    modes = modes_of(data, classifier) if mode_count(data) else None
    if modes is None or modes.of_features is None:
        raise BadInput(f"of '{data.name}' no classifier is shipped that could sort samples.")
    reference = feature_reference(data, classifier, n=options.samples, session=Session(seed=SEED))
    each = options.samples // modes.count

    def fd(x: torch.Tensor) -> str:
        judgement = judge_samples(x, reference, session=Session(), only=("fd",))
        if "fd" not in judgement.metrics:
            return judgement.skipped["fd"]
        score = judgement.metrics["fd"]
        return f"{score.value:.2f} ({score.low:.2f} … {score.high:.2f})"

    rows = []
    for path in paths:
        model = load(path, warn=print).model.eval()
        with torch.no_grad():
            x = draw(model, options.drawn, seed=SEED)
        classes = modes.sort(x, classifier(x)).which
        counts = torch.bincount(classes.clamp_min(0), minlength=modes.count)
        shares = " ".join(f"{100 * count / len(x):.0f}" for count in counts.tolist())
        if int(counts.min()) < each:
            balanced = f"fewer than {each} of a class"
        else:
            balanced = fd(torch.cat([x[classes == k][:each] for k in range(modes.count)]))
        rows.append([path.name, shares, fd(x[: options.samples]), balanced])
    heads = ["run", "of a hundred, by class", "fd as drawn", f"fd of {each} of each class"]
    return [Section(f"{options.drawn} samples on {data.name}, seed {SEED}", heads, rows)]
