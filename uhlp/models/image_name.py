"""Names of container images, as the engines' reference grammar has them (distribution/reference)."""

import re
from typing import Annotated, NamedTuple

from pydantic import Field

DOCKER_HUB = "docker.io"

_HOST = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*(:[0-9]+)?"
_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
IMAGE_SHAPE = rf"^({_HOST}/)?{_PART}(/{_PART})*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?(@sha256:[0-9a-f]{{64}})?$"
ImageName = Annotated[str, Field(pattern=IMAGE_SHAPE, max_length=384)]
"""`[registry[:port]/]path[:tag][@sha256:…]`; never an image's id."""

_SHAPE = re.compile(IMAGE_SHAPE)


class ImageReference(NamedTuple):
    """A name in full: `registry` is docker.io and `tag` latest where the name has none."""

    registry: str
    path: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, name: str) -> "ImageReference":
        """Raises ValueError for what is no name."""
        if len(name) > 384 or not _SHAPE.fullmatch(name):
            raise ValueError(f"{name[:100]!r} is no name of an image.")
        rest, _, digest = name.partition("@")
        host, slash, path = rest.partition("/")
        if not slash or not ("." in host or ":" in host or host == "localhost"):
            host, path = DOCKER_HUB, rest
        path, _, tag = path.partition(":")
        if host == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        return cls(host, path, tag or ("" if digest else "latest"), digest)

    @property
    def repository(self) -> str:
        """As engines show it: without docker.io and its library."""
        return self.path.removeprefix("library/") if self.registry == DOCKER_HUB else f"{self.registry}/{self.path}"

    def names(self) -> tuple[str, str]:
        """With tag or digest: as engines show it, and in full."""
        ending = f"@{self.digest}" if self.digest else f":{self.tag}"
        return f"{self.repository}{ending}", f"{self.registry}/{self.path}{ending}"
