"""What samples are asked to be, read from one text: classes, captions or values of a property."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from trilemma.core.batch import Condition
from trilemma.core.domain import Domain, PropertyStatistics
from trilemma.core.errors import BadInput, nearest
from trilemma.data.text import tokenised, words

__all__ = ["captions", "conditions"]

IN_SPACE = ("conformer", "point-cloud")


def conditions(
    domain: Domain, text: str, warn: Callable[[str], None]
) -> Callable[[int, int], Condition]:
    """Read what samples are asked to be, to be taken in turn by the samples.

    Classes by name, or by index where no name is a number, with commas between; of data with
    captions, captions with semicolons between, whose unknown words are named and count for
    nothing; of molecules whose property the model is conditioned on, values of it, as in
    alpha=70,80.

    Arguments:
        domain: The data's space.
        text: Classes, captions or values of a property.
        warn: Called with unknown words, and of values that no training example comes near.

    Raises:
        BadInput: The data have none of these, or not this class or property; a caption is empty,
            or a value no finite number.
    """
    if domain.vocabulary:
        return _caption_conditions(domain, captions(text), warn)
    if domain.properties:
        return _valued(domain.properties[0], text, warn)
    if domain.kind in IN_SPACE:
        raise BadInput(
            "--cond is a value of a property, and this run was trained without one; leave it out, "
            "or train with --property NAME."
        )
    if not domain.classes:
        raise BadInput("--cond names a class, and this run's data have none; leave it out.")
    class_indices = []
    are_numbers = any(name.isdecimal() for name in domain.classes)
    for word in (w.strip() for w in text.split(",")):
        if word in domain.classes:
            class_indices.append(domain.classes.index(word))
        elif word.isdecimal() and int(word) < len(domain.classes) and not are_numbers:
            class_indices.append(int(word))
        else:
            raise nearest("class", word, domain.classes)
    labels = torch.tensor(class_indices)
    return lambda start, stop: Condition(label=labels[torch.arange(start, stop) % len(labels)])


def _valued(
    statistics: PropertyStatistics, text: str, warn: Callable[[str], None]
) -> Callable[[int, int], Condition]:
    """Read values of a property, as in alpha=70,80."""
    name, sign, numbers = (part.strip() for part in text.partition("="))
    example = f"--cond {statistics.name}={statistics.mean:.3g}"
    if not sign:
        raise BadInput(
            f"--cond {text} was given, and this run takes NAME=NUMBER, as in {example}."
        )
    if name != statistics.name:
        raise nearest("property of this run", name, [statistics.name])
    values = []
    for word in numbers.split(","):
        try:
            values.append(float(word))
        except ValueError:
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            raise BadInput(
                f"--cond {name} takes finite numbers, as in {example}, not '{word.strip()}'."
            )
    out_of_range = [v for v in values if not statistics.low <= v <= statistics.high]
    if out_of_range:
        warn(
            f"{name} = {', '.join(f'{v:g}' for v in out_of_range)} lies outside of the training "
            f"examples' {statistics.low:.4g} to {statistics.high:.4g} {statistics.unit}".rstrip()
        )
    requested_values = torch.tensor(values)[:, None]
    return lambda start, stop: Condition(
        properties=requested_values[torch.arange(start, stop) % len(requested_values)]
    )


def captions(text: str) -> list[str]:
    """Cut what is asked for into captions.

    >>> captions("red heart; cat")
    ['red heart', 'cat']
    """
    return [part.strip() for part in text.split(";")]


def _caption_conditions(
    domain: Domain, texts: list[str], warn: Callable[[str], None]
) -> Callable[[int, int], Condition]:
    tokens, mask, unknown = tokenised(texts, domain.vocabulary, domain.words)
    if not mask.any(1).all():
        example = next(filter(str.isalpha, domain.vocabulary), domain.vocabulary[0])
        raise BadInput(
            "--cond has a caption without a word; say what is wanted, as in --cond "
            f"'{example}', or leave --cond out."
        )
    if names := [text for text in texts if text in domain.classes]:
        warn(
            f"{', '.join(map(repr, names))} is read as a caption, which this run is conditioned "
            "on, and not as the class of that name"
        )
    if unknown:
        warn(
            f"not in the {len(domain.vocabulary):,} words of the training captions, and taken for "
            f"words without a meaning: {', '.join(unknown)}"
        )

    truncated_words = [word for caption in texts for word in words(caption)[domain.words :]]
    if truncated_words:
        warn(
            f"captions have at most {domain.words} words here; not read: "
            f"{', '.join(truncated_words)}"
        )

    def rows(start: int, stop: int) -> Condition:
        index = torch.arange(start, stop) % len(tokens)
        return Condition(tokens=tokens[index], mask=mask[index])

    return rows
