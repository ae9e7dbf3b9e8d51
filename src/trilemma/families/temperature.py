"""How sharp samples are drawn, of families whose samples have one number for it."""

from __future__ import annotations

from dataclasses import dataclass

from trilemma.core.errors import BadInput

__all__ = ["Tempered"]


@dataclass(frozen=True)
class Tempered:
    """An option at the call.

    Arguments:
        temperature: T; below 1 samples are nearer to what is likeliest, and less varied.

    Raises:
        BadInput: It is not above 0, or above 2.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what draws nothing, or nothing like the data."""
        if not 0 < self.temperature <= 2:
            raise BadInput(
                f"temperature {self.temperature:g} was given; give a number above 0 and up to 2, "
                "1 for the model as it is."
            )
