"""Routing: which implementation answers a request, and the model when a handler does not."""
