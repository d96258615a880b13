"""Empty /tmp behind a worker that has ended: its own folder, and whatever it left beside it."""

import os
import stat
from collections.abc import Container


def sweep(folder: str, keep: Container[str]) -> None:
    """Remove every entry of `folder` that is not kept.

    Folders are flattened rather than descended, so that neither depth nor length of a path can stop it.
    """
    number = 0
    waiting = [name for name in os.listdir(folder) if name not in keep]  # noqa: PTH208
    while waiting:
        path = f"{folder}/{waiting.pop()}"
        try:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)  # noqa: PTH108
                continue
            os.chmod(path, 0o700)  # noqa: PTH101
            for name in os.listdir(path):  # noqa: PTH208
                number += 1
                lifted = f".swept-{number}"
                if stat.S_ISDIR(os.lstat(f"{path}/{name}").st_mode):
                    os.chmod(f"{path}/{name}", 0o700)  # noqa: PTH101 - a folder that is read-only cannot be moved
                os.rename(f"{path}/{name}", f"{folder}/{lifted}")  # noqa: PTH104
                waiting.append(lifted)
            os.rmdir(path)  # noqa: PTH106
        except OSError:
            continue  # a neighbour of the same sandbox changed it meanwhile; the next sweep sees it again
