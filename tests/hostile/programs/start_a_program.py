"""Start another program in every way; answers with those that worked."""

import os
import subprocess
import sys


def handle(inputs, context):
    done = []
    ways = (
        lambda: subprocess.run([sys.executable, "-c", "pass"]),
        lambda: os.execv(sys.executable, ["python"]),
        lambda: os.posix_spawn(sys.executable, ["python"], {}),
    )
    for number, way in enumerate(ways):
        try:
            way()
            done.append(number)
        except OSError:
            continue
    if os.system("true") == 0:
        done.append("shell")
    return done
