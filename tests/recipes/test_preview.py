"""Previews: what they draw, count and keep, and what the page makes of it."""

from __future__ import annotations

import dataclasses
import io
import itertools

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from trilemma.comparison.row import Row
from trilemma.core.errors import RanAway
from trilemma.core.session import Session
from trilemma.data import sources
from trilemma.data.dataset import Split
from trilemma.metrics.evaluation import Evaluation
from trilemma.recipes import online_frechet_distance
from trilemma.recipes.gan import AdversarialNet
from trilemma.recipes.preview import FRAMES, Previews, expected_classes, too_few
from trilemma.recipes.runs import begin, untrained
from trilemma.recipes.vae import VariationalAutoencoder
from trilemma.report import gallery
from trilemma.report.views import training
from trilemma.training.allowance import CREDIT, LAST, Moment
from trilemma.training.budget import Budget, is_mark
from trilemma.training.fit import fit
from trilemma.training.precision import choose
from trilemma.training.run import Run
from trilemma.training.trainer import Settings

GAN = Row(of=Evaluation(recipe="gan"))


@pytest.fixture(scope="module")
def digits():
    return sources.load("digits")


@pytest.fixture(scope="module")
def ring():
    return sources.load("eight-gaussians")


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "run", {"name": "gan", "seed": 0}, {})


def gan(data, **fields):
    return untrained(AdversarialNet(width=16, **fields), data.domain, 0).eval()


def vae(data):
    return untrained(VariationalAutoencoder(), data.domain, 0).eval()


def drawing(model, x):
    """Let a model draw given examples, from the first on, again and again."""
    model.sample = lambda n, **_: x.repeat(-(-n // len(x)), *[1] * (x.ndim - 1))[:n]
    return model


def due_steps(previews, steps):
    """List the steps of a training at which previews want to be called, and call them there."""
    due = []
    for step in range(steps):
        if previews.due(Moment(step, 100.0 * step)):
            due.append(step)
            previews._is_waiting = False  # instead of a call, which would take a while
    return due


def test_pictures_at_their_marks_and_frames_between(run, ring):
    previews = Previews(run, gan(ring), ring, 0)
    due = due_steps(previews, 101)
    assert [step for step in due if is_mark(step)] == [0, 1, 2, 5, 10, 20, 50, 100]
    assert due == [step for step in FRAMES if step <= 100]
    assert len([step for step in FRAMES if step <= 100_000]) <= training.FILMED
    for step in (10, 12, 20):
        previews(gan(ring), step)
    file_names = sorted(p.name for p in (run.path / "samples").iterdir())
    assert file_names == [
        *(f"game_{k:08d}.safetensors" for k in (10, 12, 20)),
        *(f"step_{k:08d}.png" for k in (10, 20)),
    ]


def test_the_end_is_pictured_wherever_it_falls(run, ring):
    previews = Previews(run, gan(ring), ring, 0)
    assert not previews.due(Moment(143, 10.0))
    assert previews.due(Moment(143, 10.0, is_end=True))
    previews(gan(ring), 143)
    assert not previews.due(Moment(143, 10.0, is_end=True))
    assert (run.path / "samples" / "step_00000143.png").exists()


def test_only_a_game_on_the_plane_is_filmed(run, ring, digits):
    for model, data in ((vae(ring), ring), (gan(digits), digits)):
        previews = Previews(run, model, data, 0)
        assert not previews.is_filmed
        assert due_steps(previews, 500) == [k for k in range(500) if is_mark(k)]
    late = Moment(1200, 10.0)
    assert Previews(run, gan(digits), digits, 0).due(late)  # its classes are judged by then
    assert not Previews(run, vae(digits), digits, 0).due(late)


def test_a_frame_holds_the_score_and_its_slope(run, ring):
    model = gan(ring)
    Previews(run, model, ring, 0)(model, 0)
    frame = load_file(run.path / "samples" / "game_00000000.safetensors")
    assert {k: tuple(v.shape) for k, v in frame.items()} == {
        "score": (64, 64),
        "frame": (4,),
        "samples": (256, 2),
        "slope": (256, 2),
    }
    left, right, bottom, top = frame["frame"].tolist()
    x = ring.train.x
    assert left < x[:, 0].min() < x[:, 0].max() < right
    assert bottom < x[:, 1].min() < x[:, 1].max() < top
    with torch.no_grad():
        corner = model.score(torch.tensor([[right, bottom]]))
        frame_samples = frame["samples"]
        step = 1e-2 * frame["slope"] / frame["slope"].norm(dim=1, keepdim=True)
        rise = model.score(frame_samples + step) - model.score(frame_samples - step)
    assert frame["score"][0, -1] == pytest.approx(corner.item(), rel=1e-4)
    torch.testing.assert_close(rise / 2e-2, frame["slope"].norm(dim=1), rtol=0.05, atol=1e-3)


def test_the_picture_is_that_of_the_same_samples(run, digits):
    """Counting draws more than the picture shows, and the picture does not change."""
    model = gan(digits)
    plain = dataclasses.replace(digits, extractor=None)
    pictures = []
    for data in (digits, plain):
        drawings = Previews(run, model, data, 0)(model, 5)
        assert ("modes" in drawings) == (data is digits)
        pictures.append((run.path / "samples" / "step_00000005.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_variance_is_that_of_the_data(run, digits, ring):
    for model, data in ((vae(digits), digits), (gan(ring), ring)):
        x = data.train.x[:1024]
        previews = Previews(run, model, data, 0)
        assert previews(drawing(model, x), 5)["variance"] == pytest.approx(1, abs=0.15)
        assert previews(drawing(model, x[:1]), 5)["variance"] == 0


def test_classes_are_counted(run, digits):
    x, labels = digits.train.x[:256], digits.train.labels[:256]
    model = drawing(vae(digits), x)
    drawings = Previews(run, model, digits, 0)(model, 5)
    assert drawings["samples"] == 256
    assert drawings["classes"] == 10
    off = torch.tensor(drawings["modes"]) - torch.bincount(labels, minlength=10)
    assert off.abs().sum() <= 8


def test_centres_are_counted_as_classes(run, ring):
    model = drawing(gan(ring), torch.cat([ring.centres.at[:3], torch.full((1, 2), 99.0)]))
    drawings = Previews(run, model, ring, 0)(model, 5)
    assert drawings["modes"] == [256, 256, 256, 0, 0, 0, 0, 0]
    assert (drawings["classes"], drawings["samples"]) == (3, 1024)


def test_a_game_that_draws_one_class_twice_in_a_row_is_a_collapse(run, digits):
    threes = digits.train.x[digits.train.labels == 3][:100]
    model = drawing(gan(digits), threes)
    previews = Previews(run, model, digits, 0)
    assert "alarms" not in previews(model, 200)
    assert "alarms" not in previews(model, 500)
    drawings = previews(model, 1000)
    sentence = drawings["alarms"]["collapse"]
    assert drawings["variance"] > 0.2  # the variance would not have told
    assert "'3'" in sentence
    assert "missing: 0, 1, 2" in sentence
    assert "alarms" not in previews(drawing(model, digits.train.x), 2000)
    assert "alarms" not in previews(drawing(model, threes), 5000)


def test_a_model_that_plays_no_game_is_counted_and_not_judged(run, digits):
    model = drawing(vae(digits), digits.train.x[:1])
    previews = Previews(run, model, digits, 0)
    assert "alarms" not in {**previews(model, 500), **previews(model, 1000)}


def test_classes_are_judged_by_what_is_to_be_expected():
    many = torch.full((1000,), 1e-3)
    assert 220 < expected_classes(many, 256) < 230
    names = tuple(map(str, range(1000)))
    modes = torch.zeros(1000, dtype=torch.int64)
    modes[:150] = 2
    assert too_few(modes, many, names) == ""
    modes[:20], modes[20:] = 12, 0
    sentence = too_few(modes, many, names)
    assert "20 of 1,000 classes are seen (213 to be expected)" in sentence
    assert "missing: 20, 21, 22, 23, 24, 25, 26, 27 and 972 others" in sentence
    # Data that are mostly of one class may give samples that are.
    assert too_few(torch.tensor([95, 5]), torch.tensor([0.9, 0.1]), ("a", "b")) == ""
    three, shares = ("a", "b", "c"), torch.tensor([0.4, 0.3, 0.3])
    assert "95% of 100" in too_few(torch.tensor([95, 5, 0]), shares, three)
    assert too_few(torch.tensor([60, 0]), torch.tensor([0.4, 0.6]), ("a", "b")) == ""


def test_data_without_spread_do_not_divide_by_nought(run, ring):
    flat = dataclasses.replace(ring, train=Split(ring.train.x[:1].repeat(9, 1)))
    assert Previews(run, vae(ring), flat, 0)(vae(ring), 5)["variance"] >= 0


# From a run to its page


@pytest.fixture(scope="module")
def played(tmp_path_factory, ring):
    run, events = begin(
        AdversarialNet(width=16, batch=32),
        ring,
        source="eight-gaussians",
        path=tmp_path_factory.mktemp("played") / "run",
        budget=Budget(steps=60),
        precision="fp32",
        session=Session(),
    )
    assert list(events)[-1].kind == "done"
    return run


def test_a_played_game_has_a_film_its_health_and_its_classes(played, ring):
    pictures = {p.title: p for p in gallery.entry(played.path, GAN, ring).pictures}
    assert {"the game", "health of the game", "classes of the samples"} <= set(pictures)
    film = pictures["the game"].image
    assert (played.path / "game.gif").read_bytes() == film
    assert len(film) < 3e6
    with Image.open(io.BytesIO(film)) as gif:
        file_names = [k for k in FRAMES if k <= 60] + [60] * (60 not in FRAMES)
        assert gif.n_frames == len(file_names)
    assert "No alert" in pictures["health of the game"].caption
    written = (played.path / "game.gif").stat().st_mtime_ns
    gallery.entry(played.path, GAN, ring)
    assert (played.path / "game.gif").stat().st_mtime_ns == written


def test_alerts_stand_in_the_caption(played, ring):
    played.event("alert", step=40, stage="model", trouble="collapse", message="collapse: alike.")
    pictures = {p.title: p for p in gallery.entry(played.path, GAN, ring).pictures}
    assert "Step 40: collapse: alike." in pictures["health of the game"].caption
    assert "collapse" in pictures["health of the game"].image


# A run that is watched


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


def watched(run, data, clock, monkeypatch, *, sample=0.002, row=0.0005, noise=0.0):
    """Make previews, and a model and features that take as long as they are told."""
    model = drawing(vae(data), data.train.x[:300])
    draw, chance = model.sample, torch.Generator().manual_seed(0)

    def cost(seconds):
        clock.pass_by(seconds * (1 + noise * torch.rand((), generator=chance).item()))

    def slow_draw(n, **options):
        cost(n * sample)
        return draw(n, **options)

    model.sample = slow_draw
    real = online_frechet_distance.extractor

    def slow_extractor(*arguments, **options):
        extract = real(*arguments, **options)
        features = extract._features

        def slow_features(x):
            cost(len(x) * row)
            return features(x)

        extract._features = slow_features
        clock.pass_by(0.5)
        return extract

    monkeypatch.setattr(online_frechet_distance, "extractor", slow_extractor)
    return Previews(run, model, data, 0, watch=True, clock=clock), model


def trained(previews, model, clock, steps, pace=0.05):
    """Go through a training; return its looks, and the most that they ever took beside it."""
    spent, most, looks = 0.0, 0.0, []
    for step in range(steps + 1):
        seconds = pace * step
        if previews.due(Moment(step, seconds)):
            began = clock.now
            drawings = previews(model, step)
            if "variance" not in drawings:
                spent += clock.now - began
            if "fd" in drawings:
                assert "variance" not in drawings
                looks.append((step, seconds, drawings))
        most = max(most, spent / max(seconds, 1e-9))
    return looks, most


@pytest.mark.parametrize(
    ("sample", "row"), [(0.002, 0.0005), (0.05, 0.0005), (0.002, 0.02), (0.4, 0.001)]
)
def test_a_watch_never_takes_more_than_a_tenth(run, digits, monkeypatch, sample, row):
    clock = Clock()
    previews, model = watched(run, digits, clock, monkeypatch, sample=sample, row=row, noise=0.2)
    looks, most = trained(previews, model, clock, 12_000)
    assert most <= online_frechet_distance.SHARE
    if sample < 0.4:
        assert looks
    for (_, before, _), (_, after, _) in itertools.pairwise(looks):
        assert after >= 1.14 * before
    if sample == 0.002 and row == 0.0005:
        assert len(looks) > 15
        drawings = looks[-1][2]
        assert drawings["fd_n"] == 256
        assert drawings["fd_by"] == "classifier-digits"
        assert drawings["took_fd"] == pytest.approx(256 * (sample + row), rel=0.3)
        assert drawings["fd"] == pytest.approx(drawings["fd_floor"], rel=0.5)


def test_a_run_too_short_for_a_look_has_none(run, digits, monkeypatch):
    clock = Clock()
    previews, model = watched(run, digits, clock, monkeypatch)
    looks, most = trained(previews, model, clock, 300)
    assert (looks, most) == ([], 0.0)


def test_the_end_is_pictured_and_looked_at(run, digits, monkeypatch):
    clock = Clock()
    previews, model = watched(run, digits, clock, monkeypatch)
    trained(previews, model, clock, 4_003)
    assert previews.due(Moment(4_003, 0.05 * 4_003 + 100, is_end=True))
    drawings = previews(model, 4_003)
    assert {"variance", "fd"} <= set(drawings)
    assert (run.path / "samples" / "step_00004003.png").exists()


def test_a_look_is_over_when_asked_again(run, digits, monkeypatch):
    """So that an end that falls on a look is pictured nevertheless."""
    clock = Clock()
    previews, model = watched(run, digits, clock, monkeypatch)
    trained(previews, model, clock, 30)
    assert previews.due(Moment(33, 100.0))
    assert "fd" in previews(model, 33)
    assert not previews.due(Moment(33, 100.0))
    assert previews.due(Moment(33, 100.0, is_end=True))
    drawings = previews(model, 33)
    assert "variance" in drawings
    assert "fd" not in drawings


# A sampler that is slow


def slow(run, data, each, call=0.0):
    """Make previews of a model whose samples cost seconds, each and a call."""
    clock = Clock()
    model = vae(data)
    draw = model.sample

    def slow_draw(n, **options):
        clock.pass_by(call + n * each)
        return draw(n, **options)

    model.sample = slow_draw
    return Previews(run, model, data, 0, clock=clock), model, clock


def drawn_at(previews, model, clock, seconds, budget, pace=0.1):
    """Go through a training; return examples and seconds of each preview by step."""
    marks, steps = {}, round(seconds / pace)
    for step in range(steps + 1):
        moments = [Moment(step, pace * step, budget)]
        if step == steps:
            moments.append(dataclasses.replace(moments[0], is_end=True))
        for moment in moments:
            if previews.due(moment):
                began = clock.now
                values = previews(model, step)
                assert values.get("n_wanted", values["n"]) == 256
                marks[step] = values["n"], clock.now - began
    return marks


@pytest.mark.parametrize("each", [1e-4, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("call", [0.0, 0.2])
def test_a_slow_sampler_never_eats_a_run(run, digits, each, call):
    drawings = drawn_at(*slow(run, digits, each, call), seconds=100.0, budget=100.0)
    last = max(drawings)
    assert last == 1000
    first = sum(took for step, (_, took) in drawings.items() if step <= 5)
    credit = min(CREDIT, 100.0 / 20)
    assert first <= 2 * credit
    between = sum(took for step, (_, took) in drawings.items() if step < last)
    assert between <= 2 * credit + 100.0 / 20
    assert drawings[last][1] <= LAST + 2 * (call + 2 * each)
    if each == 1e-4 and not call:
        assert [step for step in drawings] == [k for k in range(1001) if is_mark(k)]
        assert {n for n, _ in drawings.values()} == {256}
    if each == 0.1:
        assert 2 <= drawings[0][0] <= 32
        assert all(took <= 0.05 * 0.1 * step for step, (_, took) in drawings.items() if step > 50)
    if call:  # a batch costs hardly more than its first example, and that is found out
        assert each > 0.01 or drawings[last][0] == 256


def test_a_picture_waits_until_it_is_affordable(run, digits):
    """2.56 s want 51 s of training; the credit of a run of 20 s is one second."""
    drawings = drawn_at(*slow(run, digits, 0.01), seconds=200.0, budget=20.0)
    late = [step for step in drawings if 5 <= step < 2000]
    for before, step in itertools.pairwise(late):
        n, took = drawings[step]
        assert took <= 0.05 * 0.1 * (step - before) + 1.0
        assert n < 256 or step - before >= 10 * (51.2 - 20)
    assert any(drawings[step][0] == 256 for step in late)
    assert not any(is_mark(step) for step in late[1:])  # all have waited


def test_a_picture_that_cannot_be_drawn_is_not_tried_at_every_step(run, digits):
    previews, model, _ = slow(run, digits, 0.01)

    def ran_away(n, **options):
        raise RanAway("not finite")

    model.sample = ran_away
    assert previews.due(Moment(0, 0.0))
    with pytest.raises(RanAway):
        previews(model, 0)
    assert previews.due(Moment(1, 1.0))
    with pytest.raises(RanAway):
        previews(model, 1)
    assert not previews.due(Moment(3, 2.0))


def test_parts_of_a_drawing_are_the_whole(run, digits):
    previews, model, _ = slow(run, digits, 1e-6)
    full = previews._sample(model, 64, 1e9)
    assert previews._costs.n == 64
    fresh, model, _ = slow(run, digits, 1e-6)
    assert fresh._costs.drawing(64) == float("inf")
    parts = fresh._sample(model, 64, 1.0)
    assert (parts != full).float().mean() < 1e-3


def test_nobody_watches_unasked(run, digits):
    previews = Previews(run, vae(digits), digits, 0)
    assert "fd" not in previews(vae(digits), 5)


def test_data_too_few_for_a_distance_are_said_once(run, digits, monkeypatch):
    small_data = dataclasses.replace(
        digits, test=Split(digits.test.x[:40], digits.test.labels[:40])
    )
    clock = Clock()
    previews, model = watched(run, small_data, clock, monkeypatch)
    trained(previews, model, clock, 30)
    assert previews.due(Moment(33, 1000.0))
    assert "too few" in previews(model, 33)["fd_skipped"]
    assert not previews.due(Moment(34, 2000.0))


def test_watching_does_not_change_training(tmp_path, ring, monkeypatch):
    monkeypatch.setattr(online_frechet_distance, "GUESS", 0.0)
    monkeypatch.setattr(online_frechet_distance, "GROWTH", 1.0)
    monkeypatch.setattr(online_frechet_distance, "SHARE", 1e9)
    weights = []
    for is_watched in (False, True):
        run = Run.create(tmp_path / str(is_watched), {"name": "vae", "seed": 0}, {})
        recipe = VariationalAutoencoder()
        model = untrained(recipe, ring.domain, 0)
        events = fit(
            run,
            model,
            recipe.stages(model, ring, 0),
            Settings.of(recipe),
            Budget(steps=24),
            session=Session(),
            precision=choose("fp32", torch.device("cpu")),
            preview=Previews(run, model, ring, 0, watch=is_watched),
        )
        looks = [e for e in events if e.kind == "preview" and "fd" in e.values]
        assert bool(looks) == is_watched
        weights.append(run.checkpoint(pytest.fail).weights)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
