"""The first signal asks for an end, the second does not wait; what was trained is saved."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from trilemma.core.errors import Interrupted
from trilemma.core.session import Session, Stop
from trilemma.training.budget import Budget
from trilemma.training.signals import listening


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_sets_the_flag(number):
    before = signal.getsignal(number)
    with listening() as stop:
        assert not stop
        stop.check("nothing yet")
        os.kill(os.getpid(), number)
        assert stop
        assert stop.signal == number
        with pytest.raises(Interrupted, match=f"{number.name}: while sampling") as caught:
            stop.check("while sampling")
        assert caught.value.status == 128 + number
    assert signal.getsignal(number) is before


def ended(patience, pause):
    """Fork a child that is signalled twice and would then end with 0; return its status."""
    pid = os.fork()
    if pid == 0:
        with listening(patience):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(pause)
            os.kill(os.getpid(), signal.SIGINT)
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_the_second_signal_ends_at_once():
    assert ended(patience=0.0, pause=0.0) == 130


def test_an_echo_within_patience_is_no_second_signal():
    assert ended(patience=5.0, pause=0.0) == 0
    assert ended(patience=0.05, pause=0.2) == 130


def test_outside_the_main_thread_nothing_is_caught():
    caught_signals = []

    def work():
        with listening() as stop:
            caught_signals.append(bool(stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught_signals == [False]


def follow(events, step, act):
    """Go through a training and do something right after a step."""
    for event in events:
        if event.kind == "step" and event.step == step:
            act()


@pytest.mark.parametrize("name", ["game", "two-stages"])
def test_training_ends_after_the_step_and_goes_on_exactly(desk, differences, name):
    unbroken, broken = desk.create(name, "whole"), desk.create(name, "broken")
    list(desk.fit(unbroken, Budget(steps=8)))
    with listening() as stop:
        events = desk.fit(broken, Budget(steps=8), session=Session(stop=stop))
        with pytest.raises(Interrupted) as caught:
            follow(events, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert caught.value.status == 143
    assert str(broken.path) in str(caught.value)
    assert "step 3" in str(caught.value)
    assert desk.newest(broken).step == 3
    assert broken.events()[-1].kind == "stopped"
    list(desk.fit(broken, resume=True))
    a, b = desk.newest(unbroken), desk.newest(broken)
    assert differences(dict(a.weights), dict(b.weights)) == []
    assert differences(a.state, b.state) == []


@pytest.mark.parametrize("step", [4, 8])
def test_a_signal_at_the_end_of_a_stage(desk, differences, step):
    """Step 4 ends the first stage of two, step 8 the run."""
    unbroken, broken = desk.create("two-stages", "whole"), desk.create("two-stages", "broken")
    list(desk.fit(unbroken, Budget(steps=8)))
    stop = Stop()
    with pytest.raises(Interrupted):
        follow(
            desk.fit(broken, Budget(steps=8), session=Session(stop=stop)),
            step,
            lambda: setattr(stop, "signal", signal.SIGINT),
        )
    assert desk.newest(broken).step == step
    assert desk.model.opened == (step == 8)  # the second stage was not begun for nothing
    events = list(desk.fit(broken, resume=True))
    assert [e.step for e in events if e.kind == "step"] == list(range(step + 1, 9))
    a, b = desk.newest(unbroken), desk.newest(broken)
    assert differences(dict(a.weights), dict(b.weights)) == []
    assert differences(a.state, b.state) == []
