"""A critic that knows its examples by heart is told from one that knows what they are like."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from trilemma.core.event import Event
from trilemma.data.sources import load
from trilemma.recipes.overfitting import BY_HEART, critic_scores, known_by_heart
from trilemma.recipes.preview import SETTLED, Previews
from trilemma.report import courses
from trilemma.training.run import Run


class Critic(nn.Module):
    """Draws blank images; its score of an example is given by its first pixel."""

    def __init__(self, score):
        super().__init__()
        self.weight, self._score = nn.Parameter(torch.zeros(1)), score
        self.asked = []

    def sample(self, n, *, condition=None, noise=None):
        self.asked.append(condition)
        return torch.zeros(n, 1, 8, 8, dtype=torch.uint8)

    def score(self, x, *, condition=None):
        self.asked.append(condition)
        first = x.flatten(1)[:, 0].long()
        return torch.tensor(self._score, dtype=torch.float32)[first]


@pytest.fixture
def data():
    """Training examples have a 2 in their first pixel, test examples a 1, samples a 0."""
    digits = load("digits")
    train, test = digits.train.x.clone(), digits.test.x.clone()
    train[:, :, 0, 0], test[:, :, 0, 0] = 2, 1
    return replace(digits, train=replace(digits.train, x=train), test=replace(digits.test, x=test))


@pytest.mark.parametrize(
    ("scores", "r"),
    [([0, 4, 4], 0.0), ([0, 0, 4], 1.0), ([-1, 1, 3], 0.5), ([0, 5, 4], -0.25)],
)
def test_the_share_is_that_of_the_scores(scores, r, data):
    found = critic_scores(Critic(scores), data, 0)
    assert found["overfitting"] == pytest.approx(r)
    assert [found[f"score_{k}"] for k in ("samples", "test", "train")] == scores
    assert bool(known_by_heart(r, data)) == (r >= BY_HEART)


def test_what_is_told_apart_by_chance_alone_has_no_share(data):
    assert "overfitting" not in critic_scores(Critic([1, 0, 1]), data, 0)
    assert "overfitting" not in critic_scores(Critic([2, 0, 1]), data, 0)


def test_a_critic_that_is_told_classes_is_told_them_of_every_example(data):
    critic = Critic([0, 1, 2])
    critic_scores(critic, data, 0, is_told=True)
    samples, seen, unseen, made = (c.label for c in critic.asked)
    assert torch.equal(samples, unseen)
    assert torch.equal(made, unseen)
    assert not torch.equal(seen, unseen)


def previews(tmp_path, model, data):
    run = Run.create(tmp_path / "run", {"name": "gan", "seed": 0}, {})
    made = Previews(run, model, data, 0)
    made.is_counted = False
    return made


@pytest.mark.parametrize(("scores", "is_told"), [([0, 0, 4], True), ([0, 4, 4], False)])
def test_a_lasting_trouble_is_told(scores, is_told, data, tmp_path):
    made = previews(tmp_path, Critic(scores), data)
    early = made(Critic(scores), 200)
    assert "alarms" not in early
    late = made(Critic(scores), 2 * SETTLED)
    assert ("overfitting" in late.get("alarms", {})) == is_told
    if is_told:
        said = late["alarms"]["overfitting"]
        assert f"its {len(data.train):,} training examples by heart" in said


def test_the_chart_has_a_line_for_each_and_says_the_share():
    def event(step, *scores):
        names = ("score_train", "score_test", "score_samples", "overfitting")
        return Event("preview", step, "model", dict(zip(names, scores, strict=False)))

    assert courses.critic([event(1, 1.0, 0.5, 0.0, 0.5)]) == ("", "")
    drawn, said = courses.critic([event(1, 1.0, 0.9, 0.0), event(2, 2.0, 0.5, 0.0, 0.75)])
    assert all(word in drawn for word in ("training", "test", "samples"))
    assert "r = 0.75" in said
