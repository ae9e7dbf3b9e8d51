"""A share of a data set: stratified, nested, named, and refused where it makes no sense."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.data.dataset import Split
from trilemma.data.sources import available, fetch, is_named, load
from trilemma.data.subset import parted, share_of


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def rows(part):
    return {x.numpy().tobytes() for x in part.train.x}


def test_a_tenth_of_each_class_and_the_whole_test_split(digits):
    part = load("digits@10%")
    assert part.name == "digits@10%"
    assert len(part.train) == len(part.train.labels) == 142
    counts = torch.bincount(part.train.labels, minlength=10)
    expected = torch.bincount(digits.train.labels, minlength=10) / 10
    assert ((counts - expected).abs() <= 1).all()
    assert part.domain.frequencies == tuple((counts.double() / 142).tolist())
    assert torch.equal(part.test.x, digits.test.x)
    assert rows(part) <= rows(digits)
    assert part.extractor == "digits"
    assert part.fingerprint != digits.fingerprint
    assert "10 % of the training examples: 142 of 1,418" in part.notes[-1]
    assert part.fingerprint == load("digits@10.0%").fingerprint


def test_labels_stay_with_their_images(digits):
    label_of = dict(
        zip(
            (x.numpy().tobytes() for x in digits.train.x),
            digits.train.labels.tolist(),
            strict=True,
        )
    )
    part = share_of(digits, 7.5)
    for x, label in zip(part.train.x, part.train.labels.tolist(), strict=True):
        assert label_of[x.numpy().tobytes()] == label


def test_a_smaller_share_lies_within_a_larger(digits):
    small, large = share_of(digits, 5), share_of(digits, 20)
    assert rows(small) < rows(large)
    assert torch.equal(share_of(digits, 100).train.x, digits.train.x)


def test_all_that_belongs_to_an_example_goes_with_it(digits):
    n = len(digits.train)
    split = replace(
        digits.train,
        labels=None,
        captions=[str(i) for i in range(n)],
        names=[f"{i}.png" for i in range(n)],
        shades=digits.train.x + 1,
    )
    domain = replace(digits.domain, classes=(), frequencies=())
    part = share_of(replace(digits, train=split, domain=domain), 10).train
    assert len(part) == 142
    for i in range(len(part)):
        row = int(part.captions[i])
        assert part.names[i] == f"{row}.png"
        assert torch.equal(part.x[i], digits.train.x[row])
    assert torch.equal(part.shades, part.x + 1)
    assert part.labels is None


@pytest.mark.parametrize(
    "name", ["10", "0%", "100.1%", "-5%", "x%", "", "%", "nan%", "1e1%", "10%%"]
)
def test_what_is_no_share_is_said_in_a_sentence(name):
    with pytest.raises(BadInput, match="is no share of a data set; give more than 0 and at most"):
        load(f"digits@{name}")


def test_shares_of_other_things_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="a share is of images, and 'two-moons' is points"):
        load("two-moons@10%")
    with pytest.raises(BadInput, match="did you mean 'digits'"):
        load("digts@10%")
    with pytest.raises(BadInput, match=r"0\.5 % of the 1,418.*is 7, and 10 are needed; .*@0\.8%"):
        load("digits@0.5%")
    Path("pictures").mkdir()
    with pytest.raises(BadInput, match="unknown data set 'pictures'"):
        load("pictures@10%")
    none = replace(load("digits"), train=Split(torch.zeros(3, 1, 8, 8)), name="few")
    with pytest.raises(BadInput, match="is 0, and 10 are needed"):
        share_of(none, 10)


def test_a_share_is_had_where_the_whole_is():
    assert available("digits@10%")
    assert fetch("digits@10%") == fetch("digits")
    assert is_named("digits@10%")
    assert not is_named("a/digits@10%")
    assert parted("digits@.5%") == ("digits", 0.5)
