"""A given molecule is made worth more, and stays like itself."""

from __future__ import annotations

import pytest

from trilemma.data.chemistry import NotUsable, canonical
from trilemma.data.constrained import improve, similarity
from trilemma.data.properties import expression

GIVEN = "CC(=O)Nc1ccc(O)cc1"


@pytest.mark.parametrize("least", [0.0, 0.5])
def test_it_is_improved_within_the_similarity(least):
    worth = expression("plogp")
    found = improve(GIVEN, worth, least=least, calls=40)
    assert found.initial == canonical(GIVEN)
    assert found.calls == 40
    assert found.after > found.before
    assert found.similarity >= least
    assert found.similarity == pytest.approx(similarity(found.initial, found.best))


def test_where_nothing_is_better_it_stays():
    found = improve(GIVEN, lambda mols: [0.0] * len(mols), least=0.3, calls=10)
    assert found.best == found.initial
    assert found.similarity == 1


def test_what_is_no_molecule_has_its_reason():
    with pytest.raises(NotUsable, match="parse"):
        improve("xx", expression("qed"), least=0.4)
