"""The runner's home: a folder with the runner package and its dependencies, and nothing else.

It is named by the hash of its content and assembled from the server's own installation, without pip or network.
"""

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from uhlp.state.durable import sync_path

DEPENDENCIES = ("orjson", "jinja2", "pytest")
RUNNER_SOURCE = Path(__file__).parents[2] / "runner"
PACKAGE = "uhlp_runner"


def assemble(data_dir: Path) -> Path:
    """`<data_dir>/runner/<hash>`, made when missing; homes of other hashes are removed. Blocks for a second or two."""
    installed = list(distributions())
    root = data_dir / "runner"
    home = root / _content_hash(installed)
    if not home.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".building-", dir=root))
        _copy_runner(building / PACKAGE)
        for distribution in installed:
            _copy(distribution, building)
        command = [sys.executable, "-I", "-m", "compileall", "-q", str(building)]
        subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - a file that does not compile stays source
        building.chmod(0o755)
        for path in (building, *building.rglob("*")):
            sync_path(path)  # when the power fails, what has its name without its content would be taken for a home
        building.rename(home)
    for other in root.iterdir():
        if other != home:
            shutil.rmtree(other, ignore_errors=True)
    return home


def distributions() -> Iterator[importlib.metadata.Distribution]:
    """The dependencies and theirs, each once, as this environment's markers say."""
    waiting, seen = list(DEPENDENCIES), set()
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        distribution = importlib.metadata.distribution(name)
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
        yield distribution


def _content_hash(installed: list[importlib.metadata.Distribution]) -> str:
    digest = hashlib.sha256(f"{sys.implementation.cache_tag} {sys.version}".encode())
    for name, version in sorted((d.metadata["Name"], d.version) for d in installed):
        digest.update(f"{name}=={version}\n".encode())
    for source in sorted(RUNNER_SOURCE.glob("*.py")):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def _copy_runner(target: Path) -> None:
    target.mkdir()
    for source in RUNNER_SOURCE.glob("*.py"):
        shutil.copy2(source, target)


def _copy(distribution: importlib.metadata.Distribution, home: Path) -> None:
    """Its importable files (no scripts, no tests of its own), with their times, so that compiled files stay valid."""
    for file in distribution.files or ():
        if ".." in file.parts or file.is_absolute():
            continue
        source = Path(str(distribution.locate_file(file)))
        if source.is_file():
            target = home / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
