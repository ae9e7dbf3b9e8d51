"""Pages: every figure is there, nothing is fetched, nothing that a user named becomes markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
import torch
from given import entry, lines, page_of

from trilemma.core.domain import Domain, Levels, Real
from trilemma.core.event import Event
from trilemma.core.words import written
from trilemma.pictures import figures
from trilemma.report import interaction, scripts
from trilemma.report.html import comparison_page, run_page
from trilemma.report.page import Comparison, Picture, Portrait, equal_counts

EVIL = '<img src=x onerror="alert(1)">'
VOID = ("meta", "img", "br")


class Reader(HTMLParser):
    """Reads text, tags and attributes, and sees whether tags are closed in order."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def domain():
    return Domain("image", (1, 4, 4), Levels(17), (EVIL, "b"), (0.5, 0.5))


@pytest.fixture(scope="module")
def comparison(settled, domain):
    x = torch.randint(0, 17, (80, 1, 4, 4), dtype=torch.uint8)
    log = [Event("step", k, "", {"model/loss": 1.0 / (k + 1)}) for k in range(30)]
    film = figures.animation([figures.grid(x[:4] // (k + 1), 17) for k in range(3)])
    entries = [
        entry(
            row,
            samples=x,
            neighbours=(x[:30], x[:30]),
            events=log,
            pictures=[Picture("the way", film, "from noise")],
            settings=written({"batch": 128, "width": (32, 64)}),
        )
        for row in settled
    ]
    return Comparison(
        "digits",
        entries,
        minutes=1.0,
        seed=7,
        real=x,
        domain=domain,
        environment={"torch": "2.13"},
        date="5 October 2026",
        notes=["CC0"],
    )


@pytest.fixture(scope="module")
def page(comparison):
    return comparison_page(comparison)


@pytest.fixture(scope="module")
def single(comparison):
    return run_page(portrait(comparison))


def portrait(comparison):
    history = [Picture("step 0", figures.grid(comparison.real[:4], 17))]
    return Portrait(
        comparison.entries[3], comparison.real, comparison.domain, {"cores": 2}, history=history
    )


def test_every_figure_of_the_table_is_there(comparison, page):
    text = "\n".join(Reader(page).text)
    for line in lines(comparison.rows):
        assert line.name in text
        for cell in line.cells.values():
            assert cell.text in text
            assert cell.interval in text


def test_what_the_numbers_stand_on_is_said(page):
    text = " ".join(Reader(page).text)
    for fact in (
        "Four recipes on digits",
        "5 October 2026",
        "Choose ddpm",
        "Take gan when",
        "n = 1000 samples, test split, seed 7, on cpu, features of digits-classifier (64 fe",
        "a GAN has no likelihood",
        "fd protocol; features digits-classifier",
        "Fréchet distance",
        "first 64 images of each",
        "2.13",
        "[32, 64]",
        "CC0",
    ):
        assert fact in text


@pytest.mark.parametrize("kind", ["page", "single"])
def test_nothing_is_fetched_and_our_script_alone_runs(request, kind):
    page = request.getfixturevalue(kind)
    read = Reader(page)
    assert read.open == []
    texts = [text for bundle in (interaction.BUNDLE,) for text in bundle.texts()]
    data = [v for tag, name, v in read.attributes if tag == "script" and name == "type"]
    assert set(data) <= {"application/json"}
    assert read.tags.count("script") == len(data) + len(texts)
    assert page.count(f"<script>{texts[0]}</script>") == 1
    assert not re.search(r"https?:|@import|//[a-z]", re.sub(r"base64,[^\"]*", "", page))
    assert all(u.startswith(("#", "data:")) for u in re.findall(r"url\(['\"]?([^)'\"]*)", page))
    for tag, name, value in read.attributes:
        assert not name.startswith("on")
        if name == "src":
            assert value.startswith("data:image/")
        if name in ("href", "xlink:href"):
            assert value.startswith("#"), tag
    policy = dict((n, v) for t, n, v in read.attributes if t == "meta" and "default-src" in v)
    assert policy["content"].startswith("default-src 'none'; img-src data:")
    assert policy["content"].endswith(scripts.policy(texts))


def test_pictures_are_there(page):
    read = Reader(page)
    sources = [v for _, name, v in read.attributes if name == "src"]
    assert sum(v.startswith("data:image/gif") for v in sources) == 4
    assert sum(v.startswith("data:image/png") for v in sources) == 1 + 4 + 4
    headings = ("Samples", "Learning curves", "Nearest training examples", "Model by model")
    for heading in headings:
        assert heading in read.text
    assert all(v for t, n, v in read.attributes if t == "img" and n == "alt")


def test_links_lead_somewhere(page):
    read = Reader(page)
    ids = [v for _, name, v in read.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {v[1:] for _, n, v in read.attributes if n == "href" and v[:1] == "#"} <= set(ids)


def test_what_a_user_named_is_text(comparison, evaluate, domain):
    evil = evaluate(EVIL, EVIL, fd=1.0, coverage=0.5, seconds=1e-3)
    evil["data"] = evil["device"] = EVIL
    evil["skipped"] = {EVIL: EVIL}
    evil["metrics"]["fd"]["protocol"] = EVIL
    evil["metrics"]["fd"]["baselines"] = {EVIL: 5.0}
    evil_one = entry(
        evil,
        samples=comparison.real,
        events=[Event("step", k, "", {f"{EVIL}/loss": 1.0 + k}) for k in range(9)],
        pictures=[Picture(EVIL, figures.grid(comparison.real), EVIL)],
        settings={EVIL: EVIL},
    )
    both = Comparison(
        EVIL,
        [evil_one, comparison.entries[0]],
        real=comparison.real,
        domain=domain,
        environment=written({EVIL: {"path": EVIL}}),
        verdict=EVIL,
        notes=[EVIL],
    )
    alone = Portrait(evil_one, domain=domain, environment={EVIL: EVIL}, notes=[EVIL])
    for page in (comparison_page(both), run_page(alone)):
        read = Reader(page)
        assert EVIL in " ".join(read.text)
        assert not any(name.startswith("onerror") for _, name, _ in read.attributes)
        assert "<img src=x" not in page


def test_pages_of_little(evaluate):
    assert "nothing was measured" in page_of("none", [])
    assert "only a was measured" in page_of("x", [evaluate("a", fd=2)])
    assert "Not measured yet" in run_page(Portrait(entry(evaluate("a"))))


def test_what_was_measured_and_not_ranked_is_said_so(evaluate):
    """A run for a reward is ranked by that alone, and other scores may rank nothing."""
    sought = evaluate("gcpn", "molecule policy", top10=0.9) | {"reward": "qed"}
    page = run_page(Portrait(entry(sought)))
    assert "By the reward ‘qed’ (top10): 1: gcpn 0.9" in page
    other = run_page(Portrait(entry(evaluate("a", valid=1.0))))
    assert "Its scores are below; none of them ranks it." in other
    assert "Not measured yet" not in page + other


def test_points_are_drawn(rows):
    x = torch.randn(100, 2)
    plane = Domain("points", (2,), Real())
    comparison = Comparison("moons", [entry(rows[1], x)], real=x, domain=plane)
    assert "first 100 points" in comparison_page(comparison)


def test_nobody_is_shown_with_more():
    n, cut = equal_counts(
        torch.zeros(80, 1, 4, 4), [torch.zeros(70, 1, 4, 4), torch.zeros(9, 1, 4, 4)]
    )
    assert n == 9
    assert [len(x) for x in cut] == [9, 9, 9]


def test_a_run_says_what_it_reaches(single):
    text = " ".join(Reader(single).text)
    assert "ddpm on digits" in text
    assert (
        "fd 17.2, between 16.2 and 18.2 (real data: 6.1); coverage 0.92; 6.2 ms a sample." in text
    )
    assert "≤ 2.31" in text
    assert "step 0" in text


def test_both_modes_have_every_colour(page):
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    used = set(re.findall(r"var\(--([\w-]+)\)", page))
    light, dark = page.split("prefers-color-scheme: dark", 1)
    assert used
    for name in used:
        assert f"--{name}:" in light
        assert f"--{name}:" in dark
