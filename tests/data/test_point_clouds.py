"""Point clouds and molecules in space: files as people have them, named sets, batches."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch

from trilemma.core.errors import BadInput
from trilemma.core.noise import Noise
from trilemma.core.point_cloud import mask_of, positions, sizes, types
from trilemma.data import check, point_clouds, sources
from trilemma.data.bond_perception import bond_orders, is_stable, spelt
from trilemma.data.point_cloud_files import PointCloudContents, read_point_clouds
from trilemma.data.point_cloud_stream import PointCloudStream, rotations
from trilemma.data.point_cloud_writing import write

WATER = "3\nwater\nO 0.0 0.0 0.119\nH 0.0 0.763 -0.477\nH 0.0 -0.763 -0.477\n"


def read(tmp_path, text, name="m.xyz") -> PointCloudContents:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_point_clouds(path)


class TestXyz:
    def test_several_frames_numbers_for_symbols_and_blank_lines(self, tmp_path):
        contents = read(tmp_path, WATER + "\n" + WATER.replace("O 0", "8 0").replace("H", "1"))
        assert [frame.symbols for frame in contents.frames] == [("O", "H", "H")] * 2
        assert torch.equal(contents.frames[0].positions, contents.frames[1].positions)

    def test_qm9s_own_form(self, tmp_path):
        text = (
            "3\ngdb 3\t799.58\nO\t-0.0343\t 0.9775\t 0.0076\t-0.589\nH\t 0.0647\t 0.0205\t"
            " 1.5*^-3\t0.294\nH\t 0.8717\t 1.3007\t 0.0006\t0.294\n1671.4\t3803.6\t3907.6\nO\tO\n"
            "InChI=1S/H2O/h1H2\tInChI=1S/H2O/h1H2\n"
        )
        contents = read(tmp_path, text)
        assert len(contents.frames) == 1
        assert float(contents.frames[0].positions[1, 2]) == pytest.approx(0.0015)

    def test_extended_xyz_says_which_columns(self, tmp_path):
        text = (
            '3\nLattice="9 0 0 0 9 0 0 0 9" Properties=id:I:1:pos:R:3:species:S:1\n'
            "1 0.0 0.0 0.119 O\n2 0.0 0.763 -0.477 H\n3 0.0 -0.763 -0.477 H\n"
        )
        contents = read(tmp_path, text)
        assert contents.frames[0].symbols == ("O", "H", "H")

    def test_deuterium_is_hydrogen_and_that_is_said(self, tmp_path):
        contents = read(tmp_path, WATER.replace("H", "D"))
        assert contents.frames[0].symbols == ("O", "H", "H")
        assert any("isotopes of hydrogen" in note for note in contents.notes())

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (WATER.replace("0.763", "nan", 1), "no finite number"),
            (WATER.replace("0.763", "a", 1), "no number"),
            (WATER.replace("O", "Xq"), "unknown element: Xq"),
            ("1\nhelium\nHe 0 0 0\n", "fewer than two atoms"),
            ("2\nsame\nH 0 0 0\nH 0 0 0\n", "at one place"),
            ("2\nfar\nH 0 0 0\nH 0 0 9\n", "not between 0.3 and 5 away"),
            ("2\nflat\nH 0 0\nH 0 1\n", "lies in the plane"),
            ("3\nshort\nH 0 0 0\nH 0 0 1\n", "ends before the atoms that it counts"),
            ("2\nno\nH 0 0 0\nH\n", "without a symbol and three coordinates"),
        ],
    )
    def test_what_cannot_be_used_is_counted_with_its_place(self, tmp_path, text, reason):
        contents = read(tmp_path, text)
        assert contents.frames == []
        ((message, lines),) = contents.left_out.items()
        assert reason in message
        assert lines == ["line 1"]

    def test_a_count_that_lies_is_one_sentence(self, tmp_path):
        with pytest.raises(BadInput, match="an atom beyond the count"):
            read(tmp_path, WATER.replace("3\n", "2\n", 1) + WATER)
        with pytest.raises(BadInput, match="another begins within"):
            read(tmp_path, WATER.replace("3\n", "5\n", 1) + WATER)

    def test_bohr_is_suspected(self, tmp_path):
        lines = WATER.split("\n")
        wide = [
            " ".join([w[0], *(f"{float(v) * 1.8897:.4f}" for v in w[1:])])
            for w in (line.split() for line in lines[2:5])
        ]
        contents = read(tmp_path, "\n".join([*lines[:2], *wide]))
        assert any("looks like bohr" in note for note in contents.notes())
        assert not any("bohr" in note for note in read(tmp_path, WATER).notes())

    def test_what_is_written_is_read(self, tmp_path):
        data = sources.load("qm9-small").viewed(("conformer",))
        write(data.test.x[:5], tmp_path / "x.xyz", ".xyz", data.domain.elements)
        contents = read_point_clouds(tmp_path / "x.xyz")
        for frame, x in zip(contents.frames, data.test.x, strict=False):
            assert torch.allclose(frame.positions, positions(x)[mask_of(x)], atol=1e-6)
        write(data.test.x[:5], tmp_path / "x.sdf", ".sdf", data.domain.elements)
        assert (tmp_path / "x.sdf").read_text().count("$$$$") == 5


class TestObjects:
    def test_ply_as_text_and_binary(self, tmp_path):
        rows = torch.randn(5, 3)
        head = (
            "ply\nformat {}\ncomment made\nelement vertex 5\nproperty float x\nproperty float y\n"
            "property float z\nproperty uchar red\nelement face 1\n"
            "property list uchar int vertex_indices\nend_header\n"
        )
        text = head.format("ascii 1.0") + "".join(
            f"{a:.7f} {b:.7f} {c:.7f} 9\n" for a, b, c in rows.tolist()
        )
        body = b"".join(struct.pack("<fffB", *row, 9) for row in rows.tolist())
        for name, content in (
            ("a.ply", text.encode()),
            ("b.ply", head.format("binary_little_endian 1.0").encode() + body + b"\x00"),
        ):
            contents = read(tmp_path, content, name)
            assert torch.allclose(contents.frames[0].positions, rows, atol=1e-6)
            assert any("not read" in note for note in contents.notes())

    def test_a_ply_that_is_cut_is_one_sentence(self, tmp_path):
        head = "ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\n"
        with pytest.raises(BadInput, match="head does not end"):
            read(tmp_path, head, "a.ply")
        text = head + "property float z\nend_header\n1 2 3\n"
        with pytest.raises(BadInput, match="ends before its 5 vertices"):
            read(tmp_path, text, "a.ply")

    def test_arrays(self, tmp_path):
        np.save(tmp_path / "many.npy", np.random.default_rng(0).normal(size=(12, 30, 3)))
        data = sources.load(str(tmp_path / "many.npy"))
        assert data.domain.kind == "point-cloud"
        assert data.domain.shape == (30, 4)
        np.save(tmp_path / "flat.npy", np.zeros((4, 2)))
        with pytest.raises(BadInput, match="N × 3 or M × N × 3"):
            sources.load(str(tmp_path / "flat.npy"))

    def test_a_folder_of_nothing_usable_says_why(self, tmp_path):
        (tmp_path / "a.xyz").write_text("1\nx\nH 0 0 0\n")
        with pytest.raises(BadInput, match=r"no point cloud .* fewer than two atoms"):
            sources.load(str(tmp_path))

    def test_too_many_points_are_refused(self, tmp_path):
        np.save(tmp_path / "large.npy", np.random.default_rng(0).normal(size=(300, 3)))
        contents = read_point_clouds(tmp_path / "large.npy")
        assert contents.left_out.keys() == {
            "has more than 256 points, every pair of which is looked at"
        }


class TestSets:
    def test_qm9_small_is_the_same_molecules_as_graphs_and_in_space(self):
        graphs = sources.load("qm9-small")
        space = graphs.viewed(("conformer",))
        assert space.domain.elements == ("H", "C", "N", "O", "F")
        assert set(graphs.train.names) == set(space.train.names)
        assert set(graphs.test.names) == set(space.test.names)
        assert graphs.viewed(("molecule", "conformer")) is graphs
        assert graphs.viewed(("image",)) is graphs
        named = spelt(space.test.x, space.domain.elements)
        same = sum(a == b for (a, _), b in zip(named, space.test.names, strict=True))
        assert same > 0.9 * len(named)

    def test_clouds_are_centred_and_their_spread_is_one(self):
        data = point_clouds.shapes3d()
        for x in (data.train.x, data.test.x):
            assert positions(x).sum(1).abs().max() < 1e-3
        scaled = data.domain.values.scale(positions(data.train.x)).double()
        degrees = 3 * (sizes(data.train.x) - 1).sum()
        assert float(scaled.square().sum() / degrees) == pytest.approx(1.0, rel=1e-4)
        assert len(set(data.train.names)) == len(point_clouds.SURFACES)

    def test_surfaces_are_even(self):
        u = torch.rand(200_000, 3, generator=torch.Generator().manual_seed(0)).double()
        torus = point_clouds.SURFACES["torus"](u)
        outer = (torus[:, :2].norm(dim=1) > 1).double().mean()
        # The outer half of a torus has the share 1/2 + r / (pi R) of its area.
        assert float(outer) == pytest.approx(0.5 + 0.35 / np.pi, abs=0.005)
        sphere = point_clouds.SURFACES["sphere"](u)
        assert float((sphere[:, 2].abs() < 0.5).double().mean()) == pytest.approx(0.5, abs=0.005)

    def test_check_says_what_there_is(self, tmp_path):
        for i in range(12):
            (tmp_path / f"{i}.xyz").write_text(WATER.replace("0.763", f"0.76{i:02d}"))
        (tmp_path / "bad.xyz").write_text("2\nsame\nH 0 0 0\nH 0 0 0\n")
        report = check.check(str(tmp_path))
        assert report.holds
        assert report.facts["elements"] == "H 24, O 12"
        assert "median 0.96" in report.facts["nearest"]
        assert "100.00% of the atoms" in report.facts["stable by distances"]
        assert list(report.unreadable.values()) == [["bad.xyz line 1"]]


class TestStructures:
    def test_an_sdf_is_seen_as_graphs_and_in_space(self, tmp_path):
        data = sources.load("qm9-small").viewed(("conformer",))
        write(data.test.x[:40], tmp_path / "x.sdf", ".sdf", data.domain.elements)
        graphs = sources.load(str(tmp_path / "x.sdf"))
        assert graphs.domain.kind == "molecule"
        space = graphs.viewed(("conformer",))
        assert space.domain.elements[0] == "H"
        assert len(space.train) + len(space.test) >= 38

    def test_hydrogens_that_are_not_there_are_said_and_planes_are_left_out(self, tmp_path):
        from rdkit import Chem
        from rdkit.Chem import AllChem

        blocks = []
        for k, smiles in enumerate(["C" * n + "O" for n in range(1, 13)]):
            mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
            AllChem.EmbedMolecule(mol, randomSeed=7)
            blocks.append(Chem.MolToMolBlock(Chem.RemoveHs(mol), forceV3000=k % 2 == 0))
        flat = Chem.MolFromSmiles("CCO")
        AllChem.Compute2DCoords(flat)
        blocks.append(Chem.MolToMolBlock(flat))
        (tmp_path / "x.sdf").write_text("".join(f"{block}$$$$\n" for block in blocks))
        data = sources.load(str(tmp_path / "x.sdf")).viewed(("conformer",))
        assert data.domain.elements == ("C", "O")
        assert any("none are added: 12" in note for note in data.notes)
        assert any("drawn in the plane" in note and "entry 13" in note for note in data.notes)


class TestBonds:
    def test_tables_by_a_loop(self):
        data = sources.load("qm9-small").viewed(("conformer",))
        x, elements = data.test.x[:20], data.domain.elements
        orders = bond_orders(x, elements)
        lengths = {
            "CO": (143, 120, 113),
            "CN": (147, 129, 116),
            "CC": (154, 134, 120),
        }
        checked = 0
        for b in range(20):
            for i in range(x.shape[1]):
                for j in range(i):
                    a, c = int(x[b, i, 3]), int(x[b, j, 3])
                    if not a or not c:
                        assert orders[b, i, j] == 0
                        continue
                    pair = "".join(sorted((elements[a - 1], elements[c - 1])))
                    if pair not in lengths:
                        continue
                    d = 100 * float((x[b, i, :3] - x[b, j, :3]).norm())
                    one, two, three = lengths[pair]
                    want = 0
                    if d < one + 10:
                        want = 1
                        if d < two + 5:
                            want = 2
                            if d < three + 3:
                                want = 3
                    assert orders[b, i, j] == orders[b, j, i] == want
                    checked += 1
        assert checked > 400

    def test_stability_counts_atoms_and_molecules(self):
        data = sources.load("qm9-small").viewed(("conformer",))
        stable, atom_shares = is_stable(data.train.x, data.domain.elements)
        assert 0.985 < float(stable.sum() / atom_shares.sum()) < 1.0
        broken = data.train.x.clone()
        broken[:, 0, :3] += 3.0
        worse, _ = is_stable(broken, data.domain.elements)
        assert not (worse | ~atom_shares).all(1).any()

    def test_pieces_are_told_and_hydrogens_are_not_added(self):
        water = torch.tensor([[0.0, 0, 0.119, 2], [0, 0.763, -0.477, 1], [0, -0.763, -0.477, 1]])
        away = water + torch.tensor([9.0, 0, 0, 0])
        two = torch.cat([water, away])[None]
        bare = torch.tensor([[[0.0, 0, 0, 2], [1.43, 0, 0, 2], [0, 0, 0, 0], [0, 0, 0, 0]]])
        assert spelt(torch.nn.functional.pad(water[None], (0, 0, 0, 3)), ("H", "O")) == [
            ("O", True)
        ]
        assert spelt(two, ("H", "O")) == [("O", False)]
        ((smiles, smiles_whole),) = spelt(bare, ("H", "O"))
        assert smiles_whole
        assert smiles == "[O][O]"


class TestStream:
    def test_each_epoch_has_every_cloud_and_batches_are_of_like_size(self):
        data = point_clouds.shapes3d()
        mask = mask_of(data.train.x)
        stream = PointCloudStream(data.train.x, mask, 64, 0)
        count = -(-len(mask) // 64)
        rows = torch.cat([stream.rows(k) for k in range(count)])
        assert set(rows.tolist()) == set(range(len(mask)))
        assert not torch.equal(rows, torch.cat([stream.rows(count + k) for k in range(count)]))
        batch = stream.batch(0)
        assert batch.x.shape[1] == int(batch.condition.points.sum(1).max())
        widths = [stream.batch(k).x.shape[1] for k in range(count)]
        assert sum(widths) / count < 0.9 * mask.shape[1]
        repeated = PointCloudStream(data.train.x, mask, 64, 0).batch(5)
        assert torch.equal(repeated.x, stream.batch(5).x)

    def test_clouds_are_turned_anew_each_time_and_stay_themselves(self):
        data = point_clouds.shapes3d()
        mask = mask_of(data.train.x)
        plain = PointCloudStream(data.train.x, mask, 32, 0).batch(3)
        turned = PointCloudStream(data.train.x, mask, 32, 0, is_turned=True).batch(3)
        repeated = PointCloudStream(data.train.x, mask, 32, 0, is_turned=True).batch(3)
        assert torch.equal(turned.x, repeated.x)
        apart = [torch.cdist(x[..., :3], x[..., :3]) for x in (plain.x, turned.x)]
        assert torch.allclose(apart[0], apart[1], atol=1e-3)
        assert not torch.allclose(plain.x, turned.x, atol=0.1)

    def test_rotations_are_even_and_none_reflects(self):
        turns = rotations(Noise.of(0, 20_000))
        assert torch.allclose(torch.linalg.det(turns), torch.ones(20_000), atol=1e-4)
        assert float(turns.mean(0).abs().max()) < 0.02
        # Of even rotations the mean square of each entry is 1/3, and of a trace 1.
        assert torch.allclose(turns.square().mean(0), torch.full((3, 3), 1 / 3), atol=0.01)
        trace = turns.diagonal(dim1=1, dim2=2).sum(1)
        assert float(trace.square().mean()) == pytest.approx(1.0, abs=0.03)

    def test_a_batch_larger_than_the_data_is_refused(self):
        x = torch.zeros(4, 3, 4)
        with pytest.raises(BadInput, match="a batch takes 8"):
            PointCloudStream(x, x[..., 3] > 0, 8, 0)


def test_types_are_codes_of_the_elements_found(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.xyz").write_text(WATER.replace("0.763", f"0.7{60 + i}"))
    data = sources.load(str(tmp_path))
    assert data.domain.kind == "conformer"
    assert data.domain.elements == ("H", "O")
    assert types(data.train.x)[0].tolist() == [2, 1, 1]
