"""What a user writes: forty calls of the public face, checked by pyright and run by nobody."""

from pathlib import Path

import numpy as np
from torch import Tensor

import trilemma as tl

data: tl.DataSet = tl.dataset("name:digits")
small_data = tl.dataset(np.zeros((60, 8, 8), np.uint8), labels=[0, 1] * 30, name="small")
people = tl.dataset({"age": [1, 2], "job": ["a", "b"]}, columns={"age": "whole"}, target="job")
pictures = tl.dataset(Path("pictures"), size=32)

recipe: tl.Recipe = tl.recipe("vae", latent=8)
run: tl.Run = tl.train("vae", data=data, minutes=1)
second_run = tl.train(recipe, "name:digits", steps=10, seed=1, run="runs/other", quiet=True)
guided = tl.train("ddpm", small_data, minutes=0.5, conditional=True, width=16)
longer_run: tl.Run = tl.resume(run, minutes=1)
continued = tl.resume("runs/other", steps=20, data=data, changed_data=True)
loaded: tl.Run = tl.load("runs/vae-digits-001", device="cpu")

samples: tl.Samples = run.sample(16)
guided_samples = guided.sample(8, cond="3", seed=2, steps=10, guidance=2.0)
class_samples = guided.sample(8, cond=[1, 2, 3])
middle_samples: tl.Samples = samples[2:5]
tensor: Tensor = samples.tensor
array: np.ndarray = samples.numpy()
labels: list[str] | None = class_samples.labels
path: Path = samples.save("samples.png")
frame = samples.frame()
networks = samples.networks()
molecules = samples.molecules()
smiles: list[str] = samples.smiles()
picture = samples.picture()

codes: Tensor = run.encode(samples)
images: tl.Samples = run.decode(codes)
bound: Tensor = run.bound(data.test.x)
nats: Tensor = run.log_prob(array)
completed: tl.Samples = run.complete(samples, array > 3)
names: tuple[str, ...] = run.capabilities
events = run.history()
page: Path = run.report

evaluation: tl.Evaluation = tl.evaluate(run, samples=1000)
ready_evaluation = tl.evaluate("made.npz", data="name:digits")
value: float = evaluation["fd"].value
floor = evaluation["fd"].floor
reasons = evaluation.skipped

comparison: tl.Comparison = tl.compare(data, ["vae", "gan"], minutes=1, seeds=3)
choice: str | None = comparison.choice
verdict: str = comparison.verdict
vae_run: tl.Run = comparison.run("vae")

laws: tl.Laws = tl.verify(run)
holds: bool = laws.holds
measured_values = [law.measured for law in laws]
registries = sorted(tl.SAMPLERS), sorted(tl.RECIPES), sorted(tl.LOSSES)
