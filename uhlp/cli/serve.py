"""`uhlp serve`."""

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from uhlp.cli.failure import cannot_listen

HEALTH_CHECK_S = 30
"""How long a worker may be too busy to answer its supervisor; one that died is noticed at once."""

DRAIN_S = 30
KEEP_ALIVE_S = 75
"""Longer than the pools of clients and proxies keep an idle connection, so that none sends into one just closed."""
BACKLOG = 2048

ALLOCATOR = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}
"""How the worker's C library (glibc) keeps memory that was given back, where the environment does not say otherwise.

By itself it keeps an arena for each thread, and after the first 19 MiB for argon2 never returns a block of that size:
25 MiB more for the same work, and growing with every thread that once had much to do.
"""


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8080,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where definitions, samples and the ledger live.", envvar="UHLP_DATA_DIR")
    ] = None,
) -> None:
    """Serve applications, administration and panel.

    Runs one worker under a supervisor that owns the socket: when the worker dies, callers wait for the next one
    instead of being refused. SIGTERM lets requests in flight finish. Settings: `uhlp settings` prints them.
    """
    from uvicorn.config import STARTUP_FAILURE, Config

    from uhlp.cli.supervisor import LOG_CONFIG, Supervisor

    for name, value in ALLOCATOR.items():
        os.environ.setdefault(name, value)
    if data_dir is not None:
        os.environ["UHLP_DATA_DIR"] = str(data_dir.absolute())
    config = Config(
        "uhlp.main:app",
        host=host,
        port=port,
        workers=1,
        loop="uvloop",
        http="uhlp.web.http_protocol:BoundedHttpProtocol",
        lifespan="on",
        log_config=LOG_CONFIG,
        access_log=False,
        server_header=False,
        timeout_worker_healthcheck=HEALTH_CHECK_S,
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    listener = _listen(host, port)
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{listener.getsockname()[1]}"
    supervisor = Supervisor(
        config, sockets=[listener], greeting=f"UHLP is running on {url}  (panel: {url}/panel)  next: uhlp init my-app"
    )
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(STARTUP_FAILURE)


def _listen(host: str, port: int) -> socket.socket:
    """The socket that outlives workers; callers wait on it from now on, also before the first worker is ready."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise cannot_listen(host, port, error, command="serve") from None
    listener.set_inheritable(True)
    return listener
