"""Images made of this machine's own files, for engines that reach no registry."""

import base64
import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO

import httpx

from uhlp.sandbox.drivers import runner_home
from uhlp.sandbox.drivers.interpreter import Interpreter

_NOT_IN_IMAGES = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "site-packages", "dist-packages"}


def python_image(
    engine_url: str,
    *,
    programs: Sequence[Path] = (),
    files: Sequence[tuple[Path, Path]] = (),
    extensions: Sequence[Path] = (),
) -> str:
    """`uhlp-test-base:<hash>`: this machine's Python as python3, with the pip of the tests' environment; beside it
    `programs`, `files` as (here, inside), and what `extensions`, which come later, need of this machine."""
    interpreter = Interpreter.own()
    pip = importlib.metadata.distribution("pip")
    library = Path(_of_base("import sysconfig; print(sysconfig.get_path('stdlib'))"))
    packages = Path(_of_base("import site; print(site.getsitepackages()[0])"))
    facts = f"3 {sys.version} {interpreter.executable} {library} {packages} {pip.version}"
    facts += "".join(f" {one}" for one in (*programs, *files))
    name = f"uhlp-test-base:{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
    tree = [*files, *((file, file) for file in _files_below(library))]
    for file in pip.files or ():
        if ".." not in file.parts:
            tree.append((Path(str(pip.locate_file(file))), packages / file))
    return image_of(
        engine_url,
        name,
        executables={one: one for one in (interpreter.executable, *programs)},
        tree=tree,
        extensions=extensions,
        links={"/usr/bin/python3": interpreter.executable},
    )


def image_of(
    engine_url: str,
    name: str,
    *,
    executables: Mapping[Path, Path] = MappingProxyType({}),
    tree: Sequence[tuple[Path, Path]] = (),
    extensions: Sequence[Path] = (),
    links: dict[str, Path] | None = None,
    changes: Sequence[str] = (),
) -> str:
    """The image `name`, imported when the engine lacks it: executables as {here: inside}, files as (here, inside), the
    shared libraries of both and of `extensions`, links as {inside: leads to}. `changes` are Dockerfile lines, such as
    EXPOSE 8080."""
    with http_client(engine_url) as engine:
        if engine.get(f"/images/{name}/json").status_code == 200:
            return name
        copied = [*executables.items(), *tree]
        objects = [*executables, *extensions]
        objects += [here for here, _ in copied if here.suffix == ".so" or ".so." in here.name]
        copied += [(file, file) for file in sorted(_libraries(objects))]
        with tempfile.TemporaryFile() as file:
            _write_tar(file, copied, links or {})
            file.seek(0)
            repository, _, tag = name.rpartition(":")
            query = {"fromSrc": "-", "repo": repository, "tag": tag, "changes": list(changes)}
            answer = engine.post("/images/create", params=query, content=iter(lambda: file.read(1 << 20), b""))
        assert answer.status_code == 200, answer.text
        assert '"error"' not in answer.text, answer.text
    return name


def copy_image(name: str, from_url: str, to_url: str) -> None:
    """Bring an image from one engine to another, with all its tags gone but this one: seconds."""
    with (
        http_client(from_url) as source,
        http_client(to_url) as target,
        source.stream("GET", f"/images/{name}/get") as saved,
    ):
        answer = target.post("/images/load", content=saved.iter_raw(), headers={"Content-Type": "application/x-tar"})
        answer.raise_for_status()
        assert "Loaded image" in answer.text, answer.text


def http_client(engine_url: str) -> httpx.Client:
    """Speaks to an engine's API, with no version named; never over TLS, whose certificates take 17 ms to load."""
    if path := engine_url.removeprefix("unix://") if engine_url.startswith("unix://") else "":
        return httpx.Client(
            transport=httpx.HTTPTransport(uds=path, verify=False), base_url="http://engine", timeout=120
        )
    return httpx.Client(base_url=engine_url.replace("tcp://", "http://"), timeout=120, verify=False)


def installed_wheels(
    folder: Path, distributions: Callable[[], Iterable[importlib.metadata.Distribution]] = runner_home.distributions
) -> Path:
    """Distributions, the runner's dependencies unless others are given, packed as wheels again from where they are
    installed: half a second, no network."""
    for distribution in distributions():
        described = distribution.read_text("WHEEL") or ""
        tags = [line.removeprefix("Tag: ") for line in described.splitlines() if line.startswith("Tag: ")]
        parts = [tag.split("-") for tag in tags]
        tag = "-".join(".".join(sorted({part[at] for part in parts})) for at in range(3))
        name = distribution.metadata["Name"].replace("-", "_")
        _write_wheel(distribution, folder / f"{name}-{distribution.version}-{tag}.whl")
    return folder


def _write_wheel(distribution: importlib.metadata.Distribution, target: Path) -> None:
    record, place = "", ""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as wheel:
        for file in distribution.files or ():
            if (
                ".." in file.parts
                or file.suffix == ".pyc"
                or file.name in ("INSTALLER", "REQUESTED", "direct_url.json")
            ):
                continue
            if file.name == "RECORD":
                place = str(file)
                continue
            content = Path(str(distribution.locate_file(file))).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record += f"{file},sha256={digest},{len(content)}\n"
            wheel.writestr(zipfile.ZipInfo(str(file)), content)
        wheel.writestr(zipfile.ZipInfo(place), record + f"{place},,\n")


def _of_base(code: str) -> str:
    """What the interpreter below the tests' environment prints."""
    line = [str(Interpreter.own().executable), "-I", "-c", code]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


def _files_below(folder: Path) -> Iterator[Path]:
    """Files and links, without what no image needs; a folder's compiled files come along, so that it starts quickly."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - _NOT_IN_IMAGES)
        for name in sorted(names):
            if not name.endswith((".a", ".opt-1.pyc", ".opt-2.pyc")):
                yield Path(place, name)


def _libraries(objects: Sequence[Path]) -> set[Path]:
    """Shared libraries and loaders that the objects name, and those for looking up host names."""
    found: set[Path] = set()
    listed = subprocess.run(["ldd", *map(str, objects)], capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        path = line.split("=>")[-1].split("(")[0].strip()
        if path.startswith("/") and not path.endswith(":") and "/site-packages/" not in path:  # wheels bring theirs
            found.add(Path(path))
    for folder in {path.parent for path in found if path.name.startswith("libc.so")}:
        found.update(folder.glob("libnss_[df][ni]*.so.2"))
    return found


def _write_tar(file: IO[bytes], copied: Sequence[tuple[Path, Path]], links: dict[str, Path]) -> None:
    made: set[Path] = set()
    with tarfile.open(fileobj=file, mode="w") as tar:

        def make_folder(folder: Path, mode: int = 0o755) -> None:
            if folder not in made and folder != folder.parent:
                make_folder(folder.parent)
                made.add(folder)
                entry = tarfile.TarInfo(str(folder).lstrip("/"))
                entry.type, entry.mode = tarfile.DIRTYPE, mode
                tar.addfile(entry)

        make_folder(Path("/tmp"), 0o1777)
        for inside, here in {inside: here for here, inside in copied}.items():
            make_folder(inside.parent)
            entry, status = tarfile.TarInfo(str(inside).lstrip("/")), here.stat()  # of what a link leads to
            entry.size, entry.mtime = status.st_size, int(status.st_mtime)
            entry.mode = 0o755 if status.st_mode & 0o111 else 0o644
            with here.open("rb") as content:
                tar.addfile(entry, content)
        for link, target in links.items():
            if Path(link) != target:
                make_folder(Path(link).parent)
                entry = tarfile.TarInfo(link.lstrip("/"))
                entry.type, entry.linkname = tarfile.SYMTYPE, str(target)
                tar.addfile(entry)
