"""What every file of broken laws does: break the code in one place, and see the law fail."""

import pytest


@pytest.fixture
def breaks(monkeypatch):
    """Put something wrong in a place, and want all of a check's laws of that name to fail."""

    def see(laws, check, law, where, name, broken):
        monkeypatch.setattr(where, name, broken)
        laws_by_name = [
            laws_by_name for laws_by_name in getattr(laws, check)() if law in laws_by_name.name
        ]
        assert laws_by_name
        assert not any(law.holds for law in laws_by_name), laws_by_name

    return see


@pytest.fixture
def unbroken():
    """Name the laws of a file that nothing breaks."""

    def see(laws, broken):
        names = [law.name for check in laws.CHECKS for law in check()]
        return [name for name in names if not any(word in name for _, word, *_ in broken)]

    return see


@pytest.fixture
def meant():
    """Return the laws of a check that words point at, one for each: how it begins, or a part."""

    def see(laws, check, words):
        laws_by_name = {law.name: law for law in getattr(laws, check)()}
        by_prefix = [[name for name in laws_by_name if name.startswith(word)] for word in words]
        picked = [
            names or [name for name in laws_by_name if word in name]
            for names, word in zip(by_prefix, words, strict=True)
        ]
        assert all(len(names) == 1 for names in picked), picked
        return [laws_by_name[name] for (name,) in picked]

    return see
