"""The identities of the lecture as checks that run.

Begin with `law.py`: a law is one identity, computed on both sides, and `@states` declares a check.
`book.py` lists all of them, in the order of the lecture; `trained.py` has those that a trained
model must obey, asked by capability. Every other file holds the laws of one subject.
`trilemma verify` runs them, and the tests in `tests/laws/` break the code and see them fail.

Imports `core`, `maths`, `networks`, `families` and `metrics`.
"""
