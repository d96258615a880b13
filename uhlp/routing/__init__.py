"""Routing: which implementation answers a request, and the model when a handler does not."""

from uhlp.routing.main_loop import MainLoop, MainLoopWorker

__all__ = ["MainLoop", "MainLoopWorker"]
