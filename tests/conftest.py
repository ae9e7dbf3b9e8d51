"""What every test stands on: no network, one thread, fixed seeds."""

from __future__ import annotations

import os
import socket

import pytest
import torch

from trilemma.metrics import held_out
from trilemma.training import allowance

collect_ignore = ["typing/forty_calls.py"]
"""What pyright reads and nobody runs."""

# Small tensors gain nothing from more, and lose much where the cores are shared.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Let no test open a connection to another machine."""
    connect = socket.socket.connect

    def refuse(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests may not reach the network: {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Keep converted data out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def brief_previews():
    """Let previews take next to nothing, where tests are about what is trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(allowance, "CREDIT", 0.05)
        patch.setattr(allowance, "LAST", 0.05)
        yield


@pytest.fixture(scope="module")
def no_previews():
    """Let no training draw on its way, where tests are about what is trained."""
    from trilemma.recipes.preview import Previews

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Previews, "__call__", lambda previews, model, step: {})
        yield


@pytest.fixture(scope="module")
def no_pages():
    """Write no page of a run, which takes longer than a training of a few steps."""
    from trilemma.report import gallery

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "run_report", lambda run, data, model=None: None)
        yield


@pytest.fixture(autouse=True, scope="module")
def one_classifier(request):
    """Let discrepancies ask logistic regression alone, where tests are about other things.

    Of an evaluation of a few hundred samples boosted trees take more time than all else. A module
    that is about what classifiers find is marked `all_classifiers`.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("all_classifiers") is None:
            patch.setattr(held_out, "CLASSIFIERS", {"logistic regression": held_out.linear})
        yield


@pytest.fixture(autouse=True)
def seeded():
    """Give torch's global generator the same start in each test."""
    torch.manual_seed(0)
