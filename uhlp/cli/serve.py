"""`uhlp serve`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

HEALTH_CHECK_S = 30
"""How long a worker may be too busy to answer its supervisor; one that died is noticed at once."""

DRAIN_S = 30


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535)] = 8080,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where definitions, samples and the ledger live.", envvar="UHLP_DATA_DIR")
    ] = None,
) -> None:
    """Serve applications, administration and panel.

    Runs one worker under a supervisor that owns the socket: when the worker dies, callers wait for the next one
    instead of being refused. SIGTERM lets requests in flight finish.
    """
    from uvicorn.config import STARTUP_FAILURE, Config
    from uvicorn.supervisors.multiprocess import Multiprocess

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
        access_log=False,
        server_header=False,
        timeout_worker_healthcheck=HEALTH_CHECK_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    listener = config.bind_socket()
    listener.listen(config.backlog)  # callers wait from now on, also before the first worker is ready
    supervisor = Multiprocess(config, sockets=[listener])
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(STARTUP_FAILURE)
