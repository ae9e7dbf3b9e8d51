"""The command line: a file a command, what may be asked of it beside what it does.

Begin with `command_line.py`, which reads what was asked and says how an error ends, and then open
the file of a command. `terminal.py` is what people read while they wait; results go to stdout,
and all else to stderr. A command composes the rooms below and knows nothing that a caller of the
library could not do: this room may import any, and none imports it.
"""

from trilemma.cli.command_line import main

__all__ = ["main"]
