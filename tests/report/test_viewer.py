"""Molecules in space on pages: one copy of the library, run by its hash alone, and the data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from given import entry

from trilemma.core.errors import BadInput
from trilemma.data import sources
from trilemma.data.bond_perception import to_mol_in_space
from trilemma.data.chemistry import chemistry
from trilemma.data.point_cloud_writing import connection_table
from trilemma.pictures import figures
from trilemma.report import viewer
from trilemma.report.html import POLICY, comparison_page, run_page
from trilemma.report.page import Comparison, Portrait

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
LIBRARY_SHA256 = "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"


class Reader(HTMLParser):
    """Reads scripts by their type, policies, and the classes that elements have."""

    def __init__(self, page):
        super().__init__()
        self.scripts, self.policies, self.classes, self.inside = [], [], set(), None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.classes |= set((attributes.get("class") or "").split())
        self.inside = attributes.get("type", "") if tag == "script" else None
        assert "src" not in attributes or tag == "img"
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(attributes["content"])

    def handle_data(self, text):
        if self.inside is not None:
            self.scripts.append((self.inside, text))
            self.inside = None

    @property
    def run(self):
        return [text for kind, text in self.scripts if not kind]

    @property
    def scenes(self):
        return [json.loads(text) for kind, text in self.scripts if kind == "application/json"]


@pytest.fixture(scope="module")
def data():
    return sources.load("qm9-small").viewed(("conformer",))


@pytest.fixture(scope="module")
def broken(data):
    """Return samples of which the first is refused and the last has no place in a table."""
    x = data.test.x[:20].clone()
    x[0, :, :3] *= 0.5
    x[15, 0, 0] = float("nan")
    return x


@pytest.fixture
def page(data, broken, evaluate):
    row = entry(evaluate("geoldm", "geoldm", fd=1.0, coverage=0.5, seconds=1e-3), samples=broken)
    return run_page(Portrait(row, real=data.test.x[:64], domain=data.domain))


def sha256(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class TestPolicy:
    def test_it_names_the_two_scripts_and_no_more(self, page):
        read = Reader(page)
        (policy,) = read.policies
        attributes = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert len(read.run) == 2
        assert attributes["script-src"].split() == [
            f"'sha256-{sha256(text)}'" for text in read.run
        ]
        assert [attributes[name] for name in ("default-src", "connect-src", "worker-src")] == [
            "'none'"
        ] * 3
        assert "unsafe-eval" not in policy
        assert policy.startswith(POLICY)

    def test_pages_without_molecules_in_space_have_no_script(self, data, evaluate):
        row = evaluate("geoldm", fd=1.0)
        picture = figures.show(data.test.x[:4], data.domain)
        graphs = sources.load("qm9-small")
        for one in (
            run_page(Portrait(entry(row), domain=data.domain)),
            run_page(Portrait(entry(row, samples=picture), domain=data.domain)),
            run_page(Portrait(entry(row, samples=graphs.test.x[:4]), domain=graphs.domain)),
        ):
            read = Reader(one)
            assert read.policies == [POLICY]
            assert not read.scripts
            assert 'class="conformers' not in one

    def test_the_library_comes_once_and_is_the_one_that_was_read(self, page):
        library, use = viewer.BUNDLE.texts()
        assert hashlib.sha256(library.encode()).hexdigest() == LIBRARY_SHA256
        assert page.count("__webpack_modules__={") == 1
        assert Reader(page).run == [library, use]
        for text in (library, use):
            assert not re.search(r"</script|<!--|\r|\0", text, re.IGNORECASE)

    def test_the_library_finds_nothing_to_load(self, page):
        library, use = viewer.BUNDLE.texts()
        assert "viewer_3Dmoljs" in library
        assert "viewer_3Dmoljs" not in Reader(page).classes
        assert "document.onreadystatechange=" in library
        assert "document.onreadystatechange = null" in use

    def test_the_licence_comes_with_it(self, page):
        assert "University of Pittsburgh" in page
        assert "Redistributions in binary form" in viewer.BUNDLE.licence()


class TestScene:
    def test_samples_and_real_examples_stand_in_the_page(self, page, data, broken):
        real, samples = Reader(page).scenes
        assert len(real["molecules"]) == len(samples["molecules"]) == viewer.MAX_SCENES
        assert "refused" in samples["molecules"][0]["name"]
        assert samples["molecules"][0]["table"]
        assert not samples["molecules"][15]["table"]
        assert samples["molecules"][3]["table"] == connection_table(
            broken[3], data.domain.elements
        )
        assert page.count('<div class="conformers"><img src="data:image/png') == 2

    def test_of_another_kind_than_the_page_they_are_kept_beside_the_picture(self, data, evaluate):
        graphs = sources.load("qm9-small")
        row = [
            entry(
                evaluate("geoldm", fd=1.0),
                samples=figures.show(data.test.x[:4], data.domain),
                scene=viewer.scene(data.test.x[:4], data.domain.elements),
            ),
            entry(evaluate("gcpn", fd=2.0), samples=graphs.test.x[:4]),
        ]
        read = Reader(
            comparison_page(Comparison("x", row, real=graphs.test.x[:4], domain=graphs.domain))
        )
        (scene_json,) = [data for data in read.scenes if "molecules" in data]
        assert len(scene_json["molecules"]) == 4
        assert set(viewer.BUNDLE.texts()) < set(read.run)

    def test_names_cannot_end_the_script(self):
        scene = viewer.Scene(("</script><img src=x>",), ("",))
        (scene_json,) = Reader(scene.over("")).scenes
        assert scene_json["molecules"][0]["name"] == "</script><img src=x>"

    def test_there_is_none_of_nothing(self, data):
        assert viewer.scene(data.test.x[:0], data.domain.elements) is None


class TestConnectionTable:
    def test_rdkit_reads_the_molecule_that_a_sample_would_be_written_as(self, data):
        chem, elements = chemistry(), data.domain.elements
        for one in data.test.x[:20]:
            read = chem.MolFromMolBlock(connection_table(one, elements), removeHs=False)
            written = chem.MolToMolBlock(to_mol_in_space(one, elements))
            want = chem.MolFromMolBlock(written, removeHs=False)
            spellings = [chem.MolToSmiles(mol, isomericSmiles=False) for mol in (read, want)]
            assert spellings[0] == spellings[1]
            at, positions = (mol.GetConformer().GetPositions() for mol in (read, want))
            assert abs(at - positions).max() < 1e-4

    def test_what_has_no_room_is_refused(self):
        far = torch.tensor([[1e5, 0.0, 0.0, 1.0]])
        with pytest.raises(BadInput, match="room"):
            connection_table(far, ("C",))


def test_the_wheel_has_the_files_that_a_page_reads():
    root = Path(__file__).parents[2]
    build = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"] == {"packages": ["src/trilemma"]}  # whole, nothing excluded
    names = ["3Dmol-min.js", "3Dmol-min.LICENSE.txt", "viewer.js"]
    for name in names:
        assert (files("trilemma.report") / "files" / name).is_file()
        assert (root / "src/trilemma/report/files" / name).is_file()
    ignored = [line.strip("/") for line in (root / ".gitignore").read_text().splitlines()]
    assert not any(fnmatch(name, rule) for name in [*names, "files"] for rule in ignored)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no browser")
def test_a_browser_draws_them_and_refuses_all_else(page, tmp_path):
    probe = "document.title = 'changed by a script that the policy does not name'"
    target = tmp_path / "page.html"
    target.write_text(page.replace("</body>", f"<script>{probe}</script></body>"), "utf-8")
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]
    command += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--dump-dom"]
    command += ["--virtual-time-budget=5000", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, Path(target).as_uri()], capture_output=True, timeout=120)
    output = done.stdout.decode()
    assert output.count('class="conformers live"') == 2
    assert output.count("<canvas") == 31  # one of the samples has no place
    assert "<title>changed" not in output
