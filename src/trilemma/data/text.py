r"""Captions as tokens: a caption is cut into words, and a word is its place in a vocabulary.

    words       normal form (NFKC), lower case; a run of letters, digits and their marks is a word,
                an apostrophe between letters belongs to it, any other sign is a word by itself
    vocabulary  the words of the *training* captions in alphabetical order; word i is token i + 1
    token 0     a word that is not in the vocabulary; where `mask` is false there is no word

Nothing is learnt from test captions: a word that only they have is token 0 for every model.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby

import torch
from torch import Tensor

from trilemma.core.errors import BadInput
from trilemma.data.dataset import DataSet, Split

__all__ = ["LONGEST", "tokenised", "vocabulary", "with_words", "words"]

LONGEST = 32
"""Words of a caption at most; the rest is not read."""

PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "\ufe0e": None, "\ufe0f": None})
"""Typographic quotation marks as they are typed, and variation marks as nothing."""
APOSTROPHE = re.compile(r"(?<=[^\W\d_])'(?=[^\W\d_])")
INSIDE = "\ue000"
"""Stands for an apostrophe within a word while words are cut; a letter to nobody."""
ALONE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""Signs of writing without spaces: each is a word."""


def words(text: str) -> list[str]:
    """Cut a text into lower-case words, signs split off.

    >>> words("Thumbs up: Dark skin"), words("woman’s hat, red-hot")
    (['thumbs', 'up', ':', 'dark', 'skin'], ["woman's", 'hat', ',', 'red', '-', 'hot'])
    """
    plain = unicodedata.normalize("NFKC", text).lower().translate(PLAIN)
    return list(_cut(APOSTROPHE.sub(INSIDE, plain)))


def _cut(text: str) -> Iterator[str]:
    for kind, run in groupby(text, _kind):
        if kind == "word":
            yield "".join(run).replace(INSIDE, "'")
        elif kind == "sign":
            yield from run


def _kind(sign: str) -> str:
    if ALONE.match(sign):
        return "sign"
    # Letters, their marks and digits; marks make up words in Hindi as letters do in English.
    if sign == INSIDE or unicodedata.category(sign)[0] in "LMN":
        return "word"
    return "space" if sign.isspace() or unicodedata.category(sign)[0] == "C" else "sign"


def vocabulary(captions: Iterable[str]) -> tuple[str, ...]:
    """Return every word of some captions once, in alphabetical order.

    >>> vocabulary(["a red heart", "a blue heart"])
    ('a', 'blue', 'heart', 'red')
    """
    return tuple(sorted({word for caption in captions for word in words(caption)}))


def tokenised(
    captions: Sequence[str], vocabulary: Sequence[str], length: int
) -> tuple[Tensor, Tensor, list[str]]:
    """Write captions as tokens.

    Arguments:
        captions: N texts; one without words gives a row without tokens.
        vocabulary: The words that are known; word i is token i + 1.
        length: M; words beyond are left out.

    Returns:
        Tokens, [N, M] int64; which of them are words, [N, M] bool; and the words that are not
        in the vocabulary, each once, in the order in which they were met.

    Raises:
        BadInput: There is no vocabulary, or no place for a word.
    """
    if not vocabulary or length < 1:
        raise BadInput(
            "captions can be read only with the words of training captions; "
            "use data with captions, such as 'emoji'."
        )
    token_index = {word: i for i, word in enumerate(vocabulary, 1)}
    tokens = torch.zeros(len(captions), length, dtype=torch.int64)
    mask = torch.zeros(len(captions), length, dtype=torch.bool)
    unknown: dict[str, None] = {}
    for row, caption in enumerate(captions):
        caption_words = words(caption)[:length]
        unknown.update(dict.fromkeys(word for word in caption_words if word not in token_index))
        tokens[row, : len(caption_words)] = torch.tensor(
            [token_index.get(word, 0) for word in caption_words]
        ).long()
        mask[row, : len(caption_words)] = True
    return tokens, mask, list(unknown)


def with_words(data: DataSet, longest: int = LONGEST) -> DataSet:
    """Return a data set whose captions are tokens too, with its vocabulary and what to know of it.

    Arguments:
        data: A data set; one without captions, or without a word in the training captions, is
            returned as it is.
        longest: Words of a caption at most.
    """
    further = list(chain.from_iterable(data.train.further or ()))
    train_vocabulary = vocabulary([*(data.train.captions or ()), *further])
    if not train_vocabulary:
        return data
    parts = (data.train, data.test)
    texts = [*further, *(caption for part in parts for caption in part.captions or ())]
    counts = [len(words(caption)) for caption in texts]
    length = min(longest, max(counts))
    train, _ = _spoken(data.train, train_vocabulary, length)
    test, unknown = _spoken(data.test, train_vocabulary, length)
    notes = [
        f"captions: {len(train_vocabulary):,} words in the training captions, at most {length} in "
        "one"
    ]
    if further:
        several = sum(map(bool, data.train.further or ()))
        notes.append(
            f"training images with several captions: {several}; one of them is drawn each time, "
            "and the first is taken elsewhere"
        )
    truncated = sum(n > length for n in counts)
    if truncated:
        notes.append(
            f"captions longer than {length} words, of which the rest is not read: {truncated}"
        )
    if unknown:
        first = ", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else "")
        notes.append(f"words that only test captions have: {len(unknown)} ({first})")
    domain = dataclasses.replace(data.domain, vocabulary=train_vocabulary, words=length)
    return dataclasses.replace(
        data, domain=domain, train=train, test=test, notes=(*data.notes, *notes)
    )


def _spoken(split: Split, vocabulary: Sequence[str], length: int) -> tuple[Split, list[str]]:
    captions = split.captions if split.captions is not None else [""] * len(split)
    tokens, mask, unknown = tokenised(captions, vocabulary, length)
    split = dataclasses.replace(split, tokens=tokens, mask=mask)
    return (split if split.further is None else _varied(split, vocabulary, length)), unknown


def _varied(split: Split, vocabulary: Sequence[str], length: int) -> Split:
    """Write all captions of each example as tokens."""
    rows = [
        [text for text in texts if words(text)]
        for texts in (
            (first, *further)
            for first, further in zip(split.captions or (), split.further or (), strict=True)
        )
    ]
    most = max(1, *map(len, rows))
    texts = [text for row in rows for text in (*row, *[""] * (most - len(row)))]
    tokens, mask, _ = tokenised(texts, vocabulary, length)
    shape = (len(rows), most, length)
    return dataclasses.replace(
        split, alternatives=tokens.view(shape), alternative_mask=mask.view(shape)
    )
