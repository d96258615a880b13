"""Which client speaks with a worker: the one place that looks at its endpoint."""

from uhlp.clock import Clock
from uhlp.sandbox.client import WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import HttpAddress, Sandbox, Worker
from uhlp.sandbox.frames_client import FramesClient


async def open_client(worker: Worker, sandbox: Sandbox, settings: SandboxSettings, clock: Clock) -> WorkerClient:
    """The client for this worker, ready for its first call. Raises SandboxDied."""
    kind: type[WorkerClient] = FramesClient
    if isinstance(worker.endpoint, HttpAddress):
        from uhlp.sandbox.http_client import HttpClient  # aiohttp: not where no image of users is served

        kind = HttpClient
    client = kind(worker=worker, sandbox=sandbox, settings=settings, clock=clock)
    await client.open()
    return client
