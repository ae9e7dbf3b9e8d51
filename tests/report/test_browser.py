"""Pages as a browser shows them: nothing overflows, nothing fails, and the keyboard reaches all.

Skipped, with the reason, where chromium or what drives it is missing.
"""

from __future__ import annotations

import json

import pytest
import torch
from browser import Browser, chromium
from given import entry, every

from trilemma.core.domain import Domain, Levels
from trilemma.pictures import figures
from trilemma.report.html import comparison_page, failed_page, run_page
from trilemma.report.page import Comparison, Picture, Portrait

pytestmark = pytest.mark.skipif(
    chromium() is None, reason="chromium, or websockets, which drives it, is not installed"
)
NAMES = (
    "x" * 300,
    "מודל שלי",
    "模型" * 40,
    "🦊 fox",
    "<script>alert(1)</script>",
    "a\u202eb\u0007c\u2066",
)
DIGITS = Domain("image", (1, 8, 8), Levels(17))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def digits(n=64, side=8):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 17, (n, 1, side, side), dtype=torch.uint8, generator=generator)


def compared(rows, **named):
    x = digits()
    picture = Picture("codes", figures.grid(x[:4], 17), "a map")
    entries = [
        entry(row, samples=x, neighbours=(x[:24], x[:24]), pictures=[picture], settings={"a": "b"})
        for row in rows
    ]
    return Comparison("digits", entries, real=x, domain=DIGITS, seed=7, **named)


def figures_of(rows):
    return Comparison("digits", [entry(row) for row in rows], seed=7)


def pages(rows, evaluate):
    one = entry(rows[3], samples=digits(), settings={"batch": "128"})
    thirty = [
        evaluate(f"recipe-{i}", fd=10.0 + i, coverage=0.5, seconds=1e-3 * (i + 1))
        for i in range(30)
    ]
    unranked = [{**row, "training": {}, "metrics": {}} for row in rows]
    named = [evaluate(name, name, fd=3.0 * i + 5, seconds=0.1) for i, name in enumerate(NAMES)]
    point = Comparison(
        "one pixel",
        [entry(row, samples=digits(side=1)) for row in rows],
        real=digits(side=1),
        domain=Domain("image", (1, 1, 1), Levels(17)),
    )
    broken = Picture.missing("the codes", "ValueError: no room")
    return {
        "four": comparison_page(compared(rows)),
        "sets": comparison_page(compared(rows[:2]), figures_of(rows[2:])),
        "none": comparison_page(Comparison("none", [])),
        "one": comparison_page(compared(rows[:1])),
        "thirty": comparison_page(figures_of(thirty)),
        "unranked": comparison_page(figures_of(unranked)),
        "names": comparison_page(figures_of(named)),
        "pixel": comparison_page(point),
        "run": run_page(Portrait(one, real=digits(), domain=DIGITS)),
        "writing": run_page(Portrait(entry(evaluate("a")))),
        "broken": run_page(Portrait(entry(rows[0], pictures=[broken]), history=[broken])),
        "failed": failed_page("vae on digits", "ValueError: no room"),
    }


KINDS = ("four", "sets", "none", "one", "thirty", "unranked", "names", "pixel", "run")
KINDS += ("writing", "broken", "failed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, settled, evaluate):
    path = tmp_path_factory.mktemp("pages")
    for name, text in pages(settled, evaluate).items():
        (path / f"{name}.html").write_text(text, encoding="utf-8")
    for file in path.iterdir():
        file.chmod(0o444)
    path.chmod(0o555)  # as on a medium that cannot be written
    yield path
    path.chmod(0o755)


@pytest.mark.parametrize(("width", "dark"), [(1300, False), (390, True)])
@pytest.mark.parametrize("name", KINDS)
def test_a_page_fits_and_nothing_fails(browser, folder, name, width, dark):
    look = browser.open(folder / f"{name}.html", width, dark=dark)
    assert look.messages == []
    assert look.unnamed == []
    assert look.overflow <= 0
    browser.run("for (const fold of document.querySelectorAll('details')) fold.open = true")
    assert browser.run("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_what_is_wrong_is_noticed(browser, tmp_path):
    text = failed_page("a", "b").replace("<footer>", "<img src='data:,' alt=''><script>1</script>")
    page = tmp_path / "wrong.html"
    page.write_text(text.replace("<p ", "<p style='width:2000px;max-width:none' ", 1))
    look = browser.open(page)
    assert any("Content Security Policy" in message for message in look.messages)
    assert look.overflow > 0


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(browser, folder):
    look = browser.open(folder / "four.html")
    stops = browser.tabbed(200)
    assert len(stops) == look.controls > 20
    assert not [stop for stop in stops if " true " not in stop]


def test_without_scripts_the_page_lies_open(browser, folder):
    folded = browser.open(folder / "four.html").height
    look = browser.open(folder / "four.html", runs=False)
    assert look.height > 1.5 * folded
    text = (folder / "four.html").read_text()
    assert text.count('class="interactive fold" open') == 4
    assert "<button" not in text
    assert "<input" not in text


def test_a_page_is_printed_whole(browser, folder):
    browser.open(folder / "four.html")
    assert browser.printed().startswith(b"%PDF")


def test_the_table_unfolds_is_sorted_and_sifted(browser, folder):
    browser.open(folder / "four.html")
    heads = "[...document.querySelectorAll('.figures thead tr:last-child th')]"
    visible = f"{heads}.filter((head) => head.checkVisibility()).length"
    n = browser.run(visible)
    browser.run("document.querySelector('.figures tr.group button').click()")
    assert browser.run(visible) > n
    first = "document.querySelector('.figures tbody th').innerText.split('\\n')[0].trim()"
    browser.run(f"{heads}[1].querySelector('button').click()")
    assert browser.run(first) == "ddpm"
    browser.run(f"{heads}[1].querySelector('button').click()")
    assert browser.run(first) == "autoencoder"
    assert browser.run(f"{heads}[1].getAttribute('aria-sort')") == "descending"
    browser.run(
        "const input = document.querySelector('.sift input'); input.value = 'DIFF';"
        "input.dispatchEvent(new Event('input'))"
    )
    rows = "[...document.querySelectorAll('.figures tbody:not(.marks) tr')]"
    assert browser.run(f"{rows}.filter((row) => !row.hidden).length") == 1


def test_sliders_look_the_answers_up(browser, folder, settled):
    from trilemma.comparison.priorities import priorities

    browser.open(folder / "four.html")
    answers = priorities(every(settled))
    for weights in ((4, 0, 0), (0, 0, 4), (1, 2, 3), (0, 0, 0)):
        browser.run(
            f"{json.dumps(weights)}.forEach((value, i) => {{"
            "const input = document.querySelectorAll('.priorities input')[i];"
            "input.value = value; input.dispatchEvent(new Event('input')); })"
        )
        text = browser.run("document.querySelector('.priorities .answer').textContent")
        assert text == answers.answer(*weights).words


def test_the_blind_test_is_played_by_keys_and_tells_nothing_before(browser, folder):
    browser.open(folder / "four.html")
    box = "document.querySelector('.blind')"
    browser.run(f"{box}.querySelector('button').click()")
    before = browser.run(f"{box}.innerText + {box}.innerHTML")
    assert "made by" not in before
    assert "ddpm" not in before
    assert browser.run(f"{box}.querySelector('canvas').width") == 160
    for _ in range(20):
        browser.press("ArrowLeft", 37)
    text = browser.run(f"{box}.innerText")
    assert "of 20; guessing gives 10 on average" in text
    assert "Real data: taken for real" in text
    assert browser.messages() == []


def test_samples_are_seen_at_whole_numbers_of_pixels(browser, folder):
    browser.open(folder / "four.html")
    sizes = browser.run(
        "JSON.stringify([...document.querySelectorAll('img.exact')].map((x) => "
        "[x.naturalWidth, x.getBoundingClientRect().width]))"
    )
    sizes = json.loads(sizes)
    assert len(sizes) == 5
    assert all(natural == shown_width for natural, shown_width in sizes)


def test_names_of_all_scripts_are_text(folder):
    text = (folder / "names.html").read_text()
    assert "<script>alert" not in text
    assert not set("\u202e\u0007\u2066") & set(text)
    for name in NAMES[:4]:
        assert name in text


def test_what_is_missing_is_said(folder):
    def text(name):
        return (folder / f"{name}.html").read_text()

    assert "Not measured yet" in text("writing")
    assert "ValueError: no room" in text("broken")
    assert "This page could not be made" in text("failed")
    assert "nothing was measured" in text("none")
    assert "a choice needs a second recipe" in text("one")
    assert "no ground to choose on" in text("unranked")
