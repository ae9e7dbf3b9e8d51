"""One loop for every game, and a run that is never lost.

Begin with `trainer.py`: one step of training, the same for every model. `fit.py` is a whole
training within a budget, as an iterator of events, with `budget.py`, `allowance.py` and
`stopwatch.py` for its seconds. `run.py` and `checkpoint.py` keep what a process that is killed
must not lose; `distributed.py` is all that a process knows of others; `adamw.py`, `ema.py`,
`precision.py` and `alarms.py` serve a step or look at it.

Imports `core` alone, and never asks what a model is: it knows objectives and streams.
"""
