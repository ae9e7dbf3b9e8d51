"""Emoji: the list, characters and their variants, the split, and the real ones where they are."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trilemma.core.errors import BadInput
from trilemma.data import emoji, sources
from trilemma.data.check import check
from trilemma.data.emoji import Emoji, base, parsed, sides
from trilemma.data.stream import ExampleStream
from trilemma.data.text import words

REAL = Path.home() / ".cache" / "trilemma" / "emoji.safetensors"

LIST = """\
# emoji-test.txt
# group: Smileys & Emotion
# subgroup: heart
1F600                                  ; fully-qualified     # 😀 E1.0 grinning face
2764 FE0F                              ; fully-qualified     # ❤️ E0.6 red heart
2764                                   ; unqualified         # ❤ E0.6 red heart
2764 FE0F 200D 1F525                   ; fully-qualified     # ❤️‍🔥 E13.1 heart on fire
2764 200D 1F525                        ; unqualified         # ❤‍🔥 E13.1 heart on fire
# group: People & Body
1F44D 1F3FF                            ; fully-qualified     # 👍🏿 E1.0 thumbs up: dark skin tone
1F469 1F3FB 200D 1F91D 200D 1F469 1F3FF ; fully-qualified    # x E12.0 women: light, dark skin tone
1F91D 1F3FB                           ; fully-qualified     # 🤝🏻 E14.0 handshake: light skin tone
# group: Component
1F3FB                                  ; component           # 🏻 E1.0 light skin tone
# group: Flags
1F1F3 1F1F4                            ; fully-qualified     # 🇳🇴 E2.0 flag: Norway
#EOF
"""


def test_the_list_is_read_without_components_variants_and_mixed_tones():
    listed = parsed(LIST)
    assert [e.name for e in listed] == [
        "grinning face",
        "red heart",
        "heart on fire",
        "thumbs up: dark skin tone",
        "handshake: light skin tone",
        "flag: Norway",
    ]
    assert listed[1] == Emoji((0x2764, 0xFE0F), "red heart", "Smileys & Emotion")
    assert (listed[1].text, listed[1].codes) == ("\u2764\ufe0f", "2764-FE0F")
    assert listed[-1].group == "Flags"


@pytest.mark.parametrize("text", ["", "1F600 ; unqualified # x E1.0 face", "group: none"])
def test_a_list_without_names_is_refused(text):
    with pytest.raises(BadInput, match="holds no names"):
        parsed(text)


@pytest.mark.parametrize(
    "family",
    [
        "👍 👍🏻 👍🏿",
        "🧑‍🚒 👨‍🚒 👩🏽‍🚒",
        "🧑 👨 👩 👩🏿 👨‍🦰 👩🏼‍🦱 🧑‍🦳",
        "🧔 🧔‍♂️ 🧔🏿‍♀️",
        "🏃 🏃‍♀️ 🏃🏾‍♂️",
        "👪 👨‍👩‍👦 👨‍👨‍👧‍👦 👩‍👦",
        "👫 👭 👬🏽 🧑‍🤝‍🧑",
        "💏 👩‍❤️‍💋‍👨 👨‍❤️‍💋‍👨 💏🏿",
        "💑 👩‍❤️‍👨 👩‍❤️‍👩",
        "🧒 👦 👧🏻",
        "🤴 👸🏾 🫅",
        "🎅 🤶🏽 🧑‍🎄",
        "❤️ ❤",
        "☝️ ☝🏻",
    ],
)
def test_variants_have_one_base(family):
    assert len({base([ord(c) for c in text]) for text in family.split()}) == 1


def test_other_characters_have_other_bases():
    faces = ["😀", "❤️", "💚", "❤️‍🔥", "👍", "👎", "🏃", "🚶", "🦰", "♀️", "♂️"]
    people = ["🧑", "🧒", "🧓", "🧔", "👪", "💏", "💑", "👫", "🧑‍🚒", "🧑‍🚀"]
    signs = ["🇳🇴", "🇸🇪", "🏴‍☠️", "🏳️‍🌈", "1️⃣", "2️⃣"]
    apart = [*faces, *people, *signs]
    assert len({base([ord(c) for c in text]) for text in apart}) == len(apart)


def many(n):
    return [
        Emoji((0x1F900 + i, *tone), f"thing {i}", "Things")
        for i in range(n)
        for tone in ((), (0x1F3FB,), (0x1F3FF,))
    ]


def test_the_split_is_by_character_about_a_tenth_and_no_matter_of_order():
    listed = many(200)
    test = sides(listed, [e.codes.encode() for e in listed])
    assert (test.view(200, 3) == test.view(200, 3)[:, :1]).all()
    assert 10 <= int(test.view(200, 3)[:, 0].sum()) <= 35
    back = sides(listed[::-1], [e.codes.encode() for e in listed[::-1]])
    assert torch.equal(back.flip(0), test)
    more = many(600)
    every = sides(more, [e.codes.encode() for e in more])
    fewer = sides(more[:1200], [e.codes.encode() for e in more[:1200]])
    assert torch.equal(fewer, every[:1200])


def test_characters_of_one_picture_are_on_one_side():
    listed = many(200)
    test = sides(listed, [b"%d" % (i % 30) for i in range(len(listed))])
    for k in range(30):
        assert len(set(test[k::30].tolist())) == 1


def test_a_size_that_is_not_offered():
    for size in (15, 129, 0, -3):
        with pytest.raises(BadInput, match=r"not offered for 'emoji'; give 16 to 128"):
            sources.load("emoji", size=size)


def test_absent_packages_are_named(monkeypatch):
    monkeypatch.setattr(emoji.Debian, "holds", lambda *_: False)
    with pytest.raises(BadInput, match=r"fetch emoji.*fonts-noto-color-emoji and unicode-data"):
        sources.load("emoji")
    assert not sources.available("emoji")


@pytest.fixture
def drawn_emoji(monkeypatch, own_cache):
    """Emoji drawn without a font: a square whose colour is their code points."""
    lines = [
        f"{0x1F900 + i:X} ; fully-qualified # x E1.0 {'round' if i % 3 else 'flat'} thing {i}"
        for i in range(60)
    ]
    text = "# group: Things\n" + "\n".join(lines) + "\n" + LIST
    files = {"names": text.encode(), "font": b"none"}
    calls = []

    def draw(_, text):
        calls.append(text)
        return Image.new("RGB", (128, 128), (ord(text[0]) % 256, len(text), ord(text[-1]) % 251))

    tensors = {k: torch.frombuffer(bytearray(v), dtype=torch.uint8) for k, v in files.items()}
    monkeypatch.setattr(emoji.Bundle, "tensors", lambda _: tensors)
    monkeypatch.setattr(emoji, "_letters", lambda _: None)
    monkeypatch.setattr(emoji, "draw", draw)
    return calls


def test_the_data_set(drawn_emoji):
    data = sources.load("emoji", size=16)
    assert data.domain.shape == (3, 16, 16)
    assert data.domain.classes == ("Things", "Smileys & Emotion", "People & Body", "Flags")
    assert len(data.train) + len(data.test) == 66 == len(drawn_emoji)
    for part in (data.train, data.test):
        assert part.x.dtype == torch.uint8
        assert len(part.x) == len(part.labels) == len(part.captions) == len(part.names)
        assert len(part.tokens) == len(part.mask) == len(part.x)
        for x, codes in zip(part.x, part.names, strict=True):
            assert int(x[0, 8, 8]) == int(codes.split("-")[0], 16) % 256
        for caption, row, mask in zip(part.captions, part.tokens, part.mask, strict=True):
            caption_words = [
                data.domain.vocabulary[i - 1] if i else "?" for i in row[mask].tolist()
            ]
            assert all(a in ("?", b) for a, b in zip(caption_words, words(caption), strict=True))
    assert not set(data.train.names) & set(data.test.names)
    assert "thing" in data.domain.vocabulary
    reloaded = sources.load("emoji", size=16)
    assert reloaded.fingerprint == data.fingerprint
    assert len(drawn_emoji) == 66  # kept, not drawn again
    larger = sources.load("emoji")
    assert larger.domain.shape == (3, 32, 32)
    assert larger.train.names == data.train.names
    batch = ExampleStream(data.train, 8, 0).batch(1)
    assert batch.condition.tokens.shape == batch.condition.mask.shape == (8, data.domain.words)
    assert batch.condition.label.shape == (8,)


def test_a_share_has_its_captions_and_a_check_shows_them(drawn_emoji):
    data, part = sources.load("emoji", size=16), sources.load("emoji@50%", size=16)
    caption_words = dict(zip(data.train.names, data.train.captions, strict=True))
    rows = dict(zip(data.train.names, data.train.tokens.tolist(), strict=True))
    assert len(part.train.tokens) == len(part.train.mask) == len(part.train) < len(data.train)
    for name, caption, row in zip(
        part.train.names, part.train.captions, part.train.tokens.tolist(), strict=True
    ):
        assert (caption_words[name], rows[name]) == (caption, row)
    report = check("emoji", size=16)
    assert len(report.captions) == len(report.sheet)
    assert any(line.startswith("captions, for example: ") for line in report.lines())


def test_a_font_without_colour_is_refused(drawn_emoji, monkeypatch):
    monkeypatch.setattr(emoji, "draw", lambda *_: Image.new("RGB", (128, 128), "white"))
    with pytest.raises(BadInput, match="drawn without colour"):
        sources.load("emoji", size=16)


def test_pillow_without_raqm_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(emoji.features, "check", lambda _: False)
    with pytest.raises(BadInput, match=r"Raqm.*libfribidi0"):
        emoji._letters(b"")


def test_what_is_no_font_is_refused(monkeypatch):
    monkeypatch.setattr(emoji.features, "check", lambda _: True)
    with pytest.raises(BadInput, match="cannot be opened at its size of 109"):
        emoji._letters(b"no font")


def test_a_sequence_that_the_font_does_not_join_is_refused():
    class Wide:
        def getlength(self, _):
            return 271.4

    with pytest.raises(BadInput, match="no one picture for 1F1F3-1F1F4"):
        emoji.draw(Wide(), "🇳🇴")


@pytest.mark.skipif(not REAL.is_file(), reason="'trilemma data fetch emoji' was not called here")
def test_the_real_emoji(own_cache):
    own_cache.mkdir()
    emoji.BUNDLE.cache_path.symlink_to(REAL)
    if (samples := REAL.with_name("emoji-32.safetensors")).is_file():
        (own_cache / samples.name).symlink_to(samples)
    data = sources.load("emoji", size=32)
    assert len(data.train) + len(data.test) == 3395
    assert len(data.domain.classes) == 9
    assert data.domain.words == 13
    at = data.train.captions.index("red heart")
    red, green, blue = data.train.x[at][:, 12, 16].tolist()
    assert red > 200 > 120 > max(green, blue)
    assert data.train.x[at][:, 0, 0].tolist() == [255] * 3
    letters = emoji._letters(emoji.BUNDLE.tensors()["font"].numpy().tobytes())
    for text in ("❤️", "👍🏿", "👩🏽‍🚒", "👨‍👩‍👧‍👦", "🇳🇴", "🏴󠁧󠁢󠁷󠁬󠁳󠁿"):
        codes = "-".join(f"{ord(c):04X}" for c in text)
        part = data.train if codes in data.train.names else data.test
        small = emoji.draw(letters, text).resize((32, 32), Image.Resampling.BICUBIC)
        expected = torch.from_numpy(np.asarray(small).transpose(2, 0, 1).copy())
        assert torch.equal(part.x[part.names.index(codes)], expected)
    sided = {False: data.train, True: data.test}
    bases = {
        is_test: {base([int(p, 16) for p in codes.split("-")]) for codes in part.names}
        for is_test, part in sided.items()
    }
    assert not bases[False] & bases[True]
    assert 0.07 < len(bases[True]) / (len(bases[True]) + len(bases[False])) < 0.13
    train_bytes = {x.numpy().tobytes() for x in data.train.x}
    assert not any(x.numpy().tobytes() in train_bytes for x in data.test.x)
    start = time.process_time()
    assert sources.load("emoji").fingerprint == data.fingerprint
    assert time.process_time() - start < 2
