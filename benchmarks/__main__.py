"""`python -m benchmarks NAME [--OPTION VALUE …]`: one benchmark, in the benchmarks' environment.

    ddpm-step      the same U-Net's work: training step, evaluation, overhead, memory
    ddpm-quality   what the same minutes of training buy: fd, and seconds a sample
    samplers       all samplers × steps on one trained run: fd, seconds, what a sampler adds
    sampling-peer  our weights under diffusers' schedulers, beside our best sampler in 10 steps
    latent         latent diffusion beside pixel diffusion: fd, and seconds a sample
    watch          what looking at fd on the way costs a training
    sr3            what SR3 restores in few and many steps, beside bicubic and a regressor
    vae            pythae's perceptron VAE: an epoch, and the bound after the same minutes
    pixelcnn       cached samples against whole passes, a training step, nats for minutes
    pixel-transformer  cached samples against whole passes, and ImageGPT's training step
    spline-flow    spline flows: an update, ln p and samples beside nflows and zuko
    glow           the inverse beside the forward pass; an affine coupling beside normflows'
    langevin       a Langevin step: without weight gradients, chains as one batch
    adversarial-step  a GAN's step: torchgan's DCGAN and torch-mimicry's SNGAN
    adversarial-parts  what DiffAugment and lazy penalties cost a step
    adversarial-sampling  10,000 images beside the bare network
    graphrnn       the released GraphRNN: a step, drawing 32 and 256 graphs (--peer CHECKOUT)
    graph-environment  graph-steps a second without a network; a thousand graphs measured
    intervals      how often the interval of each metric holds, on worlds of known truth
    verdicts       how often what a comparison claims holds on fresh seeds; goes on by itself
    metric-checks  which sanity checks each metric of samples passes
    discrepancy    how near the discrepancy comes to a divergence that is known
    thief          a planted thief against the metric copies: how often it is caught
    pmo            how fast molecules of worth are found: gcpn beside Mol GA and screening
    molecule-environment  molecule-steps a second beside RDKit's; the parts of a PPO iteration
    constrained    what calls buy where a molecule must stay like itself
    start          --help, and the way from the command to the first training step

A table is printed, and results/NAME.json written. Every benchmark has a dictionary `OPTIONS` of
its options with their defaults, and `main(options)`, which returns the sections of its result.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from benchmarks import environment

NAMES = (
    "ddpm-step",
    "ddpm-quality",
    "samplers",
    "sampling-peer",
    "latent",
    "watch",
    "sr3",
    "vae",
    "pixelcnn",
    "pixel-transformer",
    "spline-flow",
    "glow",
    "langevin",
    "adversarial-step",
    "adversarial-parts",
    "adversarial-sampling",
    "graphrnn",
    "graph-environment",
    "intervals",
    "verdicts",
    "metric-checks",
    "discrepancy",
    "thief",
    "pmo",
    "constrained",
    "molecule-environment",
    "start",
)
ALONE = (
    "sr3",
    "latent",
    "watch",
    "graphrnn",
    "graph-environment",
    "intervals",
    "verdicts",
    "metric-checks",
    "discrepancy",
    "thief",
    "pmo",
    "constrained",
    "molecule-environment",
)
"""Benchmarks that need no environment of their own: without a peer, or with a checkout of it."""


def main() -> int:
    """Go on in the right environment, run the benchmark, and keep its result."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in NAMES:
        print(__doc__, file=sys.stderr)
        print(f"'{name}' was given; give one of {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    if name not in ALONE and not environment.is_inside():
        interpreter = str(environment.python())
        os.environ |= {"PYTHONPATH": str(environment.ROOT), "TQDM_DISABLE": "1"}
        os.execv(interpreter, [interpreter, "-m", "benchmarks", *sys.argv[1:]])
    module = importlib.import_module(f"benchmarks.{name.replace('-', '_')}")
    options = _options(name, module.OPTIONS)
    # Before torch is imported, and for the children too.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)

    import torch

    from benchmarks import record
    from trilemma.core.errors import BadInput

    torch.set_num_threads(options.threads)
    try:
        record.keep(name, vars(options), module.main(options))
    except BadInput as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return error.status
    return 0


def _options(name: str, known: dict[str, tuple[float | int, str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for option, (default, meaning) in known.items():
        parser.add_argument(f"--{option}", type=type(default), default=default, help=meaning)
    cores = int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0))))
    parser.add_argument("--threads", type=int, default=cores, help="threads of each side")
    parser.add_argument(
        "--results", default=str(environment.HERE / "results"), help="folder of the result"
    )
    return parser.parse_args(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
