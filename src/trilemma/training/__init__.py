"""One loop for every game, and a run that is never lost."""
