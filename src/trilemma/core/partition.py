r"""An estimated ln Z: a point from each side, the chance in each, and the interval of both.

    [ min - 1.96 hypot(s_min, t),  max + 1.96 hypot(s_max, t) ]

over the two points, s the standard error of the point at that end and t that of whatever ln Z is
set against. Points may cross by chance; the interval's ends never do. How far they cross is told
in standard errors of their difference, which is (s_lower^2 + s_upper^2)^(1/2) for independent
chains:

    crossing = max(0, lower - upper) / hypot(s_lower, s_upper)

Where both estimates are right and normal, a crossing is above 3 in 1 of 700 runs at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["NORMAL_95", "LogPartition"]

NORMAL_95 = 1.96
"""Standard errors to either side that hold 95 % of a normal distribution."""
CROSSED = 3.0
"""Standard errors of crossing that are no chance; not two: errors are themselves estimates."""
ROUNDING = 1e-6
"""Share of ln Z by which equal points may differ in float32."""


@dataclass(frozen=True)
class LogPartition:
    """Estimates of ln Z from both sides, in nats, each with its Monte-Carlo error.

    >>> LogPartition(3.0, 4.0, 0.0, 1.0).interval()
    (3.0, 5.96)
    >>> LogPartition(4.0, 3.0, 0.0, 1.0).interval()  # the two cross
    (1.04, 4.0)
    """

    lower: float
    """In expectation at most ln Z."""
    upper: float
    """In expectation at least ln Z, as far as its chains begin at exact samples."""
    lower_error: float
    """Standard error of `lower`."""
    upper_error: float
    """Standard error of `upper`."""

    @property
    def middle(self) -> float:
        """Return the mean of the two points."""
        return (self.lower + self.upper) / 2

    @property
    def crossing(self) -> float:
        """Return by how many standard errors the lower point lies above the upper, or 0.

        >>> LogPartition(4.0, 3.0, 0.3, 0.4).crossing
        2.0
        """
        gap = self.lower - self.upper
        if not gap > ROUNDING * max(abs(self.lower), abs(self.upper)):
            return 0.0
        error = math.hypot(self.lower_error, self.upper_error)
        return gap / error if error else math.inf

    @property
    def crosses(self) -> bool:
        """Tell whether the points cross by more than chance: then one or both are wrong.

        >>> LogPartition(4.0, 3.0, 0.1, 0.1).crosses, LogPartition(4.0, 3.0, 1.0, 1.0).crosses
        (True, False)
        """
        return self.crossing > CROSSED

    def interval(self, error: float = 0.0) -> tuple[float, float]:
        """Return the 95 % interval of ln Z plus another number of mean zero.

        Arguments:
            error: Standard error of that number, independent of the chains.
        """
        bounds = (self.lower, self.lower_error), (self.upper, self.upper_error)
        (low, low_error), (high, high_error) = sorted(bounds)
        half_widths = (
            NORMAL_95 * math.hypot(low_error, error),
            NORMAL_95 * math.hypot(high_error, error),
        )
        return low - half_widths[0], high + half_widths[1]
