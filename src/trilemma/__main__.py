"""`python -m trilemma …` is the same as `trilemma …`."""

from trilemma.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
