"""Which driver the settings mean on this machine.

`auto` is Docker when an engine answers soon and has the image of our runner: whoever built it wants sandboxes of it.
Else it is processes, which work everywhere. Loading the Docker client takes most of a second, so only its users wait.
"""

import asyncio
import contextlib
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import structlog

from uhlp.clock import Clock
from uhlp.errors import ValidationFailed
from uhlp.models.definition import RUNNER_IMAGE
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import Driver
from uhlp.sandbox.drivers.docker.engine import engine_url
from uhlp.sandbox.drivers.process import ProcessDriver
from uhlp.secret_references import SecretReader

LOOK_LIMIT_S = 3.0
"""A busy engine, or one that its socket starts, may need a second; where there is none that is told at once."""
_log = structlog.get_logger(__name__)


async def make_driver(
    config: SandboxSettings, *, data_dir: Path, production: bool, clock: Clock, read_secret: SecretReader
) -> Driver:
    """The driver, not yet open. Raises ValidationFailed for one that there is not."""
    name, why = config.driver, "sandbox.driver names it"
    if name == "auto":
        name, why = await choose_driver(config.docker.url)
    if name == "swarm":
        raise ValidationFailed("sandbox.driver swarm is not offered yet; use auto, process or docker.")
    _log.info("sandbox_driver_chosen", driver=name, reason=why)
    if name == "docker":
        module = await asyncio.to_thread(importlib.import_module, "uhlp.sandbox.drivers.docker.driver")
        driver: Driver = module.DockerDriver(data_dir=data_dir, config=config, clock=clock, read_secret=read_secret)
        return driver
    return ProcessDriver(
        data_dir=data_dir,
        allow_unisolated=config.allow_unisolated,
        production=production,
        volume_allow=config.volume_allow,
    )


async def choose_driver(
    url: str | None, environment: Mapping[str, str] = os.environ
) -> tuple[Literal["docker", "process"], str]:
    """The driver's name and why; takes `LOOK_LIMIT_S` at most."""
    engine = engine_url(url, environment)
    try:
        async with asyncio.timeout(LOOK_LIMIT_S):
            status = await _status(engine, f"/images/{RUNNER_IMAGE}/json", has_tls="DOCKER_TLS_VERIFY" in environment)
    except (OSError, ValueError, TimeoutError, EOFError) as error:
        return "process", f"no Docker engine answers at {engine} ({str(error) or 'not in time'})"
    if status != 200:
        return "process", f"the Docker engine at {engine} has no image {RUNNER_IMAGE} (uhlp sandbox build-image)"
    return "docker", f"the Docker engine at {engine} has the image {RUNNER_IMAGE}"


async def _status(engine: str, path: str, *, has_tls: bool) -> int:
    """The status of one GET. Raises OSError, ValueError for an address that is not plain, EOFError."""
    parts = urlsplit(engine)
    if parts.scheme == "unix":
        reader, writer = await asyncio.open_unix_connection(parts.path)
    elif parts.scheme in ("tcp", "http") and not has_tls:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 2375)
    else:
        raise ValueError("auto looks at unix:// and plain tcp:// only; name the driver in sandbox.driver")
    with contextlib.closing(writer):
        writer.write(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
        return int((await reader.readuntil(b" ") and await reader.readexactly(3)).decode())
