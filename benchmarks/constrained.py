"""Constrained improvement: what 200 calls a molecule buy where it must stay like itself.

Molecules with the lowest penalised logP of the data's test split, or of `--start FILE.smi`, are
improved by `data.constrained`, at several similarities. *Success*: a molecule that is worth more,
at that similarity. Figures of papers, on 800 of ZINC, and with other numbers of calls: GCPN 4.20 ±
1.28, 4.12 ± 1.19, 2.49 ± 1.30, 0.79 ± 0.63 at 0, .2, .4, .6, success 100 %.
"""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

import torch

from benchmarks.record import Section
from trilemma.data import sources
from trilemma.data.chemistry import parsed
from trilemma.data.constrained import improve
from trilemma.data.properties import expression

OPTIONS: dict[str, tuple[float | int | str, str]] = {
    "data": ("moses", "whose test split the molecules are from"),
    "start": ("", "a .smi of the molecules instead"),
    "molecules": (100, "how many, the lowest first"),
    "reward": ("plogp", "what is to be raised"),
    "similarities": ("0,0.2,0.4,0.6", "that must stay, with commas between"),
    "calls": (200, "calls a molecule"),
    "seed": (0, "seed of the search"),
}


def main(options: Any) -> list[Section]:
    """Improve each."""
    worth = expression(options.reward)
    if options.start:
        data = sources.load(options.start)
        names = [*(data.train.names or ()), *(data.test.names or ())]
    else:
        names = list(sources.load(options.data).test.names or ())
    values = torch.tensor(worth([parsed(s) for s in names]))
    lowest = [names[i] for i in values.argsort()[: options.molecules].tolist()]
    rows = []
    for text in options.similarities.split(","):
        made = [
            improve(s, worth, least=float(text), calls=options.calls, seed=options.seed + i)
            for i, s in enumerate(lowest)
        ]
        gains = [one.after - one.before for one in made]
        success = sum(gain > 0 for gain in gains) / len(gains)
        rows.append(
            [
                text,
                f"{mean(gains):.2f} ± {stdev(gains):.2f}",
                f"{success:.0%}",
                f"{mean(one.similarity for one in made):.2f}",
                f"{mean(one.before for one in made):.2f}",
                f"{mean(one.calls for one in made):.0f}",
            ]
        )
    title = (
        f"{options.reward} of the {len(lowest)} lowest of {options.start or options.data}'s test "
        f"split, {options.calls} calls each, at most 38 heavy atoms"
    )
    heads = ("similarity", "improvement", "success", "similarity reached", "before", "calls")
    return [Section(title, heads, rows)]
