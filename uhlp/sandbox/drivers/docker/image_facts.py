"""ImageFacts: what an image says of itself: whose it is, where it answers, which folders it wants to write."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uhlp.errors import ImageUnavailable
from uhlp.sandbox.drivers.docker import build

PORT_LABEL = "uhlp.port"
DEFAULT_HTTP_PORT = 8080

_MOST_VOLUMES = 16
_FOLDER = re.compile(r"(/(?!\.\.?(/|$))[^/\x00-\x1f]+)+/?")


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image on the engine says of itself."""

    image_id: str
    digest: str | None
    """What its registry knows it by; None where it was built."""

    runner_version: str | None
    """Of our runner inside; None in an image that speaks HTTP."""

    runner_content: str | None
    http_port: int
    """Where it answers `POST /execute` when it holds no runner: its label `uhlp.port`, else the lowest port that it
    exposes, else 8080."""

    volumes: tuple[str, ...] = ()
    """Folders that it declares as volumes (`VOLUME`)."""

    @property
    def is_runner(self) -> bool:
        return self.runner_version is not None

    @property
    def is_stale(self) -> bool:
        """Whether it holds another runner than this installation would build."""
        return self.runner_content is not None and self.runner_content != build.runner_content()

    @classmethod
    def of(cls, image: Mapping[str, Any]) -> "ImageFacts":
        """From what the engine says of it. Raises ImageUnavailable for what no sandbox can start from."""
        config = image.get("Config") or {}
        labels = config.get("Labels") or {}
        digests = image.get("RepoDigests") or [""]
        exposed = sorted(int(port.split("/")[0]) for port in config.get("ExposedPorts") or {} if port.endswith("/tcp"))
        stated = labels.get(PORT_LABEL, "")
        volumes = tuple(sorted({folder.rstrip("/") or "/" for folder in config.get("Volumes") or ()}))
        if len(volumes) > _MOST_VOLUMES or not all(_FOLDER.fullmatch(folder) for folder in volumes):
            raise ImageUnavailable(
                f"The image declares {len(volumes)} volumes, such as {volumes[0][:100]!r}: sandboxes take at most "
                f"{_MOST_VOLUMES}, each a plain absolute path. Build it without those VOLUME lines."
            )
        return cls(
            image_id=image["Id"],
            digest=digests[0].partition("@")[2] or None,
            runner_version=labels.get(build.VERSION_LABEL),
            runner_content=labels.get(build.CONTENT_LABEL),
            volumes=volumes,
            http_port=int(stated) if stated.isdecimal() else (exposed or [DEFAULT_HTTP_PORT])[0],
        )
