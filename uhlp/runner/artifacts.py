"""Code and templates by content: the host sends each once to a worker."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from . import RunnerError

CAPACITY = 256


@dataclass(frozen=True, slots=True)
class Artifact:
    """`path` is where the text lies in the definition repository: for tracebacks only."""

    sha256: str
    path: str
    text: str


class ArtifactMissing(RunnerError):
    """The worker does not hold this artifact (any more); the host sends it and repeats the call."""

    def __init__(self, sha256: str) -> None:
        super().__init__(sha256)
        self.sha256 = sha256


class WrongHash(RunnerError):
    """The text does not hash to its name."""


class ArtifactStore:
    """The last `CAPACITY` artifacts used."""

    def __init__(self) -> None:
        self._artifacts: OrderedDict[str, Artifact] = OrderedDict()

    def put(self, sha256: str, path: str, text: str) -> None:
        """Keep an artifact; raises WrongHash."""
        found = hashlib.sha256(text.encode()).hexdigest()
        if found != sha256:
            raise WrongHash(f"{path} hashes to {found}, not to {sha256}")
        self._artifacts[sha256] = Artifact(sha256, path, text)
        while len(self._artifacts) > CAPACITY:
            self._artifacts.popitem(last=False)

    def get(self, sha256: str) -> Artifact:
        """The artifact; raises ArtifactMissing."""
        artifact = self._artifacts.get(sha256)
        if artifact is None:
            raise ArtifactMissing(sha256)
        self._artifacts.move_to_end(sha256)
        return artifact
