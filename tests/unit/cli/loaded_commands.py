"""Runs commands of `uhlp`, each in a process of its own, forked from this one, which has loaded their libraries.

    python loaded_commands.py SOCKET

To start Python and load libraries is nine tenths of what most commands take. Who connects sends a line of JSON,
`{"arguments", "folder", "environment", "out", "err"}` (the last two are files to write), and is sent the exit status.
This process ends with its standard input.
"""

import gc
import json
import os
import select
import socket
import sys
import time
from importlib import import_module
from typing import Any

from uhlp.cli import main

LIBRARIES = (
    "uhlp.cli.app", "httpx", "rich.markdown", "rich.progress", "rich.table", "typer._adapters", "typer.rich_utils",
)  # fmt: skip


def serve(place: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        print("ready", flush=True)
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    status = run(json.loads(connection.makefile().readline()))
                    connection.sendall(str(status).encode())
                    os._exit(0)
            reap()


def run(asked: dict[str, Any]) -> int:
    """The exit status of the command. Its own process ends as any does."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    for number, file in enumerate((os.devnull, asked["out"], asked["err"])):
        opened = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv = ["uhlp", *asked["arguments"]]
    main()
    sys.exit()


def reap() -> None:
    """Forget the processes that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


if __name__ == "__main__":
    for library in LIBRARIES:
        import_module(library)
    gc.freeze()
    serve(sys.argv[1])
