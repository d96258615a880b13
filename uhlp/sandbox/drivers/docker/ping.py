"""How fast a worker is reached: for people, measured once when the driver opens."""

import asyncio
import time
from statistics import median

from uhlp.errors import SandboxDied
from uhlp.sandbox.drivers.zygote_sandbox import ZygoteWorker

_PINGS = 100
_PING = b'\x00\x00\x00\x2c{"jsonrpc":"2.0","id":1,"method":"ping"}    '


async def ping_us(worker: ZygoteWorker, *, limit_s: float = 10.0) -> int:
    """The median time of a ping and its answer. Raises SandboxDied when the worker ends, or does not answer all of them
    within `limit_s`: everybody waits for this."""
    loop, times_s = asyncio.get_running_loop(), []
    try:
        async with asyncio.timeout(limit_s):
            for _ in range(_PINGS):
                began_s = time.perf_counter()
                await loop.sock_sendall(worker.endpoint, _PING)
                if not await loop.sock_recv(worker.endpoint, 4096):
                    raise SandboxDied("The worker ended before it answered a ping.")
                times_s.append(time.perf_counter() - began_s)
    except OSError as error:  # the limit of time is one
        raise SandboxDied(f"The worker answers no pings: {str(error) or 'not in time'}.") from error
    return round(median(times_s) * 1e6)
