"""Empty /tmp behind a worker that has ended: its own folder, and whatever it left beside it.

Run outside a sandbox by mistake it must do no harm: it removes nothing as user 0, nothing of another user, and nothing
in a folder that other users share.
"""

import os
import stat
from collections.abc import Container

from .walls import TMP_BYTES, TMP_FILES


def sweep(folder: str, keep: Container[str]) -> None:
    """Remove every entry of this user in `folder` that is not kept, where `may_sweep` says so.

    Folders are flattened rather than descended, so that neither depth nor length of a path can stop it.
    """
    if not may_sweep(folder):
        return
    number = 0
    waiting = [name for name in os.listdir(folder) if name not in keep]  # noqa: PTH208
    while waiting:
        path = f"{folder}/{waiting.pop()}"
        try:
            if not _is_own_folder(path):
                _unlink_own(path)
                continue
            os.chmod(path, 0o700)  # noqa: PTH101
            for name in os.listdir(path):  # noqa: PTH208
                number += 1
                lifted = f".swept-{number}"
                if _is_own_folder(f"{path}/{name}"):
                    os.chmod(f"{path}/{name}", 0o700)  # noqa: PTH101 - a folder that is read-only cannot be moved
                os.rename(f"{path}/{name}", f"{folder}/{lifted}")  # noqa: PTH104
                waiting.append(lifted)
            os.rmdir(path)  # noqa: PTH106
        except OSError:
            continue  # a neighbour of the same sandbox changed it meanwhile; the next sweep sees it again


def may_sweep(folder: str) -> bool:
    """True for a user of no rights, in a folder that is its own, or in a file system as small as a sandbox's /tmp."""
    if 0 in (os.getuid(), os.geteuid()):
        return False
    if _is_own_folder(folder):
        return True
    room = os.statvfs(folder)
    is_small = room.f_blocks * room.f_frsize <= TMP_BYTES and 0 < room.f_files <= TMP_FILES
    return is_small and os.lstat(folder).st_dev != os.lstat("/").st_dev


def _is_own_folder(path: str) -> bool:
    about = os.lstat(path)
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid()


def _unlink_own(path: str) -> None:
    if os.lstat(path).st_uid == os.geteuid():
        os.unlink(path)  # noqa: PTH108
