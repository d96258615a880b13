"""How fast a worker is reached: for people, measured once when the driver opens."""

import asyncio
import time
from statistics import median

from uhlp.sandbox.drivers.zygote_sandbox import ZygoteWorker

_PINGS = 100
_PING = b'\x00\x00\x00\x2c{"jsonrpc":"2.0","id":1,"method":"ping"}    '


async def ping_us(worker: ZygoteWorker) -> int:
    """The median time of a ping and its answer."""
    loop, times_s = asyncio.get_running_loop(), []
    for _ in range(_PINGS):
        began_s = time.perf_counter()
        await loop.sock_sendall(worker.endpoint, _PING)
        await loop.sock_recv(worker.endpoint, 4096)
        times_s.append(time.perf_counter() - began_s)
    return round(median(times_s) * 1e6)
