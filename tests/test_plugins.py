"""Plug-ins: read once, recorded by their hashes, never imported by a run, held to the contract."""

from __future__ import annotations

import json
import linecache
import re
import subprocess
import sys
from pathlib import Path

import pytest

import trilemma as tl
from trilemma import plugins
from trilemma.api.plugin_checks import check_plugin
from trilemma.cli import main
from trilemma.metrics.registry import metric, quantity, ranking
from trilemma.plugins import BadPlugin, installed, loaded, read, refusal
from trilemma.recipes.run_data import plugins_of
from trilemma.registry import BadEntry, registries

pytestmark = pytest.mark.usefixtures("no_previews", "no_pages")

EXAMPLES = Path(__file__).parents[1] / "examples" / "plugins"
SETTING = """
from dataclasses import dataclass
import torch
import trilemma as tl
"""
RECIPE = f"""{SETTING}
@dataclass(frozen=True, kw_only=True)
class Mine(tl.RECIPES["vae"]):
    \"\"\"Mine.\"\"\"
    name = "mine"
    depth: int = 1
    \"\"\"How deep.\"\"\"

tl.RECIPES["mine"] = Mine
"""


def forget() -> None:
    """Take what was read out of the registries again."""
    for plugin in loaded():
        plugin.withdraw()
        sys.modules.pop(plugin.module, None)
    plugins._LOADED.clear()
    installed.cache_clear()


@pytest.fixture(autouse=True)
def forgotten():
    """Leave nothing of what a test has read."""
    yield
    forget()


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def names() -> dict[str, list[str]]:
    return {registry.kind: list(registry) for registry in registries() if len(registry)}


class TestReading:
    def test_it_says_what_it_adds(self, tmp_path):
        plugin = read(written(tmp_path, RECIPE))
        assert (plugin.name, plugin.origin) == ("mine", "file")
        assert plugin.entries == (("recipe", "mine"),)
        assert tl.RECIPES["mine"]().latent == tl.recipe("vae").latent
        assert loaded() == (plugin,)

    def test_twice_is_once(self, tmp_path):
        path = written(tmp_path, RECIPE)
        assert read(path) is read(str(path))

    def test_a_changed_file_is_refused(self, tmp_path):
        before = read(written(tmp_path, RECIPE))
        with pytest.raises(BadPlugin) as refused:
            read(written(tmp_path, RECIPE + "# more"))
        assert before.sha256 in str(refused.value)
        assert "start a new one" in str(refused.value)

    def test_what_was_hashed_is_what_runs_and_what_is_shown(self, tmp_path):
        path = written(tmp_path, RECIPE)
        plugin = read(path)
        path.write_text(RECIPE.replace("How deep", "How shallow"))
        linecache.checkcache()
        from trilemma.recipes.fields import fields

        assert "How deep." in [field.meaning for field in fields(tl.RECIPES["mine"])]
        assert not list(tmp_path.rglob("*.pyc"))
        assert plugin.sha256 in {one.sha256 for one in loaded()}

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("x = 1\n1 / 0\n", "line 2) fails when it is imported: ZeroDivisionError: division"),
            ("x = (\n", "line 1) fails when it is imported: SyntaxError: '(' was never closed"),
            ("import sys\nsys.exit(3)\n", "line 2) fails when it is imported: SystemExit: 3"),
            (
                "import nowhere_to_be_had.part\n",
                "line 1) needs the package 'nowhere_to_be_had', which is not here; install it",
            ),
            ("import trilemma.nowhere\n", "needs the module 'trilemma.nowhere', which is not"),
        ],
    )
    def test_what_fails_is_one_sentence_and_leaves_nothing(self, text, words, tmp_path):
        before = names()
        path = written(tmp_path, f"{RECIPE}{text}")
        shifted = words
        for line in (1, 2):
            number = RECIPE.count("\n") + line
            shifted = shifted.replace(f"line {line})", f"line {number})")
        with pytest.raises(BadPlugin) as refused:
            read(path)
        assert shifted in str(refused.value)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)
        assert names() == before
        assert not loaded()

    def test_a_name_that_is_in_use_is_the_registrys_sentence(self, tmp_path):
        text = RECIPE.replace('"mine"', '"ddpm"')
        with pytest.raises(BadEntry, match=r"recipe 'ddpm' of .*mine\.py is there already, in "):
            read(written(tmp_path, text))

    def test_a_recipe_is_entered_by_its_own_name(self, tmp_path):
        text = RECIPE.replace('RECIPES["mine"]', 'RECIPES["other"]')
        with pytest.raises(BadEntry, match=r"recipe 'other' of .* calls itself 'mine'"):
            read(written(tmp_path, text))

    @pytest.mark.parametrize(
        ("registry", "words"),
        [
            ("RECIPES", "is no Recipe"),
            ("DATA_SETS", "is no Source"),
            ("METRICS", "is no Metric"),
        ],
    )
    def test_an_entry_of_another_kind_is_refused(self, registry, words, tmp_path):
        text = f'{SETTING}\ndef mine() -> None:\n    """Mine."""\ntl.{registry}["mine"] = mine\n'
        with pytest.raises(BadEntry, match=words):
            read(written(tmp_path, text))

    @pytest.mark.parametrize(
        ("name", "words"), [("no.py", "there is no plug-in"), ("mine.txt", "is no Python file")]
    )
    def test_a_file_that_is_none_is_refused(self, name, words, tmp_path):
        with pytest.raises(BadPlugin, match=words):
            read(tmp_path / name)
        (tmp_path / "folder.py").mkdir()
        with pytest.raises(BadPlugin, match="cannot be read"):
            read(tmp_path / "folder.py")


class TestInstalled:
    def package(self, folder: Path, text: str) -> None:
        (folder / "mine_pkg.py").write_text(text)
        info = folder / "mine_pkg-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-pkg\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[trilemma.plugins]\nmine = mine_pkg\n")

    def test_entry_points_are_read_once(self, tmp_path, monkeypatch):
        self.package(tmp_path, RECIPE)
        monkeypatch.syspath_prepend(tmp_path)
        (plugin,) = installed()
        assert (plugin.name, plugin.origin) == ("mine", "package")
        assert plugin.entries == (("recipe", "mine"),)
        assert installed() == (plugin,)

    def test_one_that_fails_is_one_sentence(self, tmp_path, monkeypatch):
        self.package(tmp_path, f"{RECIPE}\nraise ValueError('too new')\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(BadPlugin, match=r"plug-in 'mine' \(.* fails .* ValueError: too new"):
            installed()
        assert "mine" not in tl.RECIPES

    def test_without_any_nothing_is_imported(self):
        code = "import sys; from trilemma.plugins import installed; installed(); print(*[m for m "
        code += "in ('importlib.metadata', 'torch') if m in sys.modules])"
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert answer.stdout.strip() == ""
        assert answer.returncode == 0


class TestRuns:
    @pytest.fixture
    def run(self, tmp_path):
        """Train a recipe of a plug-in; another one is there that it does not use."""
        read(written(tmp_path, "x = 1\n", "idle.py"))
        path = written(tmp_path, RECIPE)
        words = ["train", "mine", "--plugin", str(path), "--steps", "2", "--batch", "8"]
        assert main([*words, "--data", "two-moons", "--run", str(tmp_path / "run")]) == 0
        return tmp_path / "run"

    def test_it_records_what_it_uses_alone(self, run):
        (plugin,) = json.loads((run / "recipe.json").read_text())["plugins"]
        assert plugin == {"name": "mine", "sha256": loaded()[1].sha256}

    def test_it_goes_on_where_the_plugin_is_given(self, run):
        assert main(["resume", str(run), "--steps", "3"]) == 0
        assert tl.load(run).recipe == "mine"

    @pytest.mark.parametrize(
        "command", ["sample", "resume", "evaluate", "verify"], ids=lambda words: words
    )
    def test_it_never_causes_an_import(self, command, run, capsys):
        digest = loaded()[1].sha256
        forget()
        assert main([command, str(run)]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert "was made with plug-in 'mine' of sha256" in line
        assert digest in line
        assert "--plugin mine.py" in line
        with pytest.raises(tl.BadInput, match="which was not given"):
            tl.load(run)

    def test_a_changed_plugin_is_refused_with_both_hashes(self, run, tmp_path, capsys):
        before = loaded()[1].sha256
        forget()
        path = written(tmp_path, RECIPE + "# more\n")
        assert main(["sample", str(run), "--plugin", str(path)]) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert before in line
        assert loaded()[0].sha256 in line

    def test_another_name_of_the_same_file_will_do(self, run, tmp_path):
        forget()
        read(written(tmp_path, RECIPE, "renamed.py"))
        assert tl.load(run).recipe == "mine"

    def test_a_damaged_record_is_one_sentence(self, run):
        record = json.loads((run / "recipe.json").read_text())
        (run / "recipe.json").write_text(json.dumps(record | {"plugins": "mine"}))
        with pytest.raises(tl.BadInput, match="plugins that are no list"):
            tl.load(run)

    def test_choices_and_data_are_recorded_too(self, tmp_path):
        network = read(EXAMPLES / "flat_network.py")
        points = f"""{SETTING}
def load() -> tl.DataSet:
    return tl.dataset(torch.randn(400, 2, generator=torch.Generator().manual_seed(0)).numpy())
card = dict(description="x", origin="x", licence="x", how="x")
tl.DATA_SETS["cloud"] = tl.Source("cloud", "points", **card, loader=load)
"""
        data = read(written(tmp_path, points, "cloud.py"))
        words = {"steps": 1, "batch": 8, "quiet": True, "run": tmp_path / "run"}
        tl.train("ddpm", "cloud", network="flat", width=8, **words)
        recorded = json.loads((tmp_path / "run" / "recipe.json").read_text())["plugins"]
        assert {one["sha256"] for one in recorded} == {network.sha256, data.sha256}
        assert all(check.holds for check in check_plugin(data))

    def test_a_reward_is_recorded_where_it_is_asked_for(self, tmp_path):
        text = f"""{SETTING}
def size(mols) -> list[float]:
    return [mol.GetNumAtoms() for mol in mols]
def edges(x: torch.Tensor) -> torch.Tensor:
    \"\"\"Count edges.\"\"\"
    return x.double().sum((1, 2))
tl.REWARDS["size"] = tl.Reward("size", "atoms", size)
tl.GRAPH_REWARDS["edges"] = edges
"""
        plugin = read(written(tmp_path, text))
        asking = plugins_of(tl.recipe("gcpn", reward="0.1 * size + qed"), "qm9-small")
        growing = plugins_of(tl.recipe("graphrl", task="edges"), "community-small")
        assert [one["sha256"] for one in asking + growing] == [plugin.sha256] * 2
        assert not plugins_of(tl.recipe("gcpn", reward="qed"), "qm9-small")
        check = next(check_plugin(plugin))
        assert check.holds
        assert check.name == "gives each molecule a number"

    @pytest.mark.parametrize(
        ("answers", "words"),
        [
            ("[1.0]", "of 12 molecules it gives 1 numbers"),
            ("[float('nan')] * len(mols)", "give a finite number"),
            ("[float(len(mols))] * len(mols)", "among others and alone, it is 12 and 1"),
        ],
    )
    def test_a_reward_that_is_amiss_is_seen(self, answers, words, tmp_path):
        text = f"""{SETTING}
tl.REWARDS["mine"] = tl.Reward("mine", "x", lambda mols: {answers})
"""
        (check,) = check_plugin(read(written(tmp_path, text)))
        assert not check.holds
        assert words in check.measured

    def test_a_comparison_is_another_one_with_another_plugin(self, tmp_path):
        from trilemma.comparison.plan import Plan

        def plan() -> dict:
            settings = {"minutes": 1.0, "samples": 10, "seed": 0, "device": "cpu"}
            plan = Plan.of(
                data, "two-moons", size=None, recipes=["mine"], precision="fp32", **settings
            )
            return plan.to_json()

        data = tl.dataset("name:two-moons")
        read(written(tmp_path, RECIPE))
        before = plan()
        assert before["plugins"] == [["mine", loaded()[0].sha256]]
        forget()
        read(written(tmp_path, RECIPE + "# more\n"))
        assert plan() != before


class TestMetrics:
    def test_one_of_a_plugin_stands_among_the_others_and_goes(self):
        before = ranking("quality")
        assert metric("mean_gap") is None
        plugin = read(EXAMPLES / "mean_gap.py")
        assert metric("mean_gap").label == quantity("mean_gap").label == "mean gap"
        assert ranking("quality") == before
        plugin.withdraw()
        assert metric("mean_gap") is None
        assert quantity("mean_gap").meaning == ""

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ('"mean_gap"', '"fd"', "metric 'fd' of .* is there already, in trilemma.metrics"),
            ('failure="It', 'section="x", failure="It', "stands under 'x'; sections are quality"),
            ('("image", "points")', '("sound",)', "is for sound; kinds of data are image"),
        ],
    )
    def test_what_is_amiss_is_refused(self, old, new, words, tmp_path):
        text = (EXAMPLES / "mean_gap.py").read_text()
        with pytest.raises(BadEntry, match=words):
            read(written(tmp_path, text.replace(old, new)))


VARIANTS = {
    "good": ("Mixture(", "Mixture("),
    "numbers of its own": ("noise.normal(self.means.shape[1])", "torch.randn(n, 2)"),
    "statistics of a batch": ("flatten(1)\n", "flatten(1)\n        y = y / y.std()\n"),
    "state that is not kept": (
        "return tl.Loss(-(",
        "self.count = getattr(self, 'count', 0) + 1\n        return tl.Loss(-(self.count * ",
    ),
    "an error": ("k = noise", "k = nosie"),
    "a parameter that nobody trains": ("list(self.parameters())", "[self.means]"),
    "a field without words": ('    """How many Gaussians."""\n', ""),
}
"""Of the recipe of the examples: what is written in the place of what."""


@pytest.fixture(scope="module")
def failures(tmp_path_factory):
    """Put all variants through the contract at once; return what fails of each, by check."""
    text = (EXAMPLES / "gaussian_mixture.py").read_text()
    text = text.replace("    components: int", '    kinds = ("points",)\n    components: int')
    assert all(old in text for old, _ in VARIANTS.values())
    parts = []
    for number, (old, new) in enumerate(VARIANTS.values()):
        part = text.replace(old, new).replace("gaussian-mixture", f"mixture-{number}")
        parts.append(part.replace("Mixture", f"Mixture{number}"))
    folder = tmp_path_factory.mktemp("variants")
    plugin = read(written(folder, "\n".join(parts), "variants.py"))
    failed = {name: {} for name in VARIANTS}
    for check in check_plugin(plugin):
        number = int(check.entry.partition("mixture-")[2].partition("'")[0])
        if not check.holds:
            failed[list(VARIANTS)[number]][check.name] = check.measured
    forget()
    return failed


class TestChecks:
    """Deliberately broken plug-ins fail by name; those of the examples pass."""

    def broken(self, path: Path) -> dict[str, str]:
        return {c.name: c.measured for c in check_plugin(read(path)) if not c.holds}

    @pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
    def test_the_examples_are_short(self, path):
        assert len([line for line in path.read_text().splitlines() if line.strip()]) < 40
        read(path)

    @pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
    def test_the_page_shows_them_as_they_are(self, path):
        page = (EXAMPLES.parents[1] / "docs" / "plugins.md").read_text()
        assert f"`examples/plugins/{path.name}`:\n\n```python\n{path.read_text()}```" in page

    def test_the_example_of_a_metric_passes_on_the_command_line(self, capsys):
        assert main(["check-plugin", str(EXAMPLES / "mean_gap.py"), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["holds"]
        assert len(result["checks"]) == 8

    @pytest.mark.parametrize(
        ("variant", "names"),
        [
            ("good", set()),
            (
                "numbers of its own",
                {"samples do not depend on their number", "loads in a new process"},
            ),
            ("statistics of a batch", {"parts of a batch agree", "two ranks are as one"}),
            ("state that is not kept", {"resumes bit for bit", "parts of a batch agree"}),
            ("an error", {"samples do not depend on their number", "loads in a new process"}),
            ("a parameter that nobody trains", {"every parameter learns"}),
            ("a field without words", {"explains itself"}),
        ],
    )
    def test_what_is_broken_fails_by_its_name(self, variant, names, failures):
        assert set(failures[variant]) == names

    @pytest.mark.parametrize(
        ("variant", "words"),
        [
            ("numbers of its own", "draw rows from the noise"),
            ("statistics of a batch", "without statistics over the batch"),
            ("state that is not kept", "keep what training needs in buffers"),
            ("an error", "NameError: name 'nosie' is not defined."),
            ("a parameter that nobody trains", "no objective trains ['log_spreads']."),
            ("a field without words", "'components' without a docstring under it"),
        ],
    )
    def test_it_says_what_helps(self, variant, words, failures):
        assert any(words in measured for measured in failures[variant].values())

    def test_an_error_is_named_with_its_line(self, failures):
        measured = failures["an error"]["samples do not depend on their number"]
        assert re.match(r"variants\.py, line \d+: NameError", measured)

    @pytest.mark.parametrize(
        ("old", "new", "name"),
        [
            ('"lower"', '"higher"', "knows its direction"),
            ("gap(context.samples)", "gap(context.samples[:9])", "ignores the order"),
            (
                "gap(context.samples)",
                "gap(context.samples) + float(__import__('torch').rand(()))",
                "depends on samples and seed alone",
            ),
            (
                "gap(context.samples)",
                "float(context.model.log_prob(context.samples).mean())",
                "declares what it needs",
            ),
        ],
    )
    def test_a_metric_that_is_amiss_is_seen(self, old, new, name, tmp_path):
        text = (EXAMPLES / "mean_gap.py").read_text().replace('("image", "points")', '("points",)')
        assert name in self.broken(written(tmp_path, text.replace(old, new)))

    def test_what_is_chosen_at_sampling_is_checked_there_alone(self, tmp_path):
        text = f"""{SETTING}
@dataclass(frozen=True)
class Leap(tl.SAMPLERS["ddim"]):
    \"\"\"A sampler that keeps the mean of all rows.\"\"\"
    def __call__(self, denoise, schedule, x, times, noise, variance=None):
        for y in super().__call__(denoise, schedule, x, times, noise, variance):
            yield y - y.mean(0)
tl.SAMPLERS["leap"] = Leap
"""
        checks = list(check_plugin(read(written(tmp_path, text))))
        failed = {check.name for check in checks if not check.holds}
        assert failed == {"samples do not depend on their number"}
        assert {check.name for check in checks} - failed == {"builds, alike from one seed"}

    def test_one_that_enters_nothing_is_refused(self, tmp_path):
        with pytest.raises(tl.BadInput, match="enters nothing"):
            list(check_plugin(read(written(tmp_path, "x = 1\n"))))


def test_a_refusal_names_the_first_that_is_missing():
    assert refusal("run", []) == ""
    assert refusal("run", [{"name": "a", "sha256": "0"}]).startswith(
        "run was made with plug-in 'a'"
    )
