r"""What a search for molecules has found, and what its policy builds.

    top1, top10, top100 mean worth of the best that a search has found
    auc_top10           PMO's area below top10 over 10,000 calls (`maths.search`)
    reward              mean worth of fresh samples
    success             share of samples within all bands of a reward
    improvement         how much more given molecules are worth in the end, in mean
    improved            share of them that are worth more

References:
    | Sample Efficiency Matters (Gao et al., 2022), for auc_top10
    | Junction Tree Variational Autoencoder (Jin, Barzilay & Jaakkola, 2018), for improvement
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trilemma.core.model import Constrained, Seeking
from trilemma.core.molecule import molecule
from trilemma.data.chemistry import fingerprints, parsed, to_smiles
from trilemma.data.constrained import similarity
from trilemma.data.rewards import expression
from trilemma.maths.search import CALLS, auc_top, top
from trilemma.metrics.context import Context
from trilemma.metrics.metric import NEAR_ONE, REWARD, Metric, Need, Unmeasured
from trilemma.metrics.molecules import (
    MOST,
    SCREENED,
    diversity_spread,
    internal_diversity,
    references_of,
    spelt_of,
    version,
)
from trilemma.metrics.score import Score, Trials, mean_chance

__all__ = ["METRICS"]


def _worths(context: Context) -> dict[str, float | Tensor]:
    """Return what others are worth by the reward that is sought: data, chance, alkanes."""
    reward, references = expression(context.required_model.seeks), references_of(context)
    call_count = max(1, len(context.required_model.call_scores()))
    train = [s for s in references.real.smiles if s][: min(SCREENED, call_count)]
    baselines: dict[str, float | Tensor] = {
        f"screening of {len(train)} training molecules": _rewards(reward, train)
    }
    random_molecules = references.stand_ins["random"].different[: min(SCREENED, call_count)]
    baselines[f"{len(random_molecules)} molecules of chance"] = _rewards(reward, random_molecules)
    limit = context.required_model.most
    for how, alkane in (("straight", _straight), ("branched", _branched)):
        chains = _padded([alkane(n) for n in range(1, limit + 1)], limit)
        smiles = to_smiles(chains, context.data.domain.elements)
        baselines[f"{how} alkanes up to C{limit}"] = _rewards(reward, smiles)
    return baselines


def _straight(n: int) -> Tensor:
    return molecule([1] * n, [(i, i + 1, 1) for i in range(n - 1)])


def _branched(n: int) -> Tensor:
    """Return a chain with a methyl at every second atom."""
    chain = n - max(0, n - 1) // 3
    bonds = [(i, i + 1, 1) for i in range(chain - 1)]
    return molecule([1] * n, [*bonds, *((2 * k + 1, chain + k, 1) for k in range(n - chain))])


def _padded(each: Sequence[Tensor], limit: int) -> Tensor:
    padded = torch.zeros(len(each), limit, limit, dtype=torch.uint8)
    for row, x in zip(padded, each, strict=True):
        row[: len(x), : len(x)] = x
    return padded


def _rewards(reward: Callable[[Sequence[object]], list[float]], smiles: Sequence[str]) -> Tensor:
    return torch.tensor(reward([parsed(s) for s in smiles]), dtype=torch.float64)


def _calls(context: Context) -> Tensor:
    """Return what was asked, in order.

    Raises:
        Unmeasured: Nothing was asked yet.
    """
    scores = context.required_model.call_scores()
    if not len(scores):
        raise Unmeasured("nothing was asked of the reward yet")
    return scores


def _top(k: int) -> Callable[[Context], Score]:
    def measure(context: Context) -> Score:
        model, scores = context.required_model, _calls(context)
        baseline_scores = context.once(_worths)
        return Score(
            top(scores, k),
            unit=model.seeks,
            baselines={name: top(torch.as_tensor(x), k) for name, x in baseline_scores.items()},
            n=min(k, len(scores)),
            protocol=f"mean of the best {min(k, len(scores))} of {len(scores):,} different "
            f"molecules that were asked in training; at most {model.most} heavy atoms; "
            f"{version()}; no interval: one training",
        )

    return measure


def _auc(context: Context) -> Score:
    model, scores = context.required_model, _calls(context)
    baseline_scores = context.once(_worths)
    stop_note = (
        "" if len(scores) >= CALLS else f"; stopped after {len(scores):,}, the last mean held"
    )
    return Score(
        auc_top(scores),
        unit=model.seeks,
        baselines={name: auc_top(torch.as_tensor(x)) for name, x in baseline_scores.items()},
        n=len(scores),
        protocol=f"mean of the best ten so far, by trapezoids every 100 of {CALLS:,} "
        f"calls{stop_note}; no interval: one training",
    )


def _reward(context: Context) -> Score:
    model, samples, references = (
        context.required_model,
        context.once(spelt_of),
        references_of(context),
    )
    reward = expression(model.seeks)
    valid = samples.valid[:MOST]
    rewards = torch.zeros(len(samples.smiles[:MOST]), dtype=torch.float64)
    rewards[: len(valid)] = _rewards(reward, valid)
    train = [s for s in references.real.smiles if s][:SCREENED]
    return Score(
        rewards.mean().item(),
        unit=model.seeks,
        baselines={
            "training molecules": _rewards(reward, train).mean().item(),
            "chance": _rewards(reward, references.stand_ins["random"].valid[:SCREENED])
            .mean()
            .item(),
        },
        n=len(rewards),
        protocol=f"mean over {len(rewards)} fresh samples, {len(samples.different)} of them "
        "different; interval: Student's",
    ).with_interval(mean_chance(rewards))


def _hits(context: Context) -> tuple[list[str], int]:
    """Return the different samples that are worth 1 or more, and how many samples there are.

    Raises:
        Unmeasured: The reward may be more than 1, so that nothing says what a success is.
    """
    model, samples = context.required_model, context.once(spelt_of)
    if "[" not in model.seeks and "scaffold(" not in model.seeks:
        raise Unmeasured("the reward names no band such as logp[5, 5.5], so nothing is a success")
    smiles = list(dict.fromkeys(s for s in samples.smiles[:MOST] if s))
    rewards = _rewards(expression(model.seeks), smiles)
    success_level = max(1.0, float(rewards.max())) if len(rewards) else 1.0
    successes = [
        s
        for s, value in zip(smiles, rewards.tolist(), strict=True)
        if value >= success_level - 1e-9
    ]
    return successes, len(samples.smiles[:MOST])


def _success(context: Context) -> Score:
    successes, n = context.once(_hits)
    return Score(
        len(successes) / max(n, 1),
        n=n,
        protocol=f"share of {n} samples that are within all bands, each molecule once: what is "
        "drawn again is a failure; interval: Wilson's",
    ).with_interval(Trials(n))


def _success_diversity(context: Context) -> Score:
    successes, _ = context.once(_hits)
    if len(successes) < 2:
        raise Unmeasured("fewer than two samples are within all bands")
    bits = fingerprints(successes)
    return Score(
        internal_diversity(bits),
        n=len(successes),
        protocol=f"1 - mean Tanimoto similarity of all pairs of the {len(successes)} samples "
        "within all bands, Morgan fingerprints of radius 2",
    ).with_interval(diversity_spread(bits))


def _changes(context: Context) -> tuple[Tensor, Tensor, Tensor]:
    """Return what given molecules are worth, what they have become, and how alike the two are.

    Raises:
        Unmeasured: Training has not come so far.
    """
    model, elements = context.required_model, context.data.domain.elements
    initial, improved = model.originals(), model.improved()
    if not len(improved):
        raise Unmeasured("training has not come to the given molecules yet")
    reward, smiles_lists = (
        expression(model.seeks),
        [to_smiles(x, elements) for x in (initial, improved)],
    )
    before, after = (_rewards(reward, smiles) for smiles in smiles_lists)
    similarities = [similarity(s, t) for s, t in zip(*smiles_lists, strict=True)]
    return before, after, torch.tensor(similarities)


def _improvement(context: Context) -> Score:
    before, after, similarities = context.once(_changes)
    gains = after - before
    return Score(
        gains.mean().item(),
        unit=context.required_model.seeks,
        baselines={"given": 0.0},
        n=len(gains),
        protocol=f"mean of {len(gains)} given molecules, standard deviation "
        f"{gains.std().item():.2f}, of {before.mean().item():.2f} before; similarity "
        f"{similarities.mean().item():.2f} in mean, at least {similarities.min().item():.2f}; "
        f"{version()}; interval: Student's, over the given molecules",
    ).with_interval(mean_chance(gains))


def _improved(context: Context) -> Score:
    before, after, _ = context.once(_changes)
    return Score(
        (after > before).double().mean().item(),
        n=len(after),
        protocol=f"share of {len(after)} given molecules that are worth more; interval: Wilson's",
    ).with_interval(Trials(len(after)))


SEEKS = Need(
    has=lambda model: isinstance(model, Seeking) and bool(model.seeks),
    absence="the model seeks no reward; train one with --reward",
)


CONSTRAINED = Need(
    has=lambda model: isinstance(model, Constrained) and model.constrained,
    absence="no molecules were given to be improved; train with --improve true",
)


def _of_search(name: str, label: str, meaning: str, measure: Callable[[Context], Score]) -> Metric:
    return Metric(
        name=name,
        label=label,
        better="higher",
        meaning=meaning,
        failure="What a reward does not say is not sought: look at the molecules.",
        kinds=("molecule",),
        needs=SEEKS,
        section="what was sought",
        ranks=REWARD,
        estimand="none: one training",
        measure=measure,
    )


METRICS = (
    _of_search(
        "top10",
        "top 10",
        "Mean worth of the ten best molecules that the search has asked for.",
        _top(10),
    ),
    _of_search("top1", "top 1", "Worth of the best molecule.", _top(1)),
    _of_search("top100", "top 100", "Mean worth of the hundred best molecules.", _top(100)),
    _of_search(
        "auc_top10",
        "AUC top 10",
        "How fast the ten best were found: PMO's area over 10,000 calls of the reward.",
        _auc,
    ),
    _of_search("reward", "reward", "Mean worth of fresh samples of the policy.", _reward),
    replace(
        _of_search(
            "success",
            "success",
            "Share of the samples that are within all bands of the reward, duplicates counted as "
            "failures.",
            _success,
        ),
        ranks="",
        least=0.0,
        most=1.0,
        too_wide=NEAR_ONE,
        estimand="the expected share over fresh samples",
    ),
    replace(
        _of_search(
            "success_diversity",
            "diversity of successes",
            "How little two samples that are within all bands have in common.",
            _success_diversity,
        ),
        ranks="",
        least=0.0,
        most=1.0,
    ),
    replace(
        _of_search(
            "improvement",
            "improvement",
            "How much more the given molecules are worth in the end, in mean.",
            _improvement,
        ),
        needs=CONSTRAINED,
        estimand="the mean over molecules of the given kind, by this training",
    ),
    replace(
        _of_search(
            "improved",
            "improved",
            "Share of the given molecules that are worth more in the end.",
            _improved,
        ),
        needs=CONSTRAINED,
        unit="share of given molecules",
        ranks="",
        least=0.0,
        most=1.0,
        too_wide=NEAR_ONE,
        estimand="the share of molecules of the given kind, by this training",
    ),
)
