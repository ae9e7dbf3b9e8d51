"""The command line itself: how soon it answers, what it prints, what a shell completes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from trilemma.cli import main, terminal
from trilemma.cli.command_line import commands, parser
from trilemma.recipes.catalog import CATALOG

LATE = ["torchmetrics", "pandas", "sklearn", "scipy", "matplotlib", "networkx", "rdkit"]
"""What no answer at once may wait for."""
MODULES = """
import contextlib, io, sys
from trilemma.cli import main
for words in {lines!r}:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            status = main(words)
        except SystemExit as error:
            status = error.code
    print(status, *sorted(set({late!r}) & set(sys.modules)))
"""


def imported(lines, late):
    """Return the exit status of commands in one process, and what of some modules they import."""
    code = MODULES.format(lines=lines, late=late)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return answer.stdout.splitlines()


class TestAtOnce:
    def test_help_and_mistakes_of_usage_import_no_tensor(self):
        lines = {
            (): 0,
            ("--help",): 0,
            ("train", "--help"): 0,
            ("list", "nonsense"): 2,
            ("train", "vae", "--steps", "none"): 2,
            ("sample", "/nowhere"): 2,
            ("evaluate", "/nowhere"): 2,
            ("export", "/nowhere", "--out", "x"): 2,
            ("train", "vae", "--data", ""): 2,
        }
        answers = imported(list(lines), ["torch", "numpy", *LATE])
        assert answers == [str(status) for status in lines.values()]

    def test_lists_and_refusals_wait_for_torch_alone(self):
        lines = {
            ("list",): 0,
            ("show", "ddpm"): 0,
            ("train", "nosuch"): 2,
            ("compare", "--recipes", "nosuch"): 2,
        }
        assert imported(list(lines), LATE) == [str(status) for status in lines.values()]


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestHelp:
    def test_nothing_asked_is_greeted(self, capsys):
        assert main([]) == 0
        text = capsys.readouterr().out
        assert all(f"trilemma {verb}" in text for verb in ("compare", "train", "sample"))

    def test_help_of_a_recipe_lists_its_fields(self, capsys):
        assert main(["train", "vae", "--help"]) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert "--latent INT" in text
        assert "--minutes M" in text
        assert main(["train", "ddpm", "--help"]) == 0
        assert "--sampler" in capsys.readouterr().out

    def test_help_of_what_is_not_there_is_a_sentence(self, capsys):
        assert main(["train", "vea", "--help"]) == 2
        assert "did you mean 'vae'" in capsys.readouterr().err


class TestMistakes:
    @pytest.mark.parametrize("words", [["--data", ""], ["--data="], ["--run", " "]])
    def test_an_empty_value_is_refused(self, words, capsys):
        assert main(["train", "vae", *words]) == 2
        assert "nothing was given after '--" in capsys.readouterr().err

    def test_a_long_word_is_not_repeated_whole(self, capsys):
        assert main(["train", "v" * 700]) == 2
        message = capsys.readouterr().err
        assert "…" in message
        assert len(message) < 600

    def test_with_json_a_mistake_is_an_object_too(self, capsys):
        assert main(["train", "nosuch", "--json"]) == 2
        printed = capsys.readouterr()
        answer = json.loads(printed.out)
        assert answer["status"] == 2
        assert printed.err == f"trilemma: {answer['error']}\n"


class TestJson:
    def test_every_command_takes_it(self):
        (verbs,) = (a for a in parser(commands())._actions if a.dest == "verb")
        assert all("--json" in own.format_help() for own in verbs.choices.values())

    def test_stdout_is_one_object_and_nothing_else(self, workdir, capsys):
        def answer_to(*words: str) -> dict:
            assert main([*words, "--json"]) == 0
            return json.loads(capsys.readouterr().out)

        run = answer_to("train", "vae", "--data", "two-moons", "--steps", "2", "--run", "run")
        assert (run["run"], run["recipe"], run["step"], run["stopped"]) == ("run", "vae", 2, None)
        assert answer_to("resume", "run", "--steps", "3")["step"] == 3
        sample = answer_to("sample", "run", "-n", "3", "--out", "a.csv")
        assert (sample["out"], sample["n"], sample["seed"]) == ("a.csv", 3, 0)
        assert answer_to("report", "run")["report"] == "run/report.html"
        assert answer_to("export", "run", "--out", "card")["recipe"] == "vae"
        assert answer_to("show", "vae")["name"] == "vae"
        assert answer_to("completion", "bash")["shell"] == "bash"
        assert {row["name"] for row in answer_to("list")["recipes"]} == set(CATALOG)


class TestDevices:
    def test_two_processes_train_one_run(self, workdir):
        words = ["train", "vae", "--data", "two-moons", "--steps", "2", "--run", "run"]
        command = [sys.executable, "-m", "trilemma", *words, "--devices", "2", "--device", "cpu"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=200)
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.splitlines() == ["run"]
        assert json.loads((workdir / "run" / "recipe.json").read_text())["processes"] == 2

    def test_more_than_there_are_is_a_sentence(self, capsys):
        words = ["train", "vae", "--devices", "1000", "--device", "cpu"]
        assert main(words) == 2
        assert "--devices 1000 was given, and this machine has" in capsys.readouterr().err


class TestTables:
    @pytest.mark.parametrize("width", [79, 140])
    def test_no_word_is_broken(self, width, capsys, monkeypatch):
        monkeypatch.setattr(terminal, "_width", lambda: width)
        rows = [["ddpm", "denoising diffusion", "sample, bound, incomprehensibilities " * 4]]
        terminal.table("recipes", ["name", "family", "capabilities"], rows)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= width
        assert sum(line.count("incomprehensibilities") for line in lines) == 4


class TestCompletion:
    @pytest.fixture(scope="class")
    def script(self, tmp_path_factory):
        path = tmp_path_factory.mktemp("shell") / "trilemma.bash"
        command = [sys.executable, "-m", "trilemma", "completion", "bash"]
        path.write_text(subprocess.run(command, capture_output=True, text=True).stdout)
        return path

    @pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
    @pytest.mark.parametrize(
        ("line", "completions"),
        [
            ("tr", "train"),
            ("train dd", "ddpm"),
            ("train ddpm --data two-m", "two-moons"),
            ("train ddpm --guidance-o", "--guidance-over"),
            ("list me", "metrics"),
            ("compare --precision b", "bf16"),
        ],
    )
    def test_bash_completes(self, script, line, completions):
        words = ["trilemma", *line.split()]
        code = (
            f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
            '_trilemma; echo "${COMPREPLY[@]}"'
        )
        answer = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
        assert answer.stdout.split() == completions.split()

    def test_every_shell_has_every_command(self, capsys):
        for shell in ("zsh", "fish"):
            assert main(["completion", shell]) == 0
            text = capsys.readouterr().out
            assert all(name in text for name in commands())
