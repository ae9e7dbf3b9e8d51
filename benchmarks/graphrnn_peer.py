"""The released GraphRNN, from a checkout that is made apart: its networks, its step, its drawing.

    git clone the GitHub project JiaxuanYou/graph-generation into FOLDER
    python -m benchmarks graphrnn --peer FOLDER

Nothing of it is patched where it is timed. Modules that it imports and that neither a step nor the
drawing touches (torchvision, TensorBoard's logger, scikit-learn, community detection, old SciPy
parts) are entered in `sys.modules` without contents. `.cuda()` leaves tensors where they are,
its loss has the one axis that losses had in 2018, and functions that networkx has dropped since
are given their old names. Left out, in its favour: its
data loader (batches lie ready, in its own order and encoding), and the conversion of what is drawn
to networkx graphs.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from trilemma.core.errors import BadInput

__all__ = ["Released"]

EMPTY = (
    "torchvision",
    "tensorboard_logger",
    "community",
    "sklearn",
    "sklearn.decomposition",
    "sklearn.metrics",
    "scipy",
    "scipy.misc",
    "scipy.sparse",
    "create_graphs",
    "pyemd",
)
"""Imported by it, and not used where it is timed."""


class Released:
    """Its networks with its sizes for a set, and what it does with them.

    Arguments:
        folder: A checkout.
        graphs: Training graphs, networkx.
        nodes: Nodes of the largest.
        reach: `max_prev_node`, which it gives by hand.
        seed: Seed of its weights.
    """

    def __init__(
        self, folder: Path, graphs: list[Any], nodes: int, reach: int, seed: int = 0
    ) -> None:
        """Build as its main.py does for GraphRNN with an edge RNN."""
        if not (folder / "train.py").is_file():
            raise BadInput(
                f"'{folder}' holds no train.py; give --peer the folder of a checkout of the "
                "GitHub project JiaxuanYou/graph-generation."
            )
        self.commit = _commit(folder)
        self.train, model, data = _modules(folder)
        loss = self.train.binary_cross_entropy_weight
        self.train.binary_cross_entropy_weight = lambda *arguments: loss(*arguments)[None]
        self.args = SimpleNamespace(
            num_layers=4,
            max_prev_node=reach,
            max_num_node=nodes,
            epochs_log=10**9,
            epochs=10**9,
            graph_type="",
            fname="",
            batch_ratio=32,
            hidden_size_rnn=128,
            note="",
        )
        torch.manual_seed(seed)
        with _on_processor():
            self.rnn = model.GRU_plain(
                input_size=reach,
                embedding_size=64,
                hidden_size=128,
                num_layers=4,
                has_input=True,
                has_output=True,
                output_size=16,
            )
            self.output = model.GRU_plain(
                input_size=1,
                embedding_size=8,
                hidden_size=16,
                num_layers=4,
                has_input=True,
                has_output=True,
                output_size=1,
            )
        self.players = [self.rnn, self.output]
        self._optimisers = [torch.optim.Adam(p.parameters(), lr=3e-3) for p in self.players]
        self._schedules = [
            torch.optim.lr_scheduler.MultiStepLR(o, milestones=[400, 1000], gamma=0.3)
            for o in self._optimisers
        ]
        with _old_networkx():
            self._set = data.Graph_sequence_sampler_pytorch(
                graphs, max_prev_node=reach, max_num_node=nodes
            )

    def batch(self, rows: list[int]) -> dict[str, Tensor]:
        """Return a batch as its loader makes it."""
        with _old_networkx():
            items = [self._set[row] for row in rows]
        return {
            "x": torch.stack([torch.from_numpy(item["x"]) for item in items]),
            "y": torch.stack([torch.from_numpy(item["y"]) for item in items]),
            "len": torch.tensor([item["len"] for item in items]),
        }

    def step(self, batch: dict[str, Tensor]) -> None:
        """Make one update by its `train_rnn_epoch`."""
        with _on_processor(), contextlib.redirect_stdout(io.StringIO()):
            self.train.train_rnn_epoch(
                1, self.args, self.rnn, self.output, [batch], *self._optimisers, *self._schedules
            )

    def draw(self, count: int) -> None:
        """Draw graphs by its `test_rnn_epoch`, without making networkx graphs of them."""
        stubs = {"decode_adj": lambda *_: None, "get_graph": lambda *_: None}
        with _on_processor(), mock.patch.multiple(self.train, **stubs), torch.no_grad():
            self.train.test_rnn_epoch(0, self.args, self.rnn, self.output, test_batch_size=count)


def _modules(folder: Path) -> tuple[ModuleType, ModuleType, ModuleType]:
    """Import its modules, which call each other by plain names; none stays in `sys.modules`."""
    for name in ("networkx", "matplotlib.pyplot"):  # which do
        importlib.import_module(name)
    stand_ins = {name: mock.MagicMock(name=name) for name in EMPTY}
    paths = mock.patch.object(sys, "path", [str(folder), *sys.path])
    with mock.patch.dict(sys.modules, stand_ins), paths:
        modules = [importlib.import_module(name) for name in ("train", "model", "data")]
    return modules[0], modules[1], modules[2]


@contextlib.contextmanager
def _on_processor() -> Iterator[None]:
    """Let `.cuda()` leave tensors and modules where they are."""

    def unsupported(self: Any, *_: Any, **__: Any) -> Any:
        return self

    with (
        mock.patch.object(Tensor, "cuda", unsupported),
        mock.patch.object(nn.Module, "cuda", unsupported),
    ):
        yield


@contextlib.contextmanager
def _old_networkx() -> Iterator[None]:
    """Give functions of networkx their names of 2018."""
    import networkx
    import numpy

    def matrix(graph: Any) -> Any:
        return numpy.asmatrix(networkx.to_numpy_array(graph))

    names = {"to_numpy_matrix": matrix, "from_numpy_matrix": networkx.from_numpy_array}
    with mock.patch.multiple(networkx, create=True, **names):
        yield


def _commit(folder: Path) -> str:
    completed = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--verify", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return completed.stdout.strip() or "unknown: no git checkout"
