"""How exactly a flow is inverted: through its layers, and back."""

from __future__ import annotations

from trilemma.core.model import Invertible, Model
from trilemma.core.noise import Noise
from trilemma.pictures import charts
from trilemma.report.model_view import Subject
from trilemma.report.page import Picture
from trilemma.report.view import View

__all__ = ["VIEWS"]


def _round_trip(subject: Subject[Model]) -> list[Picture]:
    """Draw how the error of going through a flow and back grows with the layers gone through."""
    x = subject.data.test.x[:64]
    pictures = []
    for part in subject.model.children():
        if not isinstance(part, Invertible):
            continue
        errors = part.depth_errors(subject.domain.values.dequantise(x, Noise.of(0, len(x))))
        depth = list(range(1, len(errors) + 1))
        chart = charts.lines(depth, {"error": errors.tolist()}, "layers", "largest error", True)
        caption = (
            f"max |y − f⁻¹(f(y))| of {len(x)} test examples in float32 after so many layers and "
            f"back; after all of them {float(errors[-1]):.2g}, data of spread about 1."
        )
        pictures.append(Picture("there and back", chart, caption))
    return pictures


VIEWS = (View(name="inversion error", section="inversion", needs=(Model,), draw=_round_trip),)
