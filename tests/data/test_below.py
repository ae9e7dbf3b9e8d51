"""What is read of a folder: a user's files at any depth, and nothing that was written by us."""

from __future__ import annotations

import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from PIL import Image

from trilemma.cli import main
from trilemma.data.below import OWN, below
from trilemma.data.check import check
from trilemma.data.sources import load


def run_in(folder: Path) -> None:
    """Stand for a run with its pictures."""
    (folder / "samples").mkdir(parents=True)
    for name in ("recipe.json", "events.jsonl", "graphs.json"):
        (folder / name).write_text("{}")
    Image.new("RGB", (8, 8)).save(folder / "samples" / "step_00000000.png")


@pytest.fixture
def album(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (20, 3))
    for i, colour in enumerate(colours):
        Image.new("RGB", (8, 8), tuple(map(int, colour))).save(tmp_path / f"{i}.png")
    return tmp_path


def test_files_at_any_depth_but_hidden_ones(tmp_path):
    for name in ("b.txt", "in/a.txt", "in/.git/x.txt", ".hidden", "__MACOSX/a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "in" / "round").symlink_to(tmp_path, target_is_directory=True)
    listing = below(tmp_path)
    assert (listing.files, listing.own, listing.forbidden) == (["b.txt", "in/a.txt"], [], [])


def test_a_run_that_is_asked_for_itself_is_read(tmp_path):
    run_in(tmp_path)
    assert "samples/step_00000000.png" in below(tmp_path).files


def test_runs_comparisons_and_sheets_are_no_images_to_learn_from(album, monkeypatch, capsys):
    monkeypatch.chdir(album)
    run_in(album / "runs" / "vae-001")
    (album / "comparisons" / "one" / "runs").mkdir(parents=True)
    (album / "comparisons" / "one" / "comparison.json").write_text("{}")
    Image.new("RGB", (8, 8)).save(album / "comparisons" / "one" / "hero.png")
    for _ in range(2):  # the second time there is a contact sheet
        assert main(["data", "check", "."]) == 0
        assert "examples: train" in capsys.readouterr().out
        assert len(load(".").train) + len(load(".").test) == 20
    (note,) = [note for note in load(".").notes if OWN in note]
    assert "(3): comparisons/one/, runs/vae-001/, data-sheet.png" in note


def test_nor_are_their_files_graphs_or_molecules(tmp_path):
    for i in range(6):
        nx.write_gml(nx.path_graph(4 + i), tmp_path / f"{i}.gml")
    run_in(tmp_path / "runs" / "graphrnn-001")
    report = check(str(tmp_path))
    assert report.counts["files"] == 6
    assert report.unreadable == {OWN: ["runs/graphrnn-001/"]}
    molecules = tmp_path / "molecules"
    run_in(molecules / "runs" / "gcpn-001")
    (molecules / "runs" / "gcpn-001" / "drawn.smi").write_text("CCC\n")
    (molecules / "mine.smi").write_text("\n".join("C" * n for n in range(1, 13)))
    notes = json.dumps(load(str(molecules)).notes)
    assert f"left out, {OWN} (1): runs/gcpn-001/" in notes
