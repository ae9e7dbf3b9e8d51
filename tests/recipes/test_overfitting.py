"""A critic that knows its examples by heart is told from one that knows what they are like."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from trilemma.core.event import Event
from trilemma.data.sources import load
from trilemma.recipes.overfitting import CriticOverfitting, critic_scores
from trilemma.recipes.preview import SETTLED, Previews
from trilemma.report import training_curves
from trilemma.training.run import Run


class Critic(nn.Module):
    """Draws blank images; its score of an example is given by its first pixel."""

    def __init__(self, score, conditional=False):
        super().__init__()
        self.weight, self._score = nn.Parameter(torch.zeros(1)), score
        self.conditional, self.conditions = conditional, []

    def sample(self, n, *, condition=None, noise=None):
        self.conditions.append(condition)
        return torch.zeros(n, 1, 8, 8, dtype=torch.uint8)

    def score(self, x, *, condition=None):
        self.conditions.append(condition)
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
    measured = critic_scores(Critic(scores), data, 0)
    assert measured["overfitting"] == pytest.approx(r)
    assert [measured[f"score_{k}"] for k in ("samples", "test", "train")] == scores


def test_what_is_told_apart_by_chance_alone_has_no_share(data):
    assert "overfitting" not in critic_scores(Critic([1, 0, 1]), data, 0)
    assert "overfitting" not in critic_scores(Critic([2, 0, 1]), data, 0)


def test_a_conditional_critic_has_the_class_of_every_example(data):
    critic = Critic([0, 1, 2], conditional=True)
    critic_scores(critic, data, 0)
    samples, train, test, fake = (c.label for c in critic.conditions)
    assert torch.equal(samples, test)
    assert torch.equal(fake, test)
    assert not torch.equal(train, test)
    critic = Critic([0, 1, 2])
    critic_scores(critic, data, 0)
    assert critic.conditions == [None] * 4


def test_it_warns_after_the_warm_up_where_it_lasts(data):
    look, trouble, none = CriticOverfitting(data, 0, warm_up=500), [0, 0, 4], [0, 4, 4]
    steps = [(trouble, 200), (trouble, 400), (none, 500), (trouble, 600), (trouble, 700)]
    warned = ["alarms" in look(Critic(scores), step) for scores, step in steps]
    assert warned == [False, False, False, False, True]


def test_the_threshold_is_that_of_the_warning(data):
    for scores, is_warned in (([0, 40, 100], True), ([0, 41, 100], False)):
        look = CriticOverfitting(data, 0, warm_up=0)
        look(Critic(scores), 1)
        assert ("alarms" in look(Critic(scores), 2)) == is_warned


def test_previews_of_a_critic_have_its_scores_and_warning(tmp_path, data):
    run = Run.create(tmp_path / "run", {"name": "gan", "seed": 0}, {})
    critic = Critic([0, 0, 4])
    previews = Previews(run, critic, data, 0)
    previews.is_counted = False
    assert "alarms" not in previews(critic, 200)
    event = previews(critic, 2 * SETTLED)
    assert event["overfitting"] == 1
    warning = event["alarms"]["overfitting"]
    assert f"its {len(data.train):,} training examples by heart" in warning


def test_the_chart_has_a_line_for_each_and_says_the_share():
    def event(step, *scores):
        names = ("score_train", "score_test", "score_samples", "overfitting")
        return Event("preview", step, "model", dict(zip(names, scores, strict=False)))

    assert training_curves.critic([event(1, 1.0, 0.5, 0.0, 0.5)]) == ("", "")
    svg, warning = training_curves.critic([event(1, 1.0, 0.9, 0.0), event(2, 2.0, 0.5, 0.0, 0.75)])
    assert all(word in svg for word in ("training", "test", "samples"))
    assert "r = 0.75" in warning
