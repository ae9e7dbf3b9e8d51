"""The laws: identities that the library, or a trained run, is held to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trilemma.api.notebook import table_html
from trilemma.api.run import Run, load
from trilemma.api.working import at_work
from trilemma.laws import book
from trilemma.laws.law import Law
from trilemma.laws.trained import trained_laws

__all__ = ["Laws", "verify"]


@dataclasses.dataclass(frozen=True)
class Laws:
    """Laws with the number that was measured for each."""

    laws: Sequence[Law]
    seconds: Sequence[float]
    """That each took."""

    @property
    def holds(self) -> bool:
        """Tell whether all hold."""
        return all(law.holds for law in self.laws)

    def __iter__(self) -> Iterator[Law]:
        """Yield the laws."""
        return iter(self.laws)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.laws)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, those of `trilemma verify --json`."""
        rows = [
            {**dataclasses.asdict(law), "holds": law.holds, "seconds": seconds}
            for law, seconds in zip(self.laws, self.seconds, strict=True)
        ]
        return {"holds": self.holds, "laws": rows}

    def __repr__(self) -> str:
        """Say how many hold, and which do not."""
        broken = [f"does not hold: {law.name}" for law in self.laws if not law.holds]
        return "\n".join([self.title, *broken])

    @property
    def title(self) -> str:
        """Say how many hold."""
        return f"{sum(law.holds for law in self.laws)} of {len(self.laws)} laws hold"

    def rows(self) -> list[dict[str, str]]:
        """Return the laws as words, a row each."""
        return [
            {
                "holds": "✓" if law.holds else "✗",
                "law": law.name,
                "source": law.source,
                "measured": f"{law.measured:.6g}",
                "relation": law.relation,
                "expected": f"{law.expected:.6g}",
                "tolerance": f"{law.tolerance:.1e}",
                "seconds": f"{seconds:.2f}",
            }
            for law, seconds in zip(self.laws, self.seconds, strict=True)
        ]

    def _repr_html_(self) -> str:
        """Show them in a notebook."""
        return table_html(self.title, self.rows())


def verify(
    run: str | Path | Run | None = None,
    data: Any = None,  # noqa: ANN401
    *,
    quiet: bool = False,
) -> Laws:
    """Check the laws of the library, or those that a trained run has to keep.

    Arguments:
        run: A run or its directory; None for the library.
        data: The run's data, where they do not lie where they lay.
        quiet: Whether no progress is shown.

    Raises:
        BadInput: It is no run, or the data are others.
    """
    if run is None:
        checks = book.library_laws()
    else:
        loaded = load(run, device="cpu")
        checks = trained_laws(loaded.model, loaded.data(data).test.x)
    laws: list[Law] = []
    seconds: list[float] = []
    with at_work("cpu", quiet=quiet) as session, session.counted("laws") as counted:
        for finished, check in enumerate(checks, 1):
            for law, took in book.timed([check]):
                laws.append(law)
                seconds.append(took)
            counted.report("", finished, len(checks))
    return Laws(laws, seconds)
