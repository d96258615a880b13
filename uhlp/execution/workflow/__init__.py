"""Running workflows: the interpreter of plans, the journal of what it has done, and going on after a crash."""
