"""Retrieval: a matcher that knows colours, and models that obey, disobey or do not listen."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from trilemma.core.domain import Domain, Levels
from trilemma.core.errors import Interrupted
from trilemma.core.model import Model
from trilemma.core.session import Session
from trilemma.data import cache
from trilemma.data.dataset import DataSet, Split
from trilemma.metrics import matcher as matchers
from trilemma.metrics import matching
from trilemma.metrics.judge import judge

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (30, 40, 220),
    "yellow": (230, 220, 40),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
}
SHAPES = ("square", "frame", "left", "bars")
WORDS = (*COLOURS, *SHAPES)
PAIRS = [(c, s) for c in COLOURS for s in SHAPES]


def picture(colour, shape):
    x = torch.full((3, 16, 16), 128)
    ink = torch.tensor(COLOURS[colour])[:, None, None]
    where = torch.zeros(16, 16, dtype=torch.bool)
    if shape == "square":
        where[4:12, 4:12] = True
    elif shape == "frame":
        where[1:15, 1:15] = True
        where[4:12, 4:12] = False
    elif shape == "left":
        where[:, :8] = True
    else:
        where[::4] = True
        where[1::4] = True
    return torch.where(where, ink, x)


def split(pairs, copies, seed):
    g = torch.Generator().manual_seed(seed)
    x = torch.stack([picture(*pair) for pair in pairs]).repeat(copies, 1, 1, 1)
    x = (x + 8 * torch.randn(x.shape, generator=g)).clamp(0, 255).to(torch.uint8)
    tokens = torch.tensor([[WORDS.index(c) + 1, WORDS.index(s) + 1, 0] for c, s in pairs])
    mask = torch.tensor([[True, True, False]]).repeat(len(pairs), 1)
    captions = [f"{c} {s}" for c, s in pairs] * copies
    return Split(
        x, captions=captions, tokens=tokens.repeat(copies, 1), mask=mask.repeat(copies, 1)
    )


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Train a matcher of twenty-four pictures more briefly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matchers, "STEPS", 100)
        yield


@pytest.fixture(scope="module")
def data():
    test_pairs = PAIRS[::2]
    domain = Domain("image", (3, 16, 16), Levels(256), vocabulary=WORDS, words=3)
    rest = split(PAIRS, 4, 0)
    return DataSet("shapes", domain, rest, split(test_pairs, 3, 1))


class Painter(Model):
    """Paints what its caption says, or always the same, or something else."""

    def __init__(self, way="right"):
        super().__init__()
        self.way, self.weight = way, nn.Parameter(torch.zeros(1))

    def objectives(self):
        return []

    def sample(self, n, *, condition=None, noise=None):
        x = torch.full((n, 3, 16, 16), 128) + 8 * noise.normal(3, 16, 16)
        if condition is not None and self.way != "deaf":
            colours, shapes = (condition.tokens[:, k] - 1 for k in (0, 1))
            if self.way == "wrong":
                colours = (colours + 3) % len(COLOURS)
            named = [(WORDS[c], WORDS[s]) for c, s in zip(colours, shapes, strict=True)]
            x = torch.stack([picture(*pair) for pair in named]) + x - 128
        return x.clamp(0, 255).to(torch.uint8)


@pytest.fixture(scope="module")
def matched(data):
    return matchers.matcher(data, Session())


NAMES = {"retrieval", "retrieval_heldout"}


def measured(model, data, n=60):
    evaluation = judge(model, data, n=n, session=Session(), only=NAMES)
    return evaluation.metrics, evaluation.skipped


def test_a_model_that_obeys_reaches_the_floor(data, matched):
    scores, skipped = measured(Painter(), data)
    assert not skipped
    for name in NAMES:
        score = scores[name]
        assert score.floor > 0.8
        assert score.value > 0.8 * score.floor
        assert score.baselines["shuffled"] < 0.35
        assert score.low <= score.value <= score.high <= 1
        assert matched.sha256[:8] in score.protocol
    assert scores["retrieval"].n == 60
    assert scores["retrieval_heldout"].n == 36


def test_one_that_paints_other_colours_is_found_out(data, matched):
    scores, _ = measured(Painter("wrong"), data)
    assert scores["retrieval"].value < 0.4


def test_one_that_does_not_listen_is_not_measured(data, matched):
    scores, skipped = measured(Painter("deaf"), data)
    assert not scores
    assert set(skipped) == NAMES
    assert "do not change" in skipped["retrieval"]


def test_the_judge_asks(data, matched):
    evaluation = judge(Painter(), data, n=40, session=Session())
    assert evaluation.metrics["retrieval"].n == 40
    assert evaluation.metrics["retrieval"].value > 0.7


def test_a_matcher_is_kept_and_is_the_same(data, matched, monkeypatch):
    (path,) = (cache.folder() / "matchers").glob("*.safetensors")
    monkeypatch.setattr(matchers, "_features", lambda *_: pytest.fail("it was kept"))
    assert matchers.matcher(data, Session()).sha256 == matched.sha256
    monkeypatch.undo()
    path.unlink()
    monkeypatch.setattr(matchers, "STEPS", 3)
    assert matchers.matcher(data, Session()).sha256 != matched.sha256
    assert not path.exists()


def test_training_has_a_seed_of_its_own(data, monkeypatch):
    monkeypatch.setattr(matchers, "STEPS", 3)
    monkeypatch.setattr(cache, "read", lambda _: None)
    first = matchers.matcher(data, Session())
    before = torch.get_rng_state()
    torch.manual_seed(7)
    assert matchers.matcher(data, Session()).sha256 == first.sha256
    torch.set_rng_state(before)


def test_a_changed_caption_is_another_matcher(data):
    tokens = data.train.tokens.clone()
    tokens[0, 0] = 2
    other = dataclasses.replace(data, train=dataclasses.replace(data.train, tokens=tokens))
    assert matchers._fingerprint(other, b"") != matchers._fingerprint(data, b"")


def test_training_can_be_stopped(data, monkeypatch):
    monkeypatch.setattr(cache, "read", lambda _: None)

    def stop():
        raise Interrupted(15, "stopped")

    with pytest.raises(Interrupted):
        matchers.matcher(data, session=Session(guard=stop))


def test_obstacles(data, monkeypatch):
    mute = dataclasses.replace(data, train=dataclasses.replace(data.train, tokens=None))
    assert "no captions" in matchers.obstacle(mute)
    two = dataclasses.replace(data, domain=dataclasses.replace(data.domain, shape=(2, 16, 16)))
    assert "channels" in matchers.obstacle(two)
    assert matchers.obstacle(data) == ""
    monkeypatch.setattr(matchers, "weights_file", lambda: None)
    assert "trilemma[features]" in matchers.obstacle(data)
    assert set(measured(Painter(), data)[1]) == NAMES


def test_one_in_ten_wants_ten(data, monkeypatch):
    monkeypatch.setattr(matchers, "STEPS", 3)
    few_captions = dataclasses.replace(data, test=split(PAIRS[:6], 3, 2))
    scores, skipped = measured(Painter(), few_captions, n=20)
    assert "6 different captions" in skipped["retrieval_heldout"]
    assert "retrieval" in scores


class TestHits:
    def test_the_nearest_wins_and_ties_count_in_parts(self):
        captions = torch.eye(12)
        own = torch.arange(12)
        right = matching.hits(torch.eye(12), captions, own, own, seed=0)
        assert right.tolist() == [1.0] * 12
        wrong = matching.hits(-torch.eye(12), captions, own, own, seed=0)
        assert wrong.tolist() == [0.0] * 12
        alike = matching.hits(torch.eye(12), torch.ones(12, 12), own, own, seed=0)
        torch.testing.assert_close(alike, torch.full((12,), 0.1, dtype=torch.float64))

    def test_equal_captions_are_no_wrong_answers(self):
        captions = torch.eye(11)[torch.arange(22) % 11]
        number = torch.arange(22) % 11
        right = matching.hits(captions, captions, number, torch.arange(22), seed=0)
        assert right.tolist() == [1.0] * 22

    def test_guessing_gives_a_tenth(self):
        g = torch.Generator().manual_seed(0)
        captions = torch.nn.functional.normalize(torch.randn(300, 64, generator=g))
        images = torch.nn.functional.normalize(torch.randn(3000, 64, generator=g))
        own = torch.randint(300, (3000,), generator=g)
        evaluation = matching.hits(images, captions, torch.arange(300), own, seed=0)
        assert evaluation.mean().item() == pytest.approx(0.1, abs=0.02)


def test_conditions_are_a_function_of_the_index(data):
    rows = torch.arange(20)
    captions_of = matching.conditions(data.train, rows)
    assert torch.equal(captions_of(3, 9).tokens, captions_of(0, 20).tokens[3:9])
    other = matching.conditions(data.train, rows, rows.roll(1))
    assert torch.equal(other(1, 5).tokens, captions_of(0, 4).tokens)
