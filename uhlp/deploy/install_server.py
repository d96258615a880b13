"""A step of the Dockerfile: install the checkout around here into a folder, with the versions of its lock."""

import os
import subprocess
import sys


def main(target: str) -> None:
    extras = os.environ.get("EXTRAS", "")
    options = ["--disable-pip-version-check", "--root-user-action=ignore", "--no-cache-dir", "--target", target]
    line = [sys.executable, "-m", "pip", "install", *options, "--constraint", "requirements.txt", f".[{extras}]"]
    subprocess.run(line, check=True)  # noqa: S603  the words are the Dockerfile's


if __name__ == "__main__":
    main(sys.argv[1])
