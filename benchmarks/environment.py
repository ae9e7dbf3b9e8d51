"""The second environment, `.venv-bench`: Trilemma and the named peers in one interpreter.

Everything is pinned (constraints.txt, requirements.txt). torch comes first, so that no peer pulls
another build of it. Some peers ask for torchvision, which does not load beside the CPU build of
torch; they are installed without their dependencies, and torchvision_stand_in.py takes its place
while they are imported. Imports the standard library alone, for nothing is installed yet.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["PEERS", "ROOT", "is_inside", "python"]

BENCHMARKS = Path(__file__).resolve().parent
ROOT = BENCHMARKS.parent
ENVIRONMENT = ROOT / ".venv-bench"
ALONE = (
    "denoising-diffusion-pytorch==2.2.6",
    "nflows==0.14",
    "normflows==1.7.3",
    "UMNN==1.71",
    "torchgan==0.1.0",
    "torch-mimicry==0.1.16",
)
"""Installed without their dependencies."""
PEERS = (
    "diffusers",
    "denoising-diffusion-pytorch",
    "pythae",
    "nflows",
    "normflows",
    "zuko",
    "torchgan",
    "torch-mimicry",
)
"""Peers whose versions are recorded with every result."""
PARTS = (
    ROOT / "pyproject.toml",
    ROOT / "constraints.txt",
    BENCHMARKS / "requirements.txt",
    BENCHMARKS / "environment.py",
)


def is_inside() -> bool:
    """Tell whether this process runs in the benchmarks' environment."""
    return Path(sys.prefix).resolve() == ENVIRONMENT.resolve()


def python() -> Path:
    """Return the environment's interpreter, building it anew where what it is made of changed."""
    interpreter, stamp = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "built"
    made_of = hashlib.sha256(b"\0".join(part.read_bytes() for part in PARTS)).hexdigest()
    if stamp.exists() and stamp.read_text() == made_of and interpreter.exists():
        return interpreter
    print(f"building {ENVIRONMENT} ...", file=sys.stderr, flush=True)
    venv.create(ENVIRONMENT, clear=True, with_pip=True, symlinks=True)
    constrained = ("--constraint", str(ROOT / "constraints.txt"))
    _install(interpreter, *constrained, "torch")
    _install(interpreter, *constrained, "--editable", str(ROOT))
    _install(interpreter, *constrained, "--requirement", str(BENCHMARKS / "requirements.txt"))
    _install(interpreter, "--no-deps", *ALONE)
    stamp.write_text(made_of)
    return interpreter


def _install(interpreter: Path, *what: str) -> None:
    subprocess.run([interpreter, "-m", "pip", "install", "--quiet", *what], check=True)
