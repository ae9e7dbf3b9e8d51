"""Commands that must be refused."""

from __future__ import annotations

from trilemma.cli import main

__all__ = ["refused"]


def refused(capsys, *words: str) -> str:
    """Run a command that must be refused, with nothing on stdout; return its last line."""
    capsys.readouterr()
    assert main(list(words)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.strip().splitlines()[-1]
    assert last.startswith("trilemma: ")
    assert "Traceback" not in captured.err
    return last
