"""ImageStore: the images that sandboxes start from, pulled once when the engine lacks them."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import structlog

from uhlp.backoff import backoff_s
from uhlp.clock import Clock
from uhlp.errors import EngineRefused, ImageUnavailable, ShuttingDown, UhlpError
from uhlp.models.definition import RUNNER_IMAGE
from uhlp.models.image_name import DOCKER_HUB, ImageReference
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.drivers.docker import build
from uhlp.sandbox.drivers.docker.engine import Engine
from uhlp.sandbox.drivers.docker.image_facts import ImageFacts
from uhlp.secret_references import SecretReader, resolve

_log = structlog.get_logger(__name__)
_NOT_FOUND = 404
_REPORT_EVERY_S = 5.0
_REASON_CHARACTERS = 500
_REFUSED_LOGIN = re.compile(r"unauthorized|denied|no basic auth credentials|authentication required", re.IGNORECASE)
_UNKNOWN_NAME = re.compile(r"manifest unknown|not found|manifest for|invalid reference", re.IGNORECASE)


@dataclass(slots=True)
class _Pull:
    """One image that the engine lacks: being pulled, or waiting until it may be asked for again."""

    image: str
    task: asyncio.Task[None] | None = None
    failures: int = 0
    error: UhlpError | None = None
    retry_at_s: float = 0.0
    layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    reported_s: float = 0.0

    def hear(self, event: Mapping[str, Any]) -> None:
        """One line of the engine's progress: bytes by layer."""
        layer, detail = event.get("id"), event.get("progressDetail") or {}
        if not isinstance(layer, str):
            return
        if event.get("status") == "Downloading" and detail.get("total"):
            self.layers[layer] = (int(detail.get("current") or 0), int(detail["total"]))
        elif event.get("status") in ("Download complete", "Pull complete") and layer in self.layers:
            self.layers[layer] = (self.layers[layer][1],) * 2

    @property
    def bytes_now(self) -> int:
        return sum(current for current, _ in self.layers.values())

    @property
    def bytes_known(self) -> int:
        """Of the layers that have begun; grows while others wait."""
        return sum(total for _, total in self.layers.values())


class ImageStore:
    """Asks the engine for images, and the engine's registries where it lacks one.

    A pull goes on when those who wait for it give up; `close` ends it.
    """

    def __init__(self, *, engine: Engine, config: SandboxSettings, clock: Clock, read_secret: SecretReader) -> None:
        self._engine = engine
        self._config = config
        self._clock = clock
        self._read_secret = read_secret
        self._present: dict[str, ImageFacts] = {}
        self._pulls: dict[str, _Pull] = {}

    async def ensure(self, image: str) -> ImageFacts:
        """The facts of an image that the engine has, pulled first where it lacks it.

        Raises ImageUnavailable with the reason, what to do and when to ask again; EngineUnavailable, EngineRefused.
        """
        reference = _reference(image)
        self._check_allowed(image, reference)
        facts = await self._inspect(image)
        if facts is None:
            if reference.repository == RUNNER_IMAGE:
                raise ImageUnavailable(
                    f"The Docker engine at {self._engine.url} has no image {image}. Build it: uhlp sandbox build-image"
                )
            self._check_registry(image, reference)
            await self._pulled(image)
            facts = self._present.get(image)
        if facts is None:
            raise ImageUnavailable(f"The image {image} was pulled and is gone again.")
        if facts.runner_version not in (None, build.runner_version()):
            raise ImageUnavailable(
                f"The image {image} holds runner {facts.runner_version}; this server speaks with runner "
                f"{build.runner_version()}. Build it again: uhlp sandbox build-image"
            )
        return facts

    def status(self) -> list[dict[str, Any]]:
        """Every image that was asked for, by name: `{image, state: present|pulling|failed, …}`."""
        return [dict(self._status_of(image)) for image in sorted({*self._present, *self._pulls})]

    async def close(self) -> None:
        """End what is being pulled."""
        for pull in list(self._pulls.values()):
            if pull.task is not None:
                pull.error = ShuttingDown()
                pull.task.cancel()
                await asyncio.wait([pull.task])

    def _check_allowed(self, image: str, reference: ImageReference) -> None:
        patterns = self._config.docker.image_allow
        if not patterns or reference.repository == RUNNER_IMAGE:
            return
        if not any(fnmatchcase(name, pattern) for name in reference.names() for pattern in patterns):
            raise ImageUnavailable(f"The image {image} is none of those that sandbox.docker.image_allow names.")

    def _check_registry(self, image: str, reference: ImageReference) -> None:
        docker = self._config.docker
        if not docker.image_allow and reference.registry not in (DOCKER_HUB, *docker.registries):
            raise ImageUnavailable(
                f"The engine has no image {image}, and {reference.registry} is no registry to pull from: name it in "
                "sandbox.docker.registries, or the image in sandbox.docker.image_allow."
            )

    async def _inspect(self, image: str) -> ImageFacts | None:
        try:
            async with self._engine.asking(f"for the image {image}") as docker:
                found = await docker.images.inspect(image)
            facts = ImageFacts.of(found)
        except EngineRefused as refusal:
            if refusal.engine_status != _NOT_FOUND:
                raise
            self._present.pop(image, None)
            return None
        known = {*(found.get("RepoTags") or ()), *(found.get("RepoDigests") or ())}
        if _reference(image).names()[0] not in known:  # the engine has taken the name for the beginning of an id
            self._present.pop(image, None)
            return None
        if facts.is_stale and self._present.get(image) != facts:
            _log.warning("runner_image_stale", image=image, rebuild="uhlp sandbox build-image")
        self._present[image] = facts
        self._pulls.pop(image, None)
        return facts

    async def _pulled(self, image: str) -> None:
        """Wait for the one pull of this image; raises what it failed with, without asking a registry too early."""
        pull = self._pulls.setdefault(image, _Pull(image))
        if pull.task is None and self._clock.monotonic() >= pull.retry_at_s:
            pull.task = asyncio.create_task(self._pull(pull))
        if pull.task is not None:
            await asyncio.wait([pull.task])  # it goes on when this caller gives up
        if pull.error is not None:
            raise type(pull.error)(
                pull.error.message, details=pull.error.details, retry_after_s=self._waits_s(pull)
            ) from None

    async def _pull(self, pull: _Pull) -> None:
        """Ends with the image on the engine or `pull.error` set."""
        began_s = pull.reported_s = self._clock.monotonic()
        pull.error, pull.layers = None, {}
        _log.info("image_pull_started", image=pull.image)
        try:
            await self._ask_registry(pull)
            if await self._inspect(pull.image) is None:
                raise ImageUnavailable(f"The Docker engine ended the pull of {pull.image} without the image.")
        except UhlpError as error:
            config, pull.error = self._config, error
            pull.failures += 1
            wait_s = backoff_s(pull.failures, first_s=config.backoff_initial_s, longest_s=config.backoff_max_s)
            pull.retry_at_s = self._clock.monotonic() + wait_s
            _log.warning("image_pull_failed", image=pull.image, reason=error.message, retry_after_s=wait_s)
        else:
            took_s = round(self._clock.monotonic() - began_s, 1)
            _log.info("image_pulled", image=pull.image, bytes=pull.bytes_known, s=took_s)
        finally:
            pull.task = None

    async def _ask_registry(self, pull: _Pull) -> None:
        image, limit_s = pull.image, self._config.docker.pull_timeout_s
        login = await self._login(image)
        reference = _reference(image)
        name = reference.names()[1] if login and reference.registry == DOCKER_HUB else image
        try:
            async with asyncio.timeout(limit_s), self._engine.asking(f"to pull {image}", None) as docker:
                async for event in docker.images.pull(name, auth=login, stream=True):
                    pull.hear(event)
                    self._report(pull)
        except TimeoutError:
            raise ImageUnavailable(
                f"The image {image} was not pulled within {limit_s:g} s (sandbox.docker.pull_timeout_s)."
            ) from None
        except EngineRefused as refusal:
            reason = refusal.message[:_REASON_CHARACTERS].rstrip(".")
            raise ImageUnavailable(f"{reason}. {_advice(reason, image, login)}") from None

    async def _login(self, image: str) -> dict[str, str] | None:
        registry = _reference(image).registry
        login = self._config.docker.registries.get(registry)
        if login is None:
            return None
        reference = login.password.get_secret_value()
        password = await asyncio.to_thread(resolve, reference, self._read_secret)
        if not password:
            raise ImageUnavailable(
                f"The image {image} cannot be pulled: the password of {login.username} at {registry} "
                f"(sandbox.docker.registries) is a secret that is not there."
            )
        return {"username": login.username, "password": password}

    def _report(self, pull: _Pull) -> None:
        now_s = self._clock.monotonic()
        if now_s - pull.reported_s >= _REPORT_EVERY_S:
            pull.reported_s = now_s
            _log.info("image_pulling", image=pull.image, bytes=pull.bytes_now, of_bytes=pull.bytes_known)

    def _waits_s(self, pull: _Pull) -> float:
        return max(0.0, pull.retry_at_s - self._clock.monotonic())

    def _status_of(self, image: str) -> Iterator[tuple[str, Any]]:
        yield "image", image
        pull, facts = self._pulls.get(image), self._present.get(image)
        if pull is None and facts is not None:
            yield from (("state", "present"), ("imageId", facts.image_id), ("digest", facts.digest))
            yield from (("runner", facts.runner_version), ("isStale", facts.is_stale))
        elif pull is not None and pull.task is not None:
            percent = round(100 * pull.bytes_now / pull.bytes_known) if pull.bytes_known else 0
            yield from (("state", "pulling"), ("bytes", pull.bytes_now), ("progressPercent", percent))
        elif pull is not None and pull.error is not None:
            yield from (("state", "failed"), ("error", pull.error.message), ("failures", pull.failures))
            yield "retryAfterS", round(self._waits_s(pull), 1)


def _reference(image: str) -> ImageReference:
    try:
        return ImageReference.parse(image)
    except ValueError as error:
        raise ImageUnavailable(str(error)) from error


def _advice(reason: str, image: str, login: Mapping[str, str] | None) -> str:
    registry = _reference(image).registry
    if _REFUSED_LOGIN.search(reason):
        if login:
            return f"Check the login of {login['username']} at {registry} in sandbox.docker.registries, and its rights."
        return f"Check the name; where {registry} wants a login, name one in sandbox.docker.registries."
    if _UNKNOWN_NAME.search(reason):
        return "Check its name and tag."
    return f"Check that the engine reaches {registry}; it is asked again."
