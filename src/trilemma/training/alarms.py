"""What is to be said of a training that goes wrong, and said once.

A model that is `Watched` is asked every `EVERY` steps what it thinks of the last `WINDOW` ones;
previews may find trouble as well. A kind of trouble is told when it is new, and told again only
after it was gone: for `QUIET` steps, or from one preview to the next.

The numbers of a step are the same in all processes, so that all say the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from trilemma.core.model import Model, Watched

__all__ = ["EVERY", "QUIET", "WARM", "WINDOW", "Alarms"]

WINDOW = 100
"""Steps that are kept."""
EVERY = 10
"""Steps from one question to the next."""
WARM = 300
"""Steps of a stage in which nothing is asked: games begin in disorder."""
QUIET = 200
"""Steps without a kind of trouble after which it is news again."""


class Alarms:
    """Remembers the last steps of a stage, and what was said of them.

    Arguments:
        model: What the stage trains; one that is not `Watched` is never asked.
    """

    def __init__(self, model: Model) -> None:
        self._model = model if isinstance(model, Watched) else None
        self._history: deque[Mapping[str, float]] = deque(maxlen=WINDOW)
        self._last: dict[str, int] = {}
        self._preview_alarms: set[str] = set()

    def stepped(self, step: int, values: Mapping[str, float]) -> Mapping[str, str]:
        """Take the numbers of a step, and return the troubles that are news, by kind.

        Arguments:
            step: Steps of the stage that are done.
            values: The terms of the step.
        """
        if self._model is None:
            return {}
        self._history.append(values)
        if step % EVERY or step < WARM or len(self._history) < WINDOW:
            return {}
        alarms = self._model.alarms(tuple(self._history))
        new_alarms = {
            k: text for k, text in alarms.items() if step - self._last.get(k, -QUIET) >= QUIET
        }
        self._last |= dict.fromkeys(alarms, step)
        return new_alarms

    def previewed(self, alarms: Mapping[str, str]) -> Mapping[str, str]:
        """Take the alarms of a preview, and return those that the preview before did not raise."""
        new_alarms = {
            kind: text for kind, text in alarms.items() if kind not in self._preview_alarms
        }
        self._preview_alarms = set(alarms)
        return new_alarms

    def forget(self) -> None:
        """Begin anew, as after going back to a checkpoint."""
        self._history.clear()
        self._last.clear()
        self._preview_alarms.clear()
