r"""Retrieval: does a sample show what its caption says?

A matcher (`metrics/matcher.py`) is asked, which was trained apart from every model that it judges:

    retrieval           share of samples, drawn with captions of the training split, whose own
                        caption is the nearest of 10: the other 9 differ from it and from each
                        other, and are drawn by the seed from the same split; ties count in parts
    retrieval_heldout   the same with captions of the test split, which no one was trained on

Beside it stand `shuffled`, the same samples with the captions of others (0.1, but for chance), and
as the floor real images of the split with their own captions: no model need pass what the matcher
itself can see. Numbers of different matchers cannot be compared; the protocol tells its hash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trilemma.core import sampling
from trilemma.core.batch import Condition
from trilemma.core.errors import BadInput
from trilemma.core.model import Model, Restoring
from trilemma.core.noise import mix
from trilemma.core.sampling import Conditions
from trilemma.data.dataset import Split
from trilemma.metrics.context import AT_ONCE, Context
from trilemma.metrics.matcher import (
    Matcher,
    image_features,
    matcher,
    numbers,
    obstacle,
    with_caption,
)
from trilemma.metrics.metric import Metric, Need, Unmeasured, hundredths
from trilemma.metrics.score import Score, Trials

__all__ = ["METRICS", "caption_indices", "conditions", "draw", "hits", "listens"]

CHOICES = 10
"""Captions among which the right one is looked for."""
MOST = 500
"""Samples of each split at most."""


def caption_indices(matched: Matcher, split: str, n: int, seed: int) -> Tensor:
    """Return the indices into `matched.rows[split]` of n captions to draw samples for."""
    count = len(matched.rows[split])
    generator = torch.Generator().manual_seed(mix(seed, "captions", split))
    return torch.randperm(count, generator=generator)[: min(n, count)]


def conditions(split: Split, rows: Tensor, captions: Tensor | None = None) -> Conditions:
    """Return what training says of examples, by a sample's index.

    Arguments:
        split: Has captions.
        rows: Example of each sample, going round.
        captions: Example whose caption is given instead.
    """
    caption_rows = rows if captions is None else captions

    def condition_slice(start: int, stop: int) -> Condition:
        assert split.tokens is not None
        assert split.mask is not None
        indices = torch.arange(start, stop) % len(rows)
        example_rows, caption = rows[indices], caption_rows[indices]
        label = split.labels[example_rows] if split.labels is not None else None
        return Condition(label=label, tokens=split.tokens[caption], mask=split.mask[caption])

    return condition_slice


def listens(model: Model[Any, Any], split: Split) -> bool:
    """Tell whether samples change with the caption, other things being equal."""
    rows = with_caption(split)[:64]
    shuffled_rows = rows.roll(len(rows) // 2)
    sample_count = min(8, len(rows))
    own_samples, shuffled_samples = (
        sampling.draw(
            model, sample_count, seed=0, conditions=conditions(split, rows, caption_rows)
        )
        for caption_rows in (rows, shuffled_rows)
    )
    return not torch.equal(own_samples, shuffled_samples)


def hits(
    images: Float[Tensor, "n E"],
    captions: Float[Tensor, "N E"],
    number: Tensor,
    own: Tensor,
    *,
    seed: int,
) -> Float[Tensor, " n"]:
    """Return for each image whether its own caption is the nearest of `CHOICES`; ties in parts.

    Arguments:
        images: Unit vectors.
        captions: Of all captions of the split.
        number: [N], equal for equal captions.
        own: [n], which is the image's own.
        seed: Seed of the others.
    """
    distinct, inverse = torch.unique(number, return_inverse=True)
    first_index = torch.zeros(len(distinct), dtype=torch.int64)
    first_index[inverse.flip(0)] = torch.arange(len(number)).flip(0)
    generator = torch.Generator().manual_seed(mix(seed, "others"))
    scores = torch.empty(len(images), dtype=torch.float64)
    for i, image in enumerate(images):
        distractors = torch.randperm(len(distinct), generator=generator)[:CHOICES]
        distractors = distractors[distractors != inverse[own[i]]][: CHOICES - 1]
        distractor_scores = captions[first_index[distractors]] @ image
        own_score = captions[own[i]] @ image
        ties = int(((distractor_scores - own_score).abs() <= 1e-6).sum())
        scores[i] = float((distractor_scores <= own_score + 1e-6).all()) / (1 + ties)
    return scores


def _obstacle(context: Context) -> str:
    """Return why captions cannot be asked for; nothing where they can."""
    reason = obstacle(context.data)
    if reason:
        return reason
    try:
        if not listens(context.required_model, context.data.train):
            return "the model is not conditioned on captions: its samples do not change with them"
    except BadInput as refusal:
        return f"the model takes no captions: {refusal}"
    return ""


def _matcher(context: Context) -> Matcher:
    """Return the matcher of captions and images.

    Raises:
        Unmeasured: The data have no captions, or the model does not listen to them.
    """
    reason = context.once(_obstacle)
    if reason:
        raise Unmeasured(reason)
    return matcher(context.data, context.session)


def _retrieval(metric: str, name: str) -> Callable[[Context], Score]:
    """Make the metric of one split's captions."""

    def measure(context: Context) -> Score:
        data, seed = context.data, context.seed
        matched = context.once(_matcher)
        split = data.train if name == "train" else data.test
        assert split.tokens is not None
        assert split.mask is not None
        rows = matched.rows[name]
        tokens, mask = split.tokens[rows], split.mask[rows]
        caption_ids = numbers(tokens, mask)
        distinct_count = len(caption_ids.unique())
        if distinct_count < CHOICES:
            raise Unmeasured(
                f"the {name} split has {distinct_count} different captions, and one in {CHOICES} "
                f"wants {CHOICES}"
            )
        own_rows = caption_indices(matched, name, min(context.n, MOST), seed)
        samples = draw(
            context, conditions(split, rows[own_rows]), len(own_rows), mix(seed, metric)
        )
        if samples.is_floating_point() and not samples.isfinite().all():
            raise Unmeasured("some samples are not finite numbers")
        features = image_features(data, samples, "captioned samples", context.session)
        captions = matched.captions(tokens, mask)
        images = matched.images(features)
        own_hits = hits(images, captions, caption_ids, own_rows, seed=seed)
        shuffled_rows = _strangers(caption_ids, own_rows, seed)
        shuffled_hits = hits(images, captions, caption_ids, shuffled_rows, seed=seed)
        real_images = matched.images(matched.features[name][own_rows])
        return Score(
            own_hits.mean().item(),
            floor=hits(real_images, captions, caption_ids, own_rows, seed=seed).mean().item(),
            baselines={"shuffled": shuffled_hits.mean().item()},
            n=len(own_rows),
            protocol=f"{len(own_rows)} samples drawn with captions of the {name} split; nearest "
            f"of {CHOICES} captions ({distinct_count} different ones) to a matcher of "
            f"efficientnet-lite0 and a bag of words, trained on the training split, sha256 "
            f"{matched.sha256[:8]}; floor: {len(own_rows)} real images; seed {seed}; interval: "
            "Wilson's",
        ).with_interval(Trials(len(own_rows)))

    return measure


def draw(
    context: Context,
    conditions: Conditions,
    count: int,
    seed: int,
    what: str = "captioned samples",
) -> Tensor:
    """Draw samples of a seed with these conditions, shared out and gathered.

    Arguments:
        context: With a model.
        conditions: The conditions, by the sample's index.
        count: How many.
        seed: Seed of the samples.
        what: What they are called while they are drawn.
    """
    start, stop = context.share(count)
    parts = []
    for low in range(start, max(stop, start + 1), AT_ONCE):
        high = min(low + AT_ONCE, max(stop, start + 1))
        context.session.report(what, low - start, stop - start)
        chunk = sampling.draw(
            context.required_model, high - low, seed=seed, start=low, conditions=conditions
        )
        parts.append(chunk.cpu())
    context.session.report(what, stop - start, stop - start)
    return context.gather(torch.cat(parts)[: stop - start], count)


def _strangers(number: Tensor, own: Tensor, seed: int) -> Tensor:
    """Return for each the place of a caption that is not its own, drawn by the seed."""
    generator = torch.Generator().manual_seed(mix(seed, "strangers"))
    mismatched = own.clone()
    for i, own_row in enumerate(own.tolist()):
        while number[mismatched[i]] == number[own_row]:
            mismatched[i] = torch.randint(len(number), (), generator=generator)
    return mismatched


NEEDS_CONDITION = Need(
    has=lambda model: not isinstance(model, Restoring),
    absence="the model is conditioned on small images, not on captions",
)
METRICS = (
    Metric(
        name="retrieval",
        label="right caption",
        better="higher",
        unit=f"share, one in {CHOICES}",
        meaning="Does a sample show what it was asked for? Share of samples whose caption, one of "
        "the training data's, a separate judge picks out of ten; guessing gives 0.1.",
        failure="The judge sees no better than it was trained to; real images reach the floor.",
        kinds=("image",),
        needs=NEEDS_CONDITION,
        least=0.0,
        most=1.0,
        write=hundredths,
        estimand="the expected share over fresh samples, of the same captions and judge",
        measure=_retrieval("retrieval", "train"),
    ),
    Metric(
        name="retrieval_heldout",
        label="right caption, held out",
        better="higher",
        unit=f"share, one in {CHOICES}",
        meaning="The same with captions that were never trained on.",
        failure="The judge has not seen them either: real images reach the floor.",
        kinds=("image",),
        needs=NEEDS_CONDITION,
        least=0.0,
        most=1.0,
        write=hundredths,
        estimand="the expected share over fresh samples, of the same captions and judge",
        measure=_retrieval("retrieval_heldout", "test"),
    ),
)
