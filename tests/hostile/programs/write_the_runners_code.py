"""Change the code that the next worker would load; answers with the files that could be written."""

import os
import sys


def handle(inputs, context):
    found = []
    files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    for path in filter(os.path.isabs, files):
        folder = os.path.dirname(path)
        for change in (
            lambda path=path: open(path, "a").close(),
            lambda path=path: os.unlink(path),
            lambda folder=folder: open(f"{folder}/sitecustomize.py", "w").close(),
            lambda path=path: os.chmod(path, 0o666),
        ):
            try:
                change()
                found.append(path)
            except OSError:
                continue
    return found
