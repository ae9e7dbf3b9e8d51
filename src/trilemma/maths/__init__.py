"""Pure functions and frozen dataclasses: no parameters, no files."""
