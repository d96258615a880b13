"""Look for the server's secrets: its environment, its data directory, the machine's files; answers with the finds."""

import os
import sys

PLACES = ("/etc/shadow", "/root", "/home", "/run/secrets", "/run/docker", "/work", "/proc/kcore", "/proc/kmsg")


def handle(inputs, context):
    found = [name for name, value in os.environ.items() if inputs["marker"] in value or "UHLP" in name]
    for place in (*inputs["paths"], *PLACES):
        try:
            if os.path.isdir(place):
                entries = [f"{place}/{name}" for name in os.listdir(place)]
                found += [entry for entry in entries if not f"{sys.base_prefix}/".startswith(f"{entry}/")]
            else:
                with open(place, errors="replace") as file:
                    file.read(1)
                found.append(place)
        except OSError:
            continue
    return found
