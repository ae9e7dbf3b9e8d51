"""The public face: what `import trilemma` offers, of which the command line is a thin skin.

Begin with `working.py`, what all that trains or measures has in common; `display.py` is what
people read while they wait. This room composes the rooms below, as a user of the library could;
only the command line stands above it.
"""
