"""The commands, a file each: its `COMMAND` says what may be asked, and its `run` does it.

What a command needs is imported when it runs, so that help and mistakes wait for nothing.
"""
