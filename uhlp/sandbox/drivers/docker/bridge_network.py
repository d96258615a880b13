"""BridgeNetwork: the bridge of one server's pools that ask for `network: bridge`.

Containers on it reach the network and this machine's addresses, as on any bridge, but not each other: Docker's own
`bridge` is shared with whatever else runs on the engine.
"""

import asyncio
from contextlib import suppress

from uhlp.errors import EngineRefused
from uhlp.sandbox.drivers.docker.engine import Engine

INSTANCE_LABEL = "uhlp.instance"
_NO_TALK_BETWEEN_CONTAINERS = {"com.docker.network.bridge.enable_icc": "false"}


class BridgeNetwork:
    """Made at first need and removed at the end; one that a dead server left is used again."""

    def __init__(self, *, engine: Engine, instance: str) -> None:
        self.name = f"uhlp-{instance}"
        self._engine = engine
        self._instance = instance
        self._is_there = False
        self._lock = asyncio.Lock()

    async def ensure(self) -> str:
        """The network's name, for `HostConfig.NetworkMode`. Raises EngineUnavailable, EngineRefused."""
        async with self._lock:
            if not self._is_there:
                config = {
                    "Name": self.name,
                    "Driver": "bridge",
                    "CheckDuplicate": True,
                    "Options": _NO_TALK_BETWEEN_CONTAINERS,
                    "Labels": {INSTANCE_LABEL: self._instance},
                }
                try:
                    async with self._engine.asking(f"to make network {self.name}") as docker:
                        await docker.networks.create(config)
                except EngineRefused as refusal:
                    if refusal.engine_status != 409:  # it is there already
                        raise
                self._is_there = True
        return self.name

    async def close(self) -> None:
        """Remove it, when no container is on it any more; safe to repeat."""
        with suppress(EngineRefused):  # none there, or another server of this data directory still uses it
            async with self._engine.asking(f"to remove network {self.name}") as docker:
                await (await docker.networks.get(self.name)).delete()
        self._is_there = False
