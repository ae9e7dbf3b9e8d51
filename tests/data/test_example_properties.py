"""Properties of molecules: read, summed up, cut into halves, and refused in one sentence."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from trilemma.core.domain import Domain
from trilemma.core.errors import BadInput
from trilemma.data import cache, check, qm9, sources
from trilemma.data.example_properties import statistics, with_property, without_properties
from trilemma.data.point_cloud_files import read_point_clouds

WATER = "3\n{}\nO 0.0 0.0 0.119\nH 0.0 {} -0.477\nH 0.0 -0.763 -0.477\n"


@pytest.fixture(scope="module")
def data():
    return sources.load("qm9-small").viewed(("conformer",))


def waters(path, comment="alpha={} energy=-{}", count=60):
    """Write frames whose comments say something of them."""
    frames = [
        WATER.format(comment.format(9 + k / 10, k), f"{0.7 + k / 1000:.3f}") for k in range(count)
    ]
    path.write_text("".join(frames))
    return path


def test_qm9_small_has_the_fields_properties_in_its_units(data):
    assert [one.name for one in data.domain.properties] == list(qm9.PROPERTIES)
    assert data.train.properties.shape == (len(data.train), 8)
    assert bool(data.train.properties.isfinite().all())
    columns = dict(zip(qm9.PROPERTIES, data.train.properties.double().unbind(1), strict=True))
    assert torch.allclose(columns["lumo"] - columns["homo"], columns["gap"], atol=0.006)
    alpha = data.domain.properties[1]
    assert alpha.unit == "bohr³"
    assert alpha.mean == pytest.approx(float(columns["alpha"].mean()))
    assert alpha.deviation == pytest.approx(float(columns["alpha"].std(correction=0)))
    assert (alpha.low, alpha.high) == (columns["alpha"].min(), columns["alpha"].max())


def test_a_domain_with_properties_is_read_as_it_was_written(data):
    assert Domain.from_json(data.domain.to_json()) == data.domain
    plain = without_properties(data).domain.to_json()
    assert "properties" not in plain
    assert Domain.from_json(plain).properties == ()


def test_halves_share_nothing_and_are_all(data):
    loaded_data = with_property(data, "gap")
    assert len(loaded_data.aside) == len(data.train) // 2
    own, other = (set(part.names) for part in (loaded_data.train, loaded_data.aside))
    assert not own & other
    assert own | other == set(data.train.names)
    assert loaded_data.test.x is data.test.x
    (gap,) = loaded_data.domain.properties
    assert loaded_data.train.properties.shape == (len(loaded_data.train), 1)
    assert gap == statistics("gap", "eV", loaded_data.train.properties[:, 0])
    row = data.train.names.index(loaded_data.train.names[7])
    assert float(loaded_data.train.properties[7, 0]) == float(data.train.properties[row, 4])
    assert with_property(loaded_data, "gap") is loaded_data
    repeated = with_property(data, "gap")
    assert repeated.fingerprint == loaded_data.fingerprint != data.fingerprint


def test_what_a_model_is_not_told_is_no_part_of_its_data(data):
    bare = without_properties(data)
    assert bare.train.properties is None
    assert without_properties(bare) is bare
    assert bare.fingerprint != data.fingerprint
    other = dataclasses.replace(data.train, properties=data.train.properties + 1)
    changed = dataclasses.replace(data, train=other)
    assert without_properties(changed).fingerprint == bare.fingerprint
    assert changed.fingerprint != data.fingerprint


def test_numbers_of_comments_are_properties(tmp_path):
    path = waters(tmp_path / "w.xyz", 'Lattice="9 0 0" alpha={} note=x energy="-{}" pbc="T T F"')
    data = sources.load(str(path))
    assert [one.name for one in data.domain.properties] == ["alpha", "energy"]
    every = torch.cat([data.train.properties, data.test.properties])
    assert sorted(every[:, 0].tolist()) == pytest.approx([9 + k / 10 for k in range(60)])
    # Which frame they belong to is told by the place of the hydrogen.
    x = torch.cat([data.train.x, data.test.x])
    apart = (x[:, 1, 1] - x[:, 2, 1]).double() - 0.763
    assert torch.allclose(9 + (apart - 0.7) * 100, every[:, 0].double(), atol=1e-3)
    assert any("properties by the comments: alpha and energy" in note for note in data.notes)
    assert "alpha 9 to" in check.check(str(path)).facts["properties"]


def test_a_frame_without_numbers_has_none(tmp_path):
    path = waters(tmp_path / "w.xyz", "water, or T=", 1)
    assert read_point_clouds(path).frames[0].properties == {}


@pytest.mark.parametrize(
    ("comment", "name", "words"),
    [
        ("plain", "alpha", "of 'w.xyz' no property is known"),
        ("alpha={}", "alhpa", "did you mean 'alpha'"),
        ("alpha=3.5", "alpha", "is 3.5 of every training example"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(tmp_path, comment, name, words):
    data = sources.load(str(waters(tmp_path / "w.xyz", comment)))
    with pytest.raises(BadInput, match=words):
        with_property(data, name)


@pytest.mark.parametrize("text", ["", "alpha=nan", "alpha=inf", "alpha=few"])
def test_what_is_missing_of_some_is_counted(tmp_path, text):
    path = waters(tmp_path / "w.xyz")
    path.write_text(path.read_text().replace("alpha=9.3 ", f"{text} "))
    data = sources.load(str(path))
    assert any("alpha (missing of 1) and energy" in note for note in data.notes)
    with pytest.raises(BadInput, match="no finite number, of 1 of the 60 examples"):
        with_property(data, "alpha")
    assert with_property(data, "energy").domain.properties[0].name == "energy"


def test_too_few_to_be_cut_are_refused(tmp_path):
    with pytest.raises(BadInput, match="20 or more are needed"):
        with_property(sources.load(str(waters(tmp_path / "w.xyz", count=14))), "alpha")


def test_a_kept_file_without_properties_is_refused_and_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    row = {one.column: "0.5" for one in qm9.PROPERTIES.values()}
    row |= {"Elements": "['O','H','H']", "SMILES": "O"}
    row |= {"XYZ_Ang": "[[0,0,0.119],[0,0.763,-4.77*^-1],[0,-0.763,-0.477]]"}
    head = ",".join(row)
    text = f"{head}\n" + ",".join(f'"{value}"' for value in row.values()) + "\n"
    tensors, facts = qm9.QM9.convert(lambda path: text.encode(), None)
    assert tensors["properties"].shape == (3, 8)
    assert float(tensors["properties"][0, 4]) == pytest.approx(0.5 * qm9.HARTREE)
    assert tensors["positions"][1].tolist() == pytest.approx([0, 0.763, -0.477])
    old = {name: value for name, value in tensors.items() if name != "properties"}
    cache.write(qm9.QM9.cache_path, old, facts)
    with pytest.raises(BadInput, match="as an earlier version kept it, without properties"):
        sources.load("qm9")

    class Opened:
        def __enter__(self):
            return lambda path: text.encode()

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(type(qm9.QM9.wheel), "opened", lambda self: Opened())
    sources.fetch("qm9")
    assert "properties" in qm9.QM9.read()[0]
