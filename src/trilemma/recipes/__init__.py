"""The only place where concrete things meet: one page a recipe.

Begin with `recipe.py`: a frozen dataclass of plain fields that says how to build, feed and train
one model. `vae.py` is a short one to read; `catalog.py` lists all by name, and `fields.py` makes
options of them. `runs.py` begins, resumes and loads a run, `evaluate.py` measures it, and
`preview.py` draws what a training shows of itself on the way.

Imports every room below: `core`, `maths`, `networks`, `families`, `data`, `training`, `pictures`
and `metrics`. Nothing of those knows a recipe; this page loads none.
"""
