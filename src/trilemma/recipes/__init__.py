"""The only place where concrete things meet: one page a recipe."""
