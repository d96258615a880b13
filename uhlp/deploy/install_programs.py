"""A step of the Dockerfile: `program=package` words; packages whose program is missing come through apt-get."""

import os
import shutil
import subprocess
import sys


def main(words: list[str]) -> None:
    missing = [package for program, package in (word.split("=") for word in words) if shutil.which(program) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None:
        sys.exit(f"The base image lacks {' '.join(missing)}, and has no apt-get to bring them.")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for line in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
    ):
        subprocess.run(line, check=True, env=environment)  # noqa: S603  the words are the Dockerfile's
    shutil.rmtree("/var/lib/apt/lists", ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
