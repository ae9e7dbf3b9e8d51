"""Captions as words and as tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import BadInput
from trilemma.data.dataset import DataSet, Split
from trilemma.data.text import tokenised, vocabulary, with_words, words


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Red HEART", ["red", "heart"]),
        ("  thumbs up: medium-dark\tskin\ntone ", [
            "thumbs", "up", ":", "medium", "-", "dark", "skin", "tone"]),
        ("woman’s hat", ["woman's", "hat"]),
        ("'quoted' l’été", ["'", "quoted", "'", "l'été"]),
        ("“here” button", ['"', "here", '"', "button"]),
        ("keycap: #10", ["keycap", ":", "#", "10"]),
        ("e\u0301te\u0301", ["été"]),
        ("\u2764\ufe0f!", ["\u2764", "!"]),
        ("हिन्दी शब्द", ["हिन्दी", "शब्द"]),
        ("赤い花", ["赤", "い", "花"]),
        ("", []),
        (" \t\u200d\ufe0f", []),
    ],
)  # fmt: skip
def test_words(text, cut):
    assert words(text) == cut


def test_vocabulary_is_in_alphabetical_order_and_has_each_word_once():
    assert vocabulary(["b a", "A c", ""]) == ("a", "b", "c")


def test_tokens_are_places_in_the_vocabulary_and_0_is_unknown():
    tokens, mask, unknown = tokenised(["red heart", "", "blue red pig blue"], ("heart", "red"), 3)
    assert tokens.tolist() == [[2, 1, 0], [0, 0, 0], [0, 2, 0]]
    assert mask.tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert (tokens.dtype, mask.dtype) == (torch.int64, torch.bool)
    assert unknown == ["blue", "pig"]


@pytest.mark.parametrize(("captions", "length"), [((), 4), (("a",), 0)])
def test_without_training_captions_there_are_no_tokens(captions, length):
    with pytest.raises(BadInput, match="data with captions, such as 'emoji'"):
        tokenised(["a"], captions, length)


def captioned(train, test):
    x = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)
    parts = (Split(x[: len(texts)], captions=texts) for texts in (train, test))
    return DataSet("some", Domain("image", (1, 1, 1), Levels(256)), *parts)


def test_a_data_set_with_captions_gets_tokens_from_the_training_captions_alone():
    data = with_words(captioned(["a red pig", "pig", ""], ["green pig"]))
    assert data.domain.vocabulary == ("a", "pig", "red")
    assert data.domain.words == 3
    assert data.train.tokens.tolist() == [[1, 3, 2], [2, 0, 0], [0, 0, 0]]
    assert data.train.mask.sum(1).tolist() == [3, 1, 0]
    assert data.test.tokens.tolist() == [[0, 2, 0]]
    assert data.test.mask.tolist() == [[True, True, False]]
    assert "words that only test captions have: 1 (green)" in data.notes
    assert Domain.from_json(data.domain.to_json()) == data.domain


def test_long_captions_are_cut_and_that_is_said():
    data = with_words(captioned(["a b c d e", "a"], ["a"]), longest=4)
    assert data.domain.words == 4
    assert data.train.tokens.tolist() == [[1, 2, 3, 4], [1, 0, 0, 0]]
    assert any("longer than 4 words" in note and note.endswith(": 1") for note in data.notes)
    assert with_words(captioned(["w " * 99, "a"], ["a"])).domain.words == 32


@pytest.mark.parametrize("train", [None, ["", " "]])
def test_without_a_word_a_data_set_stays_as_it_is(train):
    data = captioned(train or ["", ""], ["word"])
    data = replace(data, train=replace(data.train, captions=train))
    assert with_words(data) is data


def test_the_fingerprint_knows_the_captions():
    prints = {
        with_words(captioned(train, test)).fingerprint
        for train, test in ((["a", "b"], ["a"]), (["b", "a"], ["a"]), (["a", "b"], ["b"]))
    }
    assert len(prints) == 3
    assert captioned(["a", "b"], ["a"]).fingerprint not in prints


def test_all_captions_of_a_training_image_are_tokens_too():
    x = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    train = Split(x, captions=["a cat", "", "a dog"], further=[["one red cat"], [], []])
    test = Split(x[:1], captions=["a cat"])
    plain = DataSet("pets", Domain("image", (1, 8, 8), Levels(256)), train, test)
    data = with_words(plain)
    assert data.domain.vocabulary == ("a", "cat", "dog", "one", "red")
    assert data.domain.words == 3
    assert data.train.alternatives.tolist() == [
        [[1, 2, 0], [4, 5, 2]],
        [[0, 0, 0], [0, 0, 0]],
        [[1, 3, 0], [0, 0, 0]],
    ]
    assert torch.equal(data.train.alternatives > 0, data.train.alternative_mask)
    assert torch.equal(data.train.tokens, data.train.alternatives[:, 0])
    assert data.test.alternatives is None
    assert any(note.startswith("training images with several captions: 1;") for note in data.notes)
    single = with_words(replace(plain, train=replace(train, further=None)))
    assert single.fingerprint != data.fingerprint
    assert single.train.alternatives is None
