"""Loops: background activities that run in cycles, and the group that owns their time."""

from uhlp.loops.loop_group import LoopGroup
from uhlp.loops.periodic_loop import LoopStatus, PeriodicLoop

__all__ = ["LoopGroup", "LoopStatus", "PeriodicLoop"]
