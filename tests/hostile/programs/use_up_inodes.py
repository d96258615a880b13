"""Make empty files and a bottomless folder, and lock the way to them; answers whether it was stopped early."""

import os


def handle(inputs, context):
    made, own = 0, os.getcwd()
    try:
        for _ in range(1000):
            os.mkdir("deeper")
            os.chdir("deeper")
            made += 1
        for number in range(10**6):
            open(f"{own}/empty-{number}", "w").close()
            made += 1
    except OSError:
        os.chmod(".", 0)
        return made <= 4096
