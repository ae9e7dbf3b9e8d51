"""What is compared, who is certainly better, and what to choose: no page is written here.

Begin with `compare.py`: the same data and the same time for several recipes. `plan.py` says which
cells (`cells.py`) that takes, `race.py` trains and measures them, and `claims.py` shares them
among processes. `groups.py` takes seeds together, `table.py` holds the result, `ranks.py` and
`ranking.py` put it in order, and `verdict.py` chooses, or says why nothing is chosen.

Imports `core`, `data`, `training`, `metrics` and `recipes`. Names of recipes it reads from the
catalogue alone.
"""
