"""Import what is the server's; answers with what is there."""

import importlib
import sys


def handle(inputs, context):
    found = []
    for name in ("uhlp", "uhlp.runner", "uhlp.main", "fastapi", "pygit2", "aiodocker", "redis", "pydantic", "pip"):
        try:
            importlib.import_module(name)
            found.append(name)
        except ImportError:
            continue
    return found + [path for path in sys.path if "site-packages" in path]
