"""Charts: what they show, that they stand alone, and that they suit light and dark pages."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import given
import numpy as np
import pytest
import torch

from trilemma.core.event import Event
from trilemma.pictures import charts as curves
from trilemma.pictures.palette import FAMILIES, OTHER, hue
from trilemma.report import charts, training_curves

EXPONENT = 8.4
"""Size of the digits of a power of ten."""


def events(**terms):
    for k in range(100):
        terms_told = {name.replace("__", "/"): value / (k + 1) for name, value in terms.items()}
        yield Event("step", k, "model", {"lr": 1.0} | terms_told)


def with_events(event, more):
    return replace(event, values={**event.values, **more})


def words(svg):
    return " ".join(t.strip() for t in re.findall(r">([^<>]+)<", svg) if t.strip())


@pytest.fixture(scope="module")
def every(settled):
    rows = settled
    log = list(events(critic__loss=9.0, critic__r1=1.0, generator__loss=5.0))
    codes = torch.randn(50, 2)
    return {
        "trilemma": given.trilemma(rows),
        "narrow": given.trilemma(rows, charts.NARROW),
        "one": given.triangle(rows, "vae"),
        "curves": training_curves.curves(log, "gan"),
        "map": curves.latent_map(codes, torch.arange(50) % 3, ("a", "b", "c")),
        "terms": curves.bound_terms([3.0, 1.0, 0.5, 0.001]),
        "lines": curves.lines([0, 1], {"data": [0, 1], "samples": [1, 0]}, "score", "loss"),
    }


def test_every_chart_is_well_formed_and_stands_alone(every):
    for name, svg in every.items():
        assert ElementTree.fromstring(svg).tag.endswith("svg"), name
        outside = re.sub(r'xmlns(:\w+)?="[^"]*"', "", svg)
        assert "http" not in outside, name
        assert all(ref.startswith("data:") for ref in re.findall(r'href="([^#][^"]*)"', svg)), name
        assert "currentColor" in svg, name
        assert charts.INK not in svg, name


def test_no_two_charts_share_an_id(every):
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in every.values()]
    assert any(ids)
    for one, other in itertools.combinations(ids, 2):
        assert not one & other


def test_references_within_a_chart_resolve(every):
    for svg in every.values():
        ids = set(re.findall(r' id="([^"]+)"', svg))
        references = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(
            re.findall(r'href="#([^"]+)', svg)
        )
        assert references <= ids


def test_the_trilemma_names_recipes_floor_and_baseline(every):
    for text in ("ddpm", "gan", "vae", "autoencoder", "real data, 6.1", "training mean, 530"):
        assert text in words(every["trilemma"])
    for family in ("autoencoder", "vae", "gan", "diffusion"):
        assert FAMILIES[family].light in every["trilemma"]


def test_charts_do_without_scores(evaluate):
    for rows in ([], [evaluate("a")], [evaluate("a", fd=0.0, seconds=0.0)]):
        assert given.trilemma(rows) == ""
    assert given.triangle([evaluate("a")], "a") == ""


def test_what_was_not_measured_has_no_level(evaluate):
    rows = [
        evaluate("both", fd=20.0, coverage=0.5, seconds=1e-3),
        evaluate("open", fd=40.0, seconds=1e-2),
    ]
    assert given.triangle(rows, "both").count('opacity: 0.3"') == 1
    partial = given.triangle(rows, "open")  # coverage is missing: a side, and nothing filled
    assert 'opacity: 0.3"' not in partial
    assert "fill: none; stroke" in given.trilemma(rows)  # an open mark


def test_words_of_charts_are_large_enough(every):
    for name, svg in every.items():
        sizes = [float(size) for size in re.findall(r"font(?:-size)?: (?:\w+ )*([\d.]+)px", svg)]
        assert sizes, name
        assert min(size for size in sizes if size != EXPONENT) >= 12, name
        assert set(re.findall(r"font-family: ([^;\"]*)", svg)) <= {"system-ui, sans-serif"}


def test_trilemma_scores_span_from_baseline_to_real_data(evaluate):
    rows = [
        evaluate("noise", fd=800, coverage=0.0, seconds=10.0),
        evaluate("real", fd=6.1, coverage=0.96, seconds=1e-5),
        evaluate("middle", fd=math.sqrt(800 * 6.1), coverage=0.48, seconds=1e-2),
        evaluate("none"),
    ]
    spans = given.trilemma_scores(rows)
    assert spans["noise"] == pytest.approx((0, 0, 0))
    assert spans["real"] == pytest.approx((1, 1, 1))
    assert spans["middle"] == pytest.approx((0.5, 0.5, 0.5))
    assert all(math.isnan(v) for v in spans["none"])


def test_series_reads_steps_alone():
    log = [*events(critic__loss=4.0, critic__norm=1.0), Event("done", 99, "", {"a/b": 1.0})]
    spans = training_curves.series(log)
    assert list(spans) == ["critic loss"]
    assert spans["critic loss"][1][:2].tolist() == [4.0, 2.0]


def test_series_tells_stages_apart():
    log = [Event("step", 1, s, {"model/loss": 1.0}) for s in ("first", "second")]
    assert list(training_curves.series(log)) == ["first·model loss", "second·model loss"]


def test_curves_name_each_term(every):
    for text in ("critic", "generator", "loss", "r1", "step"):
        assert text in words(every["curves"])


def test_curves_survive_what_is_not_finite():
    losses = [math.nan if k % 3 else 1.0 + k for k in range(50)]
    log = [Event("step", k, "", {"model/loss": loss}) for k, loss in enumerate(losses)]
    assert "<svg" in training_curves.curves(log)
    assert "<svg" in training_curves.curves([Event("step", 1, "", {"model/loss": math.inf})])
    assert "<svg" in training_curves.curves([])


def test_names_are_no_formulas(evaluate):
    name = r"$\frac{$ & <b>"
    rows = [evaluate(name, fd=2.0, coverage=0.5, seconds=1e-3), evaluate("b", fd=9.0, seconds=1)]
    charts = [given.trilemma(rows), given.triangle(rows, name)]
    charts.append(
        training_curves.curves([Event("step", k, "", {f"{name}/{name}": 1.0}) for k in range(3)])
    )
    charts.append(curves.latent_map(torch.zeros(2, 2), torch.zeros(2), (name,)))
    charts.append(curves.lines([0, 1], {name: [0, 1]}))
    for svg in charts:
        ElementTree.fromstring(svg)
        assert "<b>" not in svg


def test_families_differ_in_shape_and_in_colour():
    every = [*FAMILIES.values(), OTHER]
    assert len(FAMILIES) == 12
    for part in ("name", "light", "dark", "marker"):
        assert len({getattr(h, part) for h in every}) == len(every)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_colours_can_be_seen_on_their_page(family):
    light = 1.05 / (luminance(hue(family).light) + 0.05)
    dark = (luminance(hue(family).dark) + 0.05) / (luminance("#131417") + 0.05)
    assert light >= 3
    assert dark >= 3


def test_drawing_libraries_are_imported_when_drawn():
    code = (
        "import sys, trilemma.report.html, trilemma.pictures.figures, trilemma.report.tables;"
        "print([m for m in ('matplotlib', 'PIL.Image', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def game(steps=100, alerts=()):
    for k in range(1, steps):
        values = {
            "critic/loss": 1.0,
            "critic/penalty": 0.1,
            "critic/real": 1 / k,
            "critic/fake": -1 / k,
            "critic/norm": 10 / k,
            "generator/loss": 0.7,
            "generator/fake": 0.0,
            "generator/norm": 1 / k,
            "generator/variance": min(k / 50, 1.0),
        }
        yield Event("step", k, "model", values)
    for step, trouble in alerts:
        yield Event("alert", step, "", {"trouble": trouble, "message": f"{trouble}: …"})


def test_health_of_a_game_has_its_panels_and_marks_alerts():
    svg = training_curves.health(list(game(alerts=[(40, "collapse")])), "gan")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    for text in ("score of the critic", "gradient norm", "variance of fakes", "data", "fakes"):
        assert text in words(svg)
    for text in ("critic", "generator", "collapse"):
        assert text in words(svg)
    assert training_curves.WARNING in svg
    assert training_curves.WARNING not in training_curves.health(list(game()), "gan")


def test_health_is_decided_by_what_events_hold():
    assert training_curves.health([], "gan") == ""
    assert training_curves.health(list(events(model__loss=1.0, model__norm=2.0)), "gan") == ""
    lone = [
        replace(e, values={k: v for k, v in e.values.items() if "generator" not in k})
        for e in game()
    ]
    assert training_curves.health(lone, "gan") == ""
    odd = [with_events(e, {"critic/fake": math.nan, "generator/norm": 0.0}) for e in game()]
    assert "<svg" in training_curves.health(odd, "vae")


def test_curves_leave_to_health_what_is_its_own():
    text = words(training_curves.curves(list(game()), "gan"))
    assert "penalty" in text
    assert "variance" not in text
    assert "real" not in text
    plain = words(training_curves.curves(list(events(model__real=1.0, model__fake=2.0)), "vae"))
    assert "real" in plain


def test_heat_names_classes_and_steps_and_shows_shares():
    names = ["cat", "dog", "a name that is far too long to stand here"]
    svg = training_curves.heat([1, 1000], [[4, 0, 0], [2, 1, 1]], names, [0.5, 0.25, 0.25], "gan")
    svg_text = words(svg)
    for text in ("cat", "dog", "1,000", "data", "100%"):
        assert text in svg_text
    assert names[2] not in svg_text
    shades = re.findall(r"opacity: ([\d.]+)", svg)
    assert len(set(shades)) >= 3
    assert hue("gan").light in svg
    assert "data" not in words(training_curves.heat([1], [[1, 0]], ["a", "b"]))
    assert "<svg" in training_curves.heat([1], [[0, 0]], ["$a_1$", "b"])


def test_lines_that_are_the_same_are_one_with_both_names():
    ys = {"ns": [0.0, 1.0], "wgan": [1.0, 0.0], "rsgan": [0.0, 1.0 + 1e-9]}
    text = words(curves.lines([0, 1], ys, "score", "loss"))
    assert "ns = rsgan" in text
    assert "wgan" in text


def test_one_line_that_shoots_up_leaves_the_others_room():
    x = [k / 10 for k in range(-30, 31)]
    ys = {"a": x, "b": [-v for v in x], "c": [0.5 * v for v in x], "d": [99 * v * v for v in x]}
    text = words(curves.lines(x, ys)).replace("\u2212", "-")
    assert "800" not in text
    assert all(name in text for name in ys)


def test_labels_at_the_ends_stay_in_the_frame():
    ends = {f"line {k}": [0.0, 5.0 + 0.01 * k] for k in range(12)}
    svg = curves.lines([0, 1], ends)
    height = float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)[1])
    spans = [re.search(rf"<text([^>]*)>line {k}<", svg)[1] for k in range(12)]
    heights = sorted(float(re.search(r'y="([\d.-]+)"', text)[1]) for text in spans)
    assert 0 < heights[0] < heights[-1] < height
    assert all(b - a > 9 for a, b in itertools.pairwise(heights))


def test_names_in_a_crowd_do_not_touch(evaluate, monkeypatch):
    placements = []
    original = charts.labels

    def noted(axes, names, boxes=()):
        spans = original(axes, names, boxes)
        spots = [tuple(axes.transData.transform(at)) for _, at, _ in names]
        placements.append((spans, spots, axes.get_window_extent()))
        return spans

    monkeypatch.setattr(charts, "labels", noted)
    families = list(FAMILIES)
    rows = [
        evaluate(f"recipe-{k}", families[k % 12], 20 * 1.04**k, 0.7, 1e-3 * 1.06**k)
        for k in range(14)
    ]
    svg = given.trilemma(rows)
    ((boxes, marks, frame),) = placements
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for box in boxes:
        assert frame.x0 - 1 <= box[0] < box[2] <= frame.x1 + 1
        assert frame.y0 - 1 <= box[1] < box[3] <= frame.y1 + 1
        assert not any(box[0] < x < box[2] and box[1] < y < box[3] for x, y in marks)
    assert all(f"recipe-{k}" in words(svg) for k in range(14))


def test_a_lone_name_stands_beside_its_mark(evaluate):
    far = given.trilemma([evaluate("lone", fd=20.0, seconds=1e-3)])
    assert "lone" in words(far)


def test_fd_is_drawn_where_previews_measured_it():
    log = [
        Event("preview", 10**k, "", {"variance": 1.0, "fd": 900.0 / (k + 1), "fd_n": 512})
        for k in range(5)
    ]
    svg, text = training_curves.quality(log, "diffusion")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "fd, n = 512" in words(svg)
    assert "512 samples" in text
    assert "180" in words(svg)
    floored = [with_events(e, {"fd_floor": 42.0, "fd_by": "digits-classifier"}) for e in log]
    svg, text = training_curves.quality(floored, "diffusion")
    assert "real data, 42" in words(svg)
    assert "digits-classifier" in text


def test_fd_is_left_out_where_nothing_measured_it():
    assert training_curves.quality([]) == ("", "")
    lone = [Event("preview", 1, "", {"fd": 3.0}), Event("preview", 2)]
    assert training_curves.quality(lone) == ("", "")
    odd = [Event("preview", k, "", {"fd": math.nan}) for k in (1, 2, 3)]
    assert training_curves.quality(odd) == ("", "")


def test_terms_of_a_bound_are_named_and_add_up():
    svg_text = words(curves.bound_terms([1.0, 0.5, 0.25, 0.0]))
    for text in ("L₀ 1", "L₁ … L₂ 0.75", "L₃ 0", "1.75 bits / dim"):
        assert text in svg_text
    over = curves.bound_terms([1.0, 0.5, 0.25, 0.0], log_snr=[4.0, 2.0, -6.0])
    assert "log-SNR" in words(over)
    assert "1.75 bits / dim" in words(over)
    edges, heights = curves._density(np.array([0.5, 0.25]), np.array([4.0, 2.0, -6.0]))
    assert edges.tolist() == [-6.0, 2.0, 4.0]
    assert heights.tolist() == [0.25 / 8, 0.25]
    many = curves._density(np.ones(1000), np.linspace(9, -9, 1001))
    assert len(many[1]) == curves.BINS
    assert float((many[1] * np.diff(many[0])).sum()) == pytest.approx(1000)
