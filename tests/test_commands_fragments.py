"""What a run of molecules in space makes of a fragment that a user gives."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refused

from trilemma.cli import main
from trilemma.data.fragment_files import read
from trilemma.data.point_cloud_files import read_point_clouds

pytestmark = pytest.mark.usefixtures("brief_previews", "no_pages")

LINKER = """5
two fragments
C 10.0 0.0 0.0
H 10.6 0.9 0.1
C 10.0 0.0 6.0
O 11.2 0.0 6.0
H 9.4 0.9 6.0
"""
AT = np.array(
    [[10.0, 0, 0, 2], [10.6, 0.9, 0.1, 1], [10, 0, 6, 2], [11.2, 0, 6, 4], [9.4, 0.9, 6, 1]]
)
"""The same, with the types of QM9: H, C, N, O, F."""
SMALL = ["--steps", "4", "--batch", "16", "--width", "8", "--layers", "1", "--sample-steps", "3"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Train small models a few steps."""
    folder = tmp_path_factory.mktemp("fragments")
    for name, words in {
        "geoldm": ["geoldm", "--data", "qm9-small", *SMALL],
        "edm": ["geoldm", "--data", "qm9-small", "--autoencoder", "none", *SMALL],
        "digits": ["ddpm", "--batch", "16", "--width", "16", "--steps", "2"],
    }.items():
        assert main(["train", *words, "--run", str(folder / name)]) == 0
    return folder


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("linker.xyz").write_text(LINKER)
    return tmp_path


@pytest.mark.parametrize("name", ["geoldm", "edm"])
def test_a_linker_is_drawn_between_fragments_that_stay(name, runs, workdir):
    words = ["sample", str(runs / name), "-n", "6", "--cond", "linker.xyz", "--out"]
    for out in ("a.npz", "a.xyz", "a.png"):
        assert main([*words, out]) == 0
    x = np.load("a.npz")["x"]
    assert np.abs(x[:, :5] - AT).max() < 1e-4
    assert ((x[..., 3] > 0).sum(1) > 5).all()
    assert np.abs(x[0, 5] - x[1, 5]).max() > 1e-4
    written = read_point_clouds(Path("a.xyz"))
    assert written.entries == 6
    first = Path("a.xyz").read_text().splitlines()[2:7]
    for line, row, symbol in zip(first, AT, "CHCOH", strict=True):
        assert line.split()[0] == symbol
        assert np.abs(np.array(line.split()[1:], float) - row[:3]).max() < 1e-4
    with Image.open("a.png") as picture:
        assert picture.width > 0
    second_words = [*words[:3], "2", *words[4:], "b.npz"]
    assert main(second_words) == 0
    assert np.abs(np.load("b.npz")["x"] - x[:2]).max() < 1e-4
    assert main([*second_words[:-1], "c.npz", "--seed", "1"]) == 0
    assert np.abs(np.load("c.npz")["x"] - x[:2]).max() > 1e-3


@pytest.mark.skipif(importlib.util.find_spec("rdkit") is None, reason="RDKit is not installed")
def test_fragments_of_structure_files_are_read_with_their_hydrogens(runs, workdir, capsys):
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles("CC=O"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    positions = mol.GetConformer().GetPositions()
    Chem.MolToMolFile(mol, "one.mol")
    with Chem.SDWriter("one.sdf") as writer:
        writer.write(mol)
    with Chem.SDWriter("two.sdf") as writer:
        writer.write(mol)
        writer.write(mol)
    for name in ("one.mol", "one.sdf"):
        frame, changes = read(Path(name))
        assert frame.symbols == tuple(atom.GetSymbol() for atom in mol.GetAtoms())
        assert np.abs(frame.positions.numpy() - positions).max() < 1e-4
        assert changes == []
    words = ["sample", str(runs / "edm"), "-n", "2", "--out", "a.npz", "--cond"]
    assert main([*words, "one.sdf"]) == 0
    x = np.load("a.npz")["x"]
    assert np.abs(x[:, :7, :3] - positions).max() < 1e-4
    assert "holds 2 frames" in refused(capsys, *words, "two.sdf")
    flat = Chem.MolFromSmiles("C1CC1")
    AllChem.Compute2DCoords(flat)
    Chem.MolToMolFile(flat, "flat.mol")
    assert main([*words, "flat.mol"]) == 0
    x = np.load("a.npz")["x"]
    assert np.abs(x[:, :3, 2]).max() == 0
    Path("broken.sdf").write_text("no molecule\n\n\nat all\n$$$$\n")
    assert "does not parse" in refused(capsys, *words, "broken.sdf")


def test_an_isotope_is_read_as_hydrogen_and_that_is_said(runs, workdir, capsys):
    Path("a.xyz").write_text(LINKER.replace("H 10.6", "D 10.6"))
    words = ["sample", str(runs / "edm"), "-n", "1", "--cond", "a.xyz", "--out", "a.npz"]
    assert main(words) == 0
    assert "isotopes of hydrogen" in capsys.readouterr().err
    assert np.load("a.npz")["x"][0, 1, 3] == 1


LARGE = "".join(f"C {1.5 * i} 0 0\n" for i in range(40))


@pytest.mark.parametrize(
    ("run", "text", "says"),
    [
        ("edm", f"40\n\n{LARGE}", "has 40 atoms, and this run's largest example has"),
        ("edm", "2\n\nC 0 0 0\nCl 1.7 0 0\n", "has Cl, and this run's molecules are of H, C"),
        ("edm", "2\n\nC 0 0 0\nX 1.7 0 0\n", "has an unknown element: X"),
        ("edm", LINKER + LINKER, "holds 2 frames, and one is completed"),
        ("edm", "0\nnothing\n", "holds no atom"),
        ("edm", "", "holds no atom"),
        ("edm", "2\n\nC 0 0 0\nC 0 0 0\n", "has two atoms at one place"),
        ("edm", "1\n\nC 0 nan 0\n", "no finite number"),
        ("edm", "3\n\nC 0 0 0\n", "ends before the atoms"),
        ("edm", "C 0 0 0\n", "line 1 is no count of atoms"),
        ("digits", LINKER, "cannot complete one"),
    ],
)
def test_a_fragment_that_cannot_be_completed_gets_one_sentence(
    run, text, says, runs, workdir, capsys
):
    Path("part.xyz").write_text(text)
    words = ["sample", str(runs / run), "-n", "2", "--cond", "part.xyz", "--out", "x.npz"]
    assert says in refused(capsys, *words)
    assert not Path("x.npz").exists()


def test_other_mistakes_get_one_sentence(runs, workdir, capsys):
    run = str(runs / "edm")
    words = ["sample", run, "-n", "2", "--out", "x.npz", "--cond"]
    assert "no file 'gone.xyz'" in refused(capsys, *words, "gone.xyz")
    np.save("points.npy", np.zeros((3, 3)) + np.arange(3)[:, None])
    assert "points that are no atoms" in refused(capsys, *words, "points.npy")
    film = ["sample", run, "--cond", "linker.xyz", "--out", "x.gif"]
    assert "of a fragment has no way to show" in refused(capsys, *film)
    assert "--mask goes with" in refused(capsys, *words, "linker.xyz", "--mask", "bottom")


def test_a_frame_of_no_atoms_is_left_out_of_data(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text("0\nnothing\n" + LINKER.replace("6.0", "1.4"))
    contents = read_point_clouds(path)
    assert len(contents.frames) == 1
    assert contents.left_out
