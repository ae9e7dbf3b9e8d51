"""Molecules as people have them."""

from __future__ import annotations

import gzip

import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from trilemma.core.errors import BadInput
from trilemma.data import check, sources
from trilemma.data.molecule_files import is_molecules, of_molecules, read_molecules, smiles_column

CHAINS = ["C" * k + "O" for k in range(1, 15)]


def spelt(contents):
    return [one.smiles for one in contents.molecules]


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(text.encode()))
        else:
            path.write_bytes(text.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain.smi", "CCO\nCCN\n"),
        ("names.smi", "CCO ethanol\nCCN ethyl amine\n"),
        ("tabs.smi", "CCO\tethanol\nCCN\tother\n"),
        ("head.smi", "SMILES name\nCCO ethanol\nCCN other\n"),
        ("windows.smi", "SMILES\r\nCCO\r\nCCN\r\n"),
        ("marked.smi", "\ufeffCCO\nCCN\n"),
        ("extended.smi", "CCO |$;;R1$|\nCCN |c:1|\n"),
        ("packed.smi.gz", "CCO\nCCN\n"),
        ("blank.smi", "\nCCO\n\n# a word\nCCN\n"),
        ("quoted.smi", '"CCO"\n"CCN"\n'),
    ],
)
def test_lines_as_people_write_them(write, name, text):
    assert spelt(read_molecules(write(name, text))) == ["CCO", "CCN"]


def test_what_is_left_out_is_counted_with_its_line(write):
    contents = read_molecules(
        write("a.smi", "CCO\nOCC\nxx\nC[N+](=O)[O-]\nCC(=O)[O-].[Na+]\n[Au]\n")
    )
    assert spelt(contents) == ["CCO", "CC(=O)O"]
    assert contents.entries == 6
    assert contents.duplicates == 1
    assert contents.left_out["does not parse or kekulise"] == ["line 3"]
    assert contents.left_out["has charges that cannot be neutralised"] == ["line 4"]
    notes = " ".join(contents.notes())
    assert "the same molecule as one before, however spelt, and left out: 1" in notes
    assert "neutralised 1" in notes


@pytest.mark.parametrize(
    ("name", "text", "column"),
    [
        ("named.csv", "id,smiles,weight\n1,CCO,46\n2,CCN,45\n", "smiles"),
        ("case.csv", "Id;SMILES\n1;CCO\n2;CCN\n", "SMILES"),
        ("read.tsv", "what\tn\nc1ccccc1\t1\nCC(=O)O\t2\n", "what"),
        ("canonical.csv", "smiles_raw,canonical_smiles\nC1CC1,C1CC1\n", "canonical_smiles"),
    ],
)
def test_the_column_is_found(write, name, text, column):
    path = write(name, text)
    assert smiles_column(path) == column
    assert is_molecules(path)
    assert read_molecules(path).molecules


def test_numbers_and_words_are_no_molecules(write):
    path = write("people.csv", "name,age\nNina,31\nOtto,12\nConny,99\n")
    assert smiles_column(path) is None
    assert not is_molecules(path)


def test_two_columns_that_parse_are_asked_about(write):
    path = write("two.csv", "a,b\nc1ccccc1,CC(=O)O\nC1CC1,C=O\n")
    with pytest.raises(BadInput, match=r"2 columns of SMILES.*--columns 'a=molecule'"):
        smiles_column(path)
    assert spelt(read_molecules(path, "b")) == ["CC(=O)O", "C=O"]


def test_a_column_that_is_not_there(write):
    with pytest.raises(BadInput, match="no column 'c'; it has a, b"):
        read_molecules(write("two.csv", "a,b\nC,CC\n"), "c")


@pytest.mark.parametrize("version", ["V2000", "V3000"])
def test_structure_files(tmp_path, version):
    path = tmp_path / "a.sdf"
    with Chem.SDWriter(str(path)) as writer:
        writer.SetForceV3000(version == "V3000")
        for smiles in ("CCO", "c1ccccc1"):
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            AllChem.EmbedMultipleConfs(mol, 2, randomSeed=1)
            for conformer in mol.GetConformers():
                writer.write(mol, confId=conformer.GetId())
    contents = read_molecules(path)
    assert spelt(contents) == ["CCO", "c1ccccc1"]
    assert contents.duplicates == 2  # another conformer is the same graph


def test_molecules_of_a_program():
    contents = of_molecules(["CCO", Chem.MolFromSmiles("OCC"), "c1ccccc1", "no"])
    assert spelt(contents) == ["CCO", "c1ccccc1"]
    assert contents.left_out == {"does not parse or kekulise": ["number 4"]}


def test_a_folder_is_read_file_after_file(tmp_path, write):
    write("a.smi", "CCO\n")
    write("b.smi", "xx\nCCN\n")
    write("readme.md", "no molecule")
    contents = read_molecules(tmp_path)
    assert spelt(contents) == ["CCO", "CCN"]
    assert contents.files == 2
    assert contents.left_out["does not parse or kekulise"] == ["b.smi line 1"]


def test_they_are_a_data_set(write):
    path = write("chains.smi", "\n".join([*CHAINS, "CO", "xx"]))
    data = sources.load(str(path))
    assert data.domain.kind == "molecule"
    assert data.domain.shape == (48, 48)
    assert len(data.train) + len(data.test) == len(CHAINS)
    assert set(data.train.names).isdisjoint(data.test.names)
    reloaded = sources.load(str(write("turned.smi", "\n".join(reversed(CHAINS)))))
    assert set(reloaded.train.names) == set(data.train.names)  # the split is the molecule's own


def test_a_declared_column_goes_before_what_stands_in_it(write):
    rows = "\n".join(f"{'C' * k}O,{'C' * k}N" for k in range(1, 15))
    path = write("two.csv", f"a,b\n{rows}\n")
    data = sources.load(sources.with_columns(str(path), "b=molecule"))
    assert all("N" in smiles for smiles in data.train.names)
    with pytest.raises(BadInput, match="2 columns are molecules"):
        sources.load(sources.with_columns(str(path), "a=molecule,b=molecule"))


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("", "holds no molecule that can be used: it is empty"),
        ("xx\nyy\n", "left out, does not parse or kekulise"),
        ("CCO\nCC\n", "holds 2 molecules that can be used, and 10 or more are needed"),
    ],
)
def test_too_little_is_one_sentence(write, text, notes):
    with pytest.raises(BadInput, match=notes):
        sources.load(str(write("few.smi", text)))


def test_a_check_says_what_there_is(write):
    path = write("chains.smi", "\n".join([*CHAINS, "OC", "xx"]))
    report = check.check(str(path))
    assert report.holds
    assert report.counts["entries"] == 16
    assert report.counts["usable"] == 14
    assert report.unreadable["does not parse or kekulise"] == ["line 16"]
    assert report.duplicates["spelt again"] == 1
    assert report.facts["heavy atoms"].startswith("2 to 15")
    assert report.facts["elements"] == "C 105, O 14"
    assert not check.check(str(write("bad.smi", "xx"))).holds


def test_the_shipped_part_of_qm9():
    data = sources.load("qm9-small")
    assert len(data.train) + len(data.test) == 800
    assert len(set(data.train.names) | set(data.test.names)) == 800


def test_moses_says_how_to_get_it():
    with pytest.raises(BadInput, match="trilemma data fetch moses"):
        sources.load("moses")
