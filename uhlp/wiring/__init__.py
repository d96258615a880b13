"""The composition root of a server: the only room that names implementations."""

from uhlp.wiring.server import open_services

__all__ = ["open_services"]
