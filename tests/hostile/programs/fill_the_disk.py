"""Fill its own folder with bytes, and every other place; answers with what stopped it and where it could write."""

import os


def handle(inputs, context):
    places = []
    for place in (
        "/",
        "/tmp",
        "/usr",
        "/dev",
        "/dev/shm",
        "/runner",
        "/home",
        "/var",
        "/run",
        "/proc",
        os.path.expanduser("~"),
    ):
        try:
            open(f"{place}/x", "w").close()
            places.append(place)
        except OSError:
            continue
    written = 0
    try:
        for number in range(9999):
            with open(f"fill-{number}", "wb") as file:
                written += file.write(b"x" * (8 << 20))
    except OSError as error:
        return [places, written <= 64 << 20, error.strerror]
