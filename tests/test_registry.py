"""What is registered has a name of its own, a docstring, types and a law, or is refused."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from trilemma.data import sources, toy
from trilemma.laws import games as games_laws
from trilemma.laws import samplers as samplers_laws
from trilemma.maths import adversarial, ode
from trilemma.maths.diffusion import predictions, samplers, schedules
from trilemma.metrics.metric import Metric
from trilemma.metrics.registry import discovered, metrics_of
from trilemma.recipes import catalog
from trilemma.recipes.ddpm import Ddpm
from trilemma.recipes.fields import fields
from trilemma.registry import BadEntry, Registry

REGISTRIES = {
    "samplers": samplers.SAMPLERS,
    "schedules": schedules.SCHEDULES,
    "predictions": predictions.PREDICTIONS,
    "losses": adversarial.LOSSES,
    "penalties": adversarial.PENALTIES,
    "solvers": ode.SOLVERS,
    "recipes": catalog.CATALOG,
    "data sets": sources.NAMES,
    "points": toy.TOYS,
}
every_registry = pytest.mark.parametrize("registry", REGISTRIES.values(), ids=REGISTRIES)


def leap(schedule: object, spread: float) -> float:
    """Leap."""
    return spread


def unexplained(schedule: object, spread: float) -> float:
    return spread


def untyped(schedule: object, spread) -> float:
    """Leap."""
    return spread


@dataclass(frozen=True)
class Leap:
    """Leaps."""

    far: float = 1.0


@dataclass(frozen=True)
class Unexplained:
    far: float = 1.0


@dataclass(frozen=True)
class Untyped:
    """Leaps."""

    far = 1.0


class Plain:
    """Leaps."""

    def __init__(self, far) -> None:
        self.far = far


@every_registry
def test_two_of_one_name_are_refused_and_the_first_stays(registry):
    name = next(iter(registry))
    first, file = registry[name], registry.where(name).partition(" of ")[2]
    with pytest.raises(BadEntry) as refusal:
        registry[name] = leap
    assert str(refusal.value) == (
        f"{registry.kind} '{name}' of {__file__} is there already, in {file}; "
        "give it another name."
    )
    assert Path(file).is_file()
    assert registry[name] is first


def test_two_of_one_name_in_one_file_are_refused():
    with pytest.raises(
        BadEntry, match=r"solver 'a' of .*test_registry.py is there already, in .*"
    ):
        Registry("solver", [("a", 1.0), ("a", 2.0)])


@every_registry
@pytest.mark.parametrize("entry", [unexplained, Unexplained, Unexplained()])
def test_an_entry_without_a_docstring_is_refused(registry, entry):
    with pytest.raises(BadEntry) as refusal:
        registry["mine"] = entry
    sentence = (
        f"{registry.kind} 'mine' of {__file__} has no docstring; say in one line what it is."
    )
    assert str(refusal.value) == sentence
    assert "mine" not in registry


@every_registry
@pytest.mark.parametrize(
    ("entry", "option"),
    [(untyped, "spread"), (Untyped, "far"), (Untyped(), "far"), (Plain, "far")],
)
def test_an_option_without_a_type_is_refused(registry, entry, option):
    with pytest.raises(BadEntry) as refusal:
        registry["mine"] = entry
    assert str(refusal.value) == (
        f"{registry.kind} 'mine' of {__file__} has the option '{option}' without a type; "
        "annotate it."
    )
    assert "mine" not in registry


@every_registry
def test_what_is_whole_is_registered_at_the_end_and_can_go(registry):
    before = list(registry)
    proper = {
        "recipe": [type("Mine", (Ddpm,), {"__doc__": "Mine.", "name": "mine"})],
        "data set": [replace(sources.NAMES["two-moons"], name="mine")],
    }
    for entry in proper.get(registry.kind, (leap, Leap, Leap())):
        registry["mine"] = entry
        assert list(registry) == [*before, "mine"]
        assert registry["mine"] is entry
        del registry["mine"]
    assert list(registry) == before


def test_an_inherited_type_is_a_type():
    @dataclass(frozen=True)
    class Farther(Leap):
        """Leaps farther."""

        far = 2.0

    assert Registry("leap", [("farther", Farther)])["farther"].far == 2.0


def test_a_field_of_a_recipe_without_its_words_is_refused():
    @dataclass(frozen=True, kw_only=True)
    class Mute(Ddpm):
        """Leaps."""

        leap: int = 1

    with pytest.raises(BadEntry) as refusal:
        fields(Mute)
    assert str(refusal.value) == (
        f"recipe 'ddpm' of {__file__} has the field 'leap' without a docstring under it; "
        "say what it is."
    )


def metric_module(file: str, **changes: object) -> SimpleNamespace:
    """Return a module that declares a metric."""
    metric = Metric(
        name="mine",
        label="mine",
        meaning="How far samples leap.",
        failure="It says nothing else.",
        measure=lambda context: pytest.fail("asked"),
        kinds=("points",),
    )
    return SimpleNamespace(METRICS=(replace(metric, **changes),), __file__=file, __name__="mine")


def test_metrics_of_one_name_and_kind_are_refused():
    modules = [metric_module("a.py"), metric_module("b.py")]
    with pytest.raises(BadEntry) as refusal:
        metrics_of(modules)
    assert str(refusal.value) == (
        "metric 'mine of points' of b.py is there already, in a.py; give it another name."
    )
    assert len(metrics_of([modules[0], metric_module("b.py", kinds=("image",))])) == 2


@pytest.mark.parametrize("blank", ["meaning", "failure"])
def test_a_metric_that_does_not_explain_itself_is_refused(blank):
    with pytest.raises(BadEntry, match=r"metric 'mine' of a\.py does not say what it means and"):
        metrics_of([metric_module("a.py", **{blank: ""})])


def test_the_command_line_says_the_sentence_alone(monkeypatch, capsys):
    from trilemma.cli import main

    def refused() -> None:
        samplers.SAMPLERS["ddim"] = Leap

    monkeypatch.setattr(catalog, "recipe_class", lambda name: refused())
    assert main(["train", "ddpm", "--steps", "1"]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert message.startswith(f"trilemma: sampler 'ddim' of {__file__} is there already, in ")


# --- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("registry", "check", "page"),
    [
        (samplers.SAMPLERS, samplers_laws.every_sampler_has_laws, "laws/samplers.py"),
        (adversarial.LOSSES, games_laws.every_game_has_laws, "laws/games.py"),
    ],
)
def test_an_entry_without_a_law_fails_by_its_name_and_file(registry, check, page, monkeypatch):
    assert all(law.holds for law in check())
    monkeypatch.setitem(registry, "mine", Leap)
    (failed,) = (law.name for law in check() if not law.holds)
    assert failed == f"{registry.kind} 'mine' of {__file__} has no law; write it in {page}"


def test_each_sampler_that_has_a_source_has_its_laws():
    stated = {law.name.partition(":")[0].partition(",")[0] for law in samplers_laws.one_law()}
    assert stated == set(samplers_laws.PAPERS)


def test_laws_of_schedules_and_predictions_are_those_of_all_that_are_registered(monkeypatch):
    from trilemma.laws import diffusion

    class Askew(schedules.Cosine):
        """A schedule with a little too much noise."""

        def __call__(self, t):
            alpha, sigma = super().__call__(t)
            return alpha, 1.02 * sigma

    class Wrong(predictions.Clean):
        """A prediction that gives back a tenth too much."""

        def denoised(self, *args):
            return 1.1 * super().denoised(*args)

    def wrong(schedule: schedules.Schedule, spread: float) -> predictions.Prediction:
        """Return it."""
        return Wrong()

    monkeypatch.setitem(schedules.SCHEDULES, "askew", Askew())
    monkeypatch.setitem(predictions.PREDICTIONS, "wrong", wrong)
    for check, name in ((diffusion.ends, "askew"), (diffusion.invertible, "wrong")):
        failed = [law.name for law in check() if not law.holds]
        assert failed
        assert all(name in words for words in failed)


def test_every_metric_is_registered_once():
    assert len({(m.name, m.kinds) for m in discovered()}) == len(discovered())
    assert dataclasses.is_dataclass(discovered()[0])
