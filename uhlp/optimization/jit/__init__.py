"""The coder proposer: a model writes the handler and its tests."""
