from pathlib import Path

import pytest
import torch

from trilemma.data import cache

TENSORS = {"x": torch.arange(24, dtype=torch.uint8).view(2, 3, 4), "y": torch.tensor([1.5, 2.5])}


def test_gives_back_what_was_written(tmp_path):
    cache.write(tmp_path / "new" / "a.safetensors", TENSORS, {"names": ["ü", "\udcff"]})
    tensors, facts = cache.read(tmp_path / "new" / "a.safetensors")
    assert facts == {"names": ["ü", "\udcff"]}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.safetensors"]


def test_absent_cut_or_changed_files_are_taken_for_absent(tmp_path):
    path = tmp_path / "a.safetensors"
    assert cache.read(path) is None
    cache.write(path, TENSORS, {"a": 1})
    complete = path.read_bytes()
    for offset in range(0, len(complete), 7):
        path.write_bytes(complete[:offset])
        assert cache.read(path) is None, f"cut at {offset}"
        flipped = bytearray(complete)
        flipped[offset] ^= 16
        path.write_bytes(flipped)
        content = cache.read(path)
        # A flip in the head may touch only blanks between its words.
        assert content is None or torch.equal(content[0]["x"], TENSORS["x"]), (
            f"flipped at {offset}"
        )
    changed = bytearray(complete)
    changed[-1] ^= 1
    path.write_bytes(changed)
    assert cache.read(path) is None


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    cache.write(path, TENSORS, {"a": 1})

    def full(tensors, to):
        Path(to).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        cache.write(path, TENSORS, {"a": 2})
    assert cache.read(path)[1] == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "trilemma"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for not_absolute in ("", "somewhere"):
        monkeypatch.setenv("XDG_CACHE_HOME", not_absolute)
        assert cache.folder() == tmp_path / "home" / ".cache" / "trilemma"
