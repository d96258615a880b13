"""Evals: whether an answer is right, and how many of a handler's answers are."""
