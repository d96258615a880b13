"""Builds the runner image: the context is made in memory from the installed package, so a wheel can build it too."""

import asyncio
import functools
import hashlib
import io
import json
import re
import tarfile
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from uhlp.errors import EngineRefused, ImageUnavailable
from uhlp.models.definition import RUNNER_IMAGE
from uhlp.sandbox.drivers import runner_home
from uhlp.sandbox.drivers.docker.engine import Engine

VERSION_LABEL = "uhlp.runner"
CONTENT_LABEL = "uhlp.runner.content"

_WHEELS = "/build/wheels"
_LINES_OF_A_FAILURE = 20
_ENGINES_OWN = (" ---> ", "Removing intermediate container ")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_VERSION = re.compile(r'^VERSION = "([^"]+)"$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """A runner image that an engine holds now."""

    tags: tuple[str, ...]
    image_id: str
    size_bytes: int


@functools.cache
def runner_version() -> str:
    """The version that a runner of this installation states in its `hello`, and the image in its label."""
    found = _VERSION.search((runner_home.RUNNER_SOURCE / "worker.py").read_text())
    if found is None:
        raise RuntimeError("the runner states no version")
    return found.group(1)


@functools.cache
def runner_content() -> str:
    """Hash of what an image of this installation would hold: an image that states another one is stale."""
    digest = hashlib.sha256()
    for name, content in sorted(_files().items()):
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


@functools.cache
def requirements() -> tuple[str, ...]:
    """What pip installs into the image: the versions that this installation has, as the process driver uses them."""
    return tuple(sorted(f"{found.metadata['Name']}=={found.version}" for found in runner_home.distributions()))


async def build_runner_image(
    engine: Engine,
    *,
    base: str,
    tag: str = RUNNER_IMAGE,
    wheels: Path | None = None,
    network: str | None = None,
    build_args: Mapping[str, str] | None = None,
    on_output: Callable[[str], None] = lambda line: None,
) -> BuiltImage:
    """Build and tag it twice: as `tag`, and by version and content. Takes seconds to minutes.

    `wheels` is a folder to install from instead of a package index; `network` is what the installing step may reach.
    Raises ImageUnavailable with the last lines of output, in a message that says what to do; EngineUnavailable.
    """
    context = await asyncio.to_thread(_context, wheels)
    arguments = {
        "BASE_IMAGE": base,
        "RUNNER_VERSION": runner_version(),
        "RUNNER_CONTENT": runner_content(),
        **({"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": _WHEELS} if wheels else {}),
        **(build_args or {}),
    }
    lines: deque[str] = deque(maxlen=_LINES_OF_A_FAILURE)

    def hear(text: str) -> None:
        for line in filter(None, map(str.rstrip, _COLOURS.sub("", text).splitlines())):
            if not line.startswith(_ENGINES_OWN):
                lines.append(line)
                on_output(line)

    repository = tag if ":" not in tag.rsplit("/", 1)[-1] else tag.rpartition(":")[0]
    exact = f"{runner_version()}-{runner_content()}"
    try:
        image_id = await _build(engine, context, tag=tag, network=network, arguments=arguments, hear=hear)
    except EngineRefused as refusal:
        raise ImageUnavailable(_what_to_do(refusal.message, list(lines), base, wheels)) from None
    async with engine.asking(f"to tag {tag}") as docker:
        await docker.images.tag(image_id, repository, tag=exact)
        facts = await docker.images.inspect(image_id)
    named = tag if tag != repository else f"{repository}:latest"
    return BuiltImage((named, f"{repository}:{exact}"), facts["Id"], facts["Size"])


async def _build(
    engine: Engine,
    context: bytes,
    *,
    tag: str,
    network: str | None,
    arguments: Mapping[str, str],
    hear: Callable[[str], None],
) -> str:
    """The id of the built image. `DockerImages.build` knows no network, so this is its request with one more field."""
    fields = {"t": tag, "rm": "1", "forcerm": "1", "buildargs": json.dumps(dict(arguments))}
    if network:
        fields["networkmode"] = network
    headers = {"Content-Type": "application/x-tar"}
    image_id = ""
    async with (
        engine.asking("to build the runner image", None) as docker,
        docker._query("build", "POST", params=fields, headers=headers, data=context, timeout=None) as answer,
    ):
        async for line in answer.content:
            event = json.loads(line)
            if "error" in event:
                raise EngineRefused(event["error"])
            hear(event.get("stream") or event.get("status") or "")
            image_id = (event.get("aux") or {}).get("ID", image_id)
    if not image_id:
        raise EngineRefused("the engine ended the build without an image")
    return image_id


def _files() -> dict[str, bytes]:
    """The context but for wheels, by name."""
    runner = runner_home.RUNNER_SOURCE
    sources = {f"{runner_home.PACKAGE}/{file.name}": file.read_bytes() for file in runner.glob("*.py")}
    return {
        "Dockerfile": (runner / "Dockerfile").read_bytes(),
        "requirements.txt": "".join(f"{line}\n" for line in requirements()).encode(),
        **sources,
    }


def _context(wheels: Path | None) -> bytes:
    """A tar without times or owners: the same content hits the engine's build cache."""
    files = _files()
    for wheel in sorted(wheels.glob("*.whl")) if wheels else ():
        files[f"wheels/{wheel.name}"] = wheel.read_bytes()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        folder = tarfile.TarInfo("wheels")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _what_to_do(reason: str, lines: list[str], base: str, wheels: Path | None) -> str:
    """What is wrong and what helps, then the end of the build's output."""
    reason = reason.rstrip(".")
    if not lines:
        return f"{reason}."
    if not any(" RUN " in line for line in lines):
        return (
            f"The base image {base} cannot be used: {reason}. Pull or load it, or name another one that has "
            "Python 3.11 or newer with pip: --base IMAGE"
        )
    message = f"The build failed: {reason}."
    if any("CERTIFICATE_VERIFY_FAILED" in line for line in lines):
        message += (
            " pip does not trust what stands between it and its index: build on an image that has the certificate, and "
            "name the file in it: --build-arg PIP_CERT=/etc/ssl/certs/ca-certificates.crt"
        )
    elif any("No matching distribution" in line for line in lines):
        pinned = " ".join(requirements())
        message += (
            f" Complete the folder: pip download --only-binary=:all: --dest {wheels} {pinned}"
            if wheels
            else f" Where pip reaches no index: --network host; or --wheels DIR, after pip download --dest DIR {pinned}"
        )
    return "\n".join([message, *(f"  {line}" for line in lines)])
