r"""Whether an adversarial game goes wrong, by the numbers of its last steps.

A step tells, as means over its batch, the critic's scores r = D(x) and f = D(G(z)), the norms
|g_D| and |g_G| of both players' gradients before clipping, and the spread

    v = sum_i Var[G(z)_i] / sum_i Var[x_i],

the summed variances of the coordinates of a batch of fakes over those of its real examples. Three
troubles show in them; each must hold over a whole window of `WINDOW` steps, in nine of ten steps:

    collapse       v < 0.05, and not rising: the fakes of a batch hardly differ, so that G has
                   all but forgotten z. A generator begins with a small spread too, but then it
                   grows: by a quarter from the first half of the window to the second is enough
                   to be left alone.
    sure critic    |g_G| < 0.005 |r - f|, with r - f of one sign throughout: D tells fakes from
                   data, and yet the loss hardly changes with G's weights. It has saturated: with
                   the saturating loss |g_G| carries the factor s(f), nearly 0 for a sure D.
    dead critic    |r - f| and |g_G| both below 1e-4 of the scores' size max(|r|, |f|): D gives
                   everything one score; its gradient is zero, and nobody learns. Or both norms are
                   below 1e-7: less than the ε of AdamW can tell from nothing.

The last two compare scores with scores and with their derivatives, so that they mean the same for
logits, for critics of any scale (wgan) and for energies; of both, healthy games are far: there
|g_G| is some tenths to a hundred times |r - f|. Equal scores alone are no trouble: they are what
the game strives for, and then batches keep both gradients alive.

The window makes single odd batches harmless. A history that is shorter is not judged: a run that
goes on after a stop is watched again when a window is full. Whoever asks passes the first few
hundred steps over, in which everything may look like anything.

References:
    Generative Adversarial Networks (Goodfellow et al., 2014), arXiv:1406.2661: both ways to fail.
    Towards Principled Methods for Training Generative Adversarial Networks (Arjovsky & Bottou,
    2017), arXiv:1701.04862: why a sure critic stops the generator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

__all__ = ["WINDOW", "alarms"]

WINDOW = 100
"""Steps that a trouble must have lasted."""
PERSISTENT = 0.9
"""Share of the window's steps in which it must show."""
SPREAD = 0.05
"""Spread of a batch of fakes, over that of the data, below which they hardly differ."""
GROWTH = 1.25
"""How much the spread grows within a window while a generator still unfolds."""
SATURATED = 5e-3
"""Gradient of the generator, over the gap between the scores, below which its loss is flat."""
FLAT = 1e-4
"""Gap and gradient, over the size of the scores, below which a critic is constant."""
NOTHING = 1e-7
"""Gradients' norms that an optimiser cannot tell from 0."""


def alarms(history: Sequence[Mapping[str, float]], energy: bool = False) -> Mapping[str, str]:
    """Return a sentence by kind of trouble; empty where all is well, or too little is known.

    Arguments:
        history: The terms of the last steps, oldest first: 'critic/real', 'critic/fake',
            'critic/norm', 'generator/norm' and 'generator/variance'; steps with a number missing
            or not finite are passed over by what needs it.
        energy: Whether the critic's scores are energies, low on data.

    >>> step = {"critic/real": 3.0, "critic/fake": 3.0, "critic/norm": 0.0, "generator/norm": 0.0}
    >>> list(alarms([step] * 100)), list(alarms([step] * 99))
    (['dead critic'], [])
    """
    recent = history[-WINDOW:]
    if len(recent) < WINDOW:
        return {}
    sentences = {
        "collapse": _collapse(recent),
        "sure critic": _sure(recent, energy),
        "dead critic": _dead(recent, energy),
    }
    return {kind: sentence for kind, sentence in sentences.items() if sentence}


def _collapse(recent: Sequence[Mapping[str, float]]) -> str:
    spreads = [v for (v,) in _columns(recent, "generator/variance")]
    if not _lasts([v < SPREAD for v in spreads]):
        return ""
    half = len(spreads) // 2
    if median(spreads[half:]) > GROWTH * median(spreads[:half]):
        return ""
    return (
        f"collapse: the fakes of a batch hardly differ; their variance is {median(spreads):.2g} "
        f"of the data's over the last {len(recent)} steps (1 is right). Try --penalty r1 or r1+r2 "
        "with a larger --gamma, a lower --lr, a larger --batch, or --loss rsgan."
    )


def _sure(recent: Sequence[Mapping[str, float]], energy: bool) -> str:
    rows = _columns(recent, "critic/real", "critic/fake", "generator/norm")
    gaps = [real - fake for real, fake, _ in rows]
    one_sign = _lasts([gap > 0 for gap in gaps]) or _lasts([gap < 0 for gap in gaps])
    flat = [
        norm < SATURATED * abs(gap) and not _is_constant(real, fake)
        for gap, (real, fake, norm) in zip(gaps, rows, strict=True)
    ]
    if not (one_sign and _lasts(flat)):
        return ""
    real, fake, norm = (median(column) for column in zip(*rows, strict=True))
    return (
        f"sure critic: it knows fakes so surely ({_scores(real, fake, energy)}) that the "
        f"generator's gradient has all but vanished (norm {norm:.2g}). Try --loss ns or rsgan in "
        "place of a loss that saturates, --penalty r1 with a larger --gamma, or fewer "
        "--critic-steps."
    )


def _dead(recent: Sequence[Mapping[str, float]], energy: bool) -> str:
    rows = _columns(recent, "critic/real", "critic/fake", "critic/norm", "generator/norm")
    constant = [
        _is_constant(real, fake) and g_norm <= FLAT * max(abs(real), abs(fake))
        for real, fake, _, g_norm in rows
    ]
    vanished = [
        d_norm < NOTHING and g_norm < NOTHING and g_norm >= SATURATED * abs(real - fake)
        for real, fake, d_norm, g_norm in rows
    ]
    if not (_lasts(constant) or _lasts(vanished)):
        return ""
    real, fake, d_norm, g_norm = (median(column) for column in zip(*rows, strict=True))
    return (
        f"dead critic: it tells nothing any more ({_scores(real, fake, energy)}; gradients of "
        f"norm {d_norm:.2g} in the critic and {g_norm:.2g} in the generator). Try a lower --lr, "
        "--penalty r1 in place of none or clip, a smaller --gamma, or another --loss."
    )


def _scores(real: float, fake: float, energy: bool) -> str:
    noun = "energy" if energy else "score"
    return f"{noun} {real:.3g} on data and {fake:.3g} on fakes"


def _is_constant(real: float, fake: float) -> bool:
    """Tell whether two scores are the same, but for what rounding leaves."""
    return abs(real - fake) <= FLAT * max(abs(real), abs(fake))


def _columns(recent: Sequence[Mapping[str, float]], *names: str) -> list[tuple[float, ...]]:
    """Return these numbers of each step that has them all, and all of them finite."""
    rows = [tuple(step.get(name, math.nan) for name in names) for step in recent]
    return [row for row in rows if all(map(math.isfinite, row))]


def _lasts(flags: Sequence[bool]) -> bool:
    """Tell whether a symptom lasted through a whole window."""
    return sum(flags) >= PERSISTENT * WINDOW
