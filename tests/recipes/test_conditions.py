"""What samples are asked to be: which class a word means, and which it cannot."""

from __future__ import annotations

import pytest

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.recipes.conditions import conditions


def domain(*classes, vocabulary=()):
    shape, counts = (1, 8, 8), (1.0,) * len(classes)
    return Domain(
        "image", shape, Levels(256), classes, counts, vocabulary=vocabulary, words=len(vocabulary)
    )


def labels(text, *classes):
    return conditions(domain(*classes), text, pytest.fail)(0, 3).label.tolist()


def test_a_name_or_an_index_in_turn():
    assert labels("cat,1", "cat", "dog") == [0, 1, 0]


def test_where_names_are_numbers_there_is_no_index():
    names = ("1", "12", "3")  # sorted as words
    assert labels("3", *names) == [2, 2, 2]
    with pytest.raises(BadInput, match="class '2'"):
        labels("2", *names)


def test_a_class_that_is_read_as_a_caption_is_said():
    warnings = []
    both = domain("nature", "town", vocabulary=("nature", "boat"))
    assert conditions(both, "nature; boat", warnings.append)(0, 2).tokens is not None
    assert len(warnings) == 1
    assert "'nature' is read as a caption" in warnings[0]
    conditions(both, "boat", pytest.fail)
