"""`python -m benchmarks NAME [--OPTION VALUE …]`: one benchmark, in its environment.

Each file with `OPTIONS`, a dictionary of options with their defaults, is a benchmark; `ABOUT` says
in a line what it measures, `SMALLEST` the options with which all of it runs once and soon, and
`main(options)` returns the sections of its result. Where it runs beside a peer (`WITH_PEERS`), it
runs in the benchmarks' environment. A table is printed, and results/NAME.json written. Where one
of several things is measured (`NAMED`, the option that says which), `python -m benchmarks NAME
WHICH` is short for it, and results/NAME-WHICH.json is written.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import os
import sys

from benchmarks import environment


def benchmark_modules() -> dict[str, dict[str, object]]:
    """Return the plain constants of each benchmark by its name; nothing is imported for it."""
    modules = {}
    for path in sorted(environment.BENCHMARKS.glob("*.py")):
        names: dict[str, object] = {}
        for node in ast.parse(path.read_text()).body:
            target = node.targets[0] if isinstance(node, ast.Assign) else None
            target = node.target if isinstance(node, ast.AnnAssign) else target
            if isinstance(target, ast.Name):
                names[target.id] = _plain(node)
        if "OPTIONS" in names:
            modules[path.stem.replace("_", "-")] = names
    return modules


def _plain(node: ast.stmt) -> object:
    """Return what is assigned, if it is written out; else None."""
    with contextlib.suppress(ValueError):
        return ast.literal_eval(getattr(node, "value", None) or ast.Constant(None))
    return None


def main() -> int:
    """Go on in the right environment, run the benchmark, and keep its result."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    available = benchmark_modules()
    if name not in available:
        print(__doc__, file=sys.stderr)
        for one, constants in available.items():
            print(f"    {one:<22}{constants.get('ABOUT', '')}", file=sys.stderr)
        print(f"\n'{name}' was given; give one of these.", file=sys.stderr)
        return 2
    if available[name].get("WITH_PEERS") and not environment.is_inside():
        interpreter = str(environment.python())
        os.environ |= {"PYTHONPATH": str(environment.ROOT), "TQDM_DISABLE": "1"}
        os.execv(interpreter, [interpreter, "-m", "benchmarks", *sys.argv[1:]])
    which = available[name].get("NAMED")
    if which and len(sys.argv) > 2 and not sys.argv[2].startswith("-"):
        sys.argv.insert(2, f"--{which}")
    module = importlib.import_module(f"benchmarks.{name.replace('-', '_')}")
    options = _options(name, module.OPTIONS)
    # Before torch is imported, and for the children too.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)

    import torch

    from benchmarks import record
    from trilemma.core.errors import BadInput, Interrupted

    torch.set_num_threads(options.threads)
    try:
        part = str(vars(options)[str(which)]) if which else ""
        record.keep(name, vars(options), module.main(options), part=part)
    except (BadInput, Interrupted) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return error.status
    return 0


def _options(name: str, options_known: dict[str, tuple[float | int, str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for option, (default, meaning) in options_known.items():
        parser.add_argument(f"--{option}", type=type(default), default=default, help=meaning)
    cores = int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0))))
    parser.add_argument("--threads", type=int, default=cores, help="threads of each side")
    parser.add_argument(
        "--results", default=str(environment.BENCHMARKS / "results"), help="folder of the result"
    )
    return parser.parse_args(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
