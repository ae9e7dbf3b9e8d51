"""What a model is worth.

Begin with `metric.py`: what a metric declares of itself beside its code. `registry.py` finds
every module with `METRICS`, so that one more metric is one more file; `judge.py` asks each in
turn over one `context.py`, and `evaluation.py` holds what comes of it. `score.py` is a number
with floor, baselines and interval. `features.py` and `extractors.py` are the ground of
`frechet.py`, `coverage.py` and the like; `trivial_*.py` are what is reached without learning.

Imports `core`, `data` and `maths`. It asks a model for capabilities, never for its family, and
draws nothing.
"""
