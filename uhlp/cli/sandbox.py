"""`uhlp sandbox …`: what sandboxes start from."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uhlp.cli.failure import CommandError

if TYPE_CHECKING:
    from uhlp.sandbox.drivers.docker.build import BuiltImage

DEFAULT_BASE = "python:3.11-slim"


class BuildNetwork(StrEnum):
    BRIDGE = "bridge"
    HOST = "host"
    NONE = "none"


def build_image(
    base: Annotated[
        str, typer.Option(metavar="IMAGE", help="The image to build on: any with Python 3.11 or newer and pip.")
    ] = DEFAULT_BASE,
    tag: Annotated[
        str | None, typer.Option(help="The name of the new image, as pools have it in dockerImage; else the runner's.")
    ] = None,
    wheels: Annotated[
        Path | None,
        typer.Option(metavar="DIR", exists=True, file_okay=False, help="Install from this folder, without network."),
    ] = None,
    network: Annotated[
        BuildNetwork | None, typer.Option(help="What pip may reach while it builds; the engine's default if not given.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="URL", help="The Docker engine; else sandbox.docker.url, else DOCKER_HOST.")
    ] = None,
    build_arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="For example PIP_INDEX_URL=https://…, PIP_TRUSTED_HOST or HTTPS_PROXY."
        ),
    ] = None,
) -> None:
    """Build the image that Docker sandboxes run, from this installation: its runner, its versions of what that needs.

    It is there for `sandbox.driver=docker`; with the default, auto, the server uses Docker once it finds the image.
    """
    arguments = dict(_argument(text) for text in build_arg or ())
    built = asyncio.run(_build(base, tag, wheels, network, engine, arguments))
    print(f"built {' and '.join(built.tags)}")
    print(f"  id {built.image_id}, {built.size_bytes / 1e6:,.0f} MB")


async def _build(
    base: str,
    tag: str | None,
    wheels: Path | None,
    network: BuildNetwork | None,
    url: str | None,
    arguments: dict[str, str],
) -> "BuiltImage":
    from uhlp.models.definition import RUNNER_IMAGE
    from uhlp.sandbox.drivers.docker.build import build_runner_image
    from uhlp.sandbox.drivers.docker.engine import Engine
    from uhlp.settings import read_settings

    engine = Engine(url=url or read_settings().sandbox.docker.url)
    try:
        await engine.connect()
        return await build_runner_image(
            engine,
            base=base,
            tag=tag or RUNNER_IMAGE,
            wheels=wheels,
            network=network,
            build_args=arguments,
            on_output=lambda line: print(line, flush=True),
        )
    finally:
        await engine.close()


def _argument(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise CommandError(f"--build-arg {text} is not understood", hint="--build-arg NAME=VALUE")
    return name, value
