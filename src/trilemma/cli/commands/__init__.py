"""The commands, a file each: its `COMMAND` says what may be asked, and its `run` does it.

Begin with `resume.py`, the shortest that does something. What a command needs is imported when it
runs, so that help and mistakes wait for nothing; any room may be, and none imports this one.
"""
