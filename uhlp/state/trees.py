"""Git trees: many files changed at once, and read back whole."""

from collections.abc import Callable, Iterator, Mapping

import pygit2
from pygit2.enums import FileMode

from uhlp.errors import Conflict, DefinitionFileNotFound, DefinitionInvalid, ValidationFailed
from uhlp.state.paths import check_path

REGULAR_FILES = (FileMode.BLOB, FileMode.BLOB_EXECUTABLE)


def edit_tree(
    repository: pygit2.Repository,
    base: pygit2.Tree | None,
    changes: Mapping[str, bytes | None],
    written: list[pygit2.Oid],
) -> pygit2.Oid:
    """The id of `base` with `changes` applied (None deletes).

    Only directories on the way to a change are rewritten, and a directory left empty goes. Every object that was
    written is added to `written`.
    """
    tree = _edited(repository, base, changes, written, at="").write()
    written.append(tree)
    return tree


def _edited(
    repository: pygit2.Repository,
    base: pygit2.Tree | None,
    changes: Mapping[str, bytes | None],
    written: list[pygit2.Oid],
    *,
    at: str,
) -> pygit2.TreeBuilder:
    builder = repository.TreeBuilder(base) if base is not None else repository.TreeBuilder()
    folders: dict[str, dict[str, bytes | None]] = {}
    for path, content in changes.items():
        name, _, rest = path.partition("/")
        if rest:
            folders.setdefault(name, {})[rest] = content
            continue
        present = builder.get(name)
        if isinstance(present, pygit2.Tree) or any(other.startswith(f"{path}/") for other in changes):
            raise Conflict(f"{at}{name} is a directory")
        if content is not None:
            blob = repository.create_blob(content)
            written.append(blob)
            builder.insert(name, blob, FileMode.BLOB)
        elif present is None:
            raise DefinitionFileNotFound(f"there is no file {at}{name}", details={"path": f"{at}{name}"})
        else:
            builder.remove(name)
    for name, inside in folders.items():
        present = builder.get(name)
        if present is not None and not isinstance(present, pygit2.Tree):
            raise Conflict(f"{at}{name} is a file")
        subtree = _edited(repository, present, inside, written, at=f"{at}{name}/")
        if len(subtree):
            tree = subtree.write()
            written.append(tree)
            builder.insert(name, tree, FileMode.TREE)
        elif present is not None:
            builder.remove(name)
    return builder


def none_left_out(folder: str) -> bool:
    """Every folder is read."""
    return False


def walk(
    tree: pygit2.Tree, at: str = "", without: Callable[[str], bool] = none_left_out
) -> Iterator[tuple[str, pygit2.Object]]:
    """Every entry below `tree` with its path, directories before what is in them; nothing of folders `without`."""
    for entry in tree:
        path = f"{at}{entry.name}"
        yield path, entry
        if isinstance(entry, pygit2.Tree) and not without(path):
            yield from walk(entry, f"{path}/", without)


def file_bytes(entry: pygit2.Object, path: str) -> bytes:
    """The content of a regular file; symlinks and submodules are refused."""
    if isinstance(entry, pygit2.Blob) and entry.filemode in REGULAR_FILES:
        return bytes(entry.data)
    raise _invalid(path, "only regular files are allowed, no symlinks and no submodules")


def read_files(tree: pygit2.Tree, without: Callable[[str], bool] = none_left_out) -> dict[str, bytes]:
    """Every file below `tree` by its path, but for those in folders `without`; DefinitionInvalid for what git took but
    a definition may not hold."""
    found = walk(tree, without=without)
    return {_checked(path): file_bytes(entry, path) for path, entry in found if not isinstance(entry, pygit2.Tree)}


def new_objects(tree: pygit2.Tree, before: pygit2.Tree | None) -> Iterator[pygit2.Oid]:
    """The trees and files below `tree`, itself included, that do not stand at the same place in `before`."""
    if before is not None and tree.id == before.id:
        return
    yield tree.id
    for entry in tree:
        name = entry.name or ""
        present = before[name] if before is not None and name in before else None
        if isinstance(entry, pygit2.Tree):
            yield from new_objects(entry, present if isinstance(present, pygit2.Tree) else None)
        elif present is None or present.id != entry.id:
            yield entry.id


def printable(path: str) -> str:
    """A path as it may be shown: bytes that are no UTF-8 become replacement characters."""
    return path.encode(errors="surrogateescape").decode(errors="replace")


def _checked(path: str) -> str:
    try:
        return check_path(path)
    except ValidationFailed as error:
        raise _invalid(printable(path), printable(error.message)) from error


def _invalid(path: str, message: str) -> DefinitionInvalid:
    return DefinitionInvalid(
        f"{path}: {message}", details={"problems": [{"file": path, "path": "", "message": message}]}
    )
