"""The demo's applications as files, the way `uhlp apply` takes them from a folder."""

from pathlib import Path

APPLICATIONS = {"support-desk": "support_desk", "banking77": "banking77"}
"""The folder of each application, by its id."""


def definition_folder(app_id: str) -> Path:
    """Where the definition of a demo application stands. Raises KeyError for an application that is none of them."""
    return Path(__file__).with_name(APPLICATIONS[app_id])


def definition_files(app_id: str) -> dict[str, bytes]:
    """The files of its repository by path. Reads the disk: call it in a thread."""
    folder = definition_folder(app_id)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
