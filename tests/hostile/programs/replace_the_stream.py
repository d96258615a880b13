"""Put something else in the place of every socket."""

import os


def handle(inputs, context):
    read, write = os.pipe()
    for number in range(3, 64):
        if number not in (read, write):
            try:
                os.fstat(number)
                os.dup2(write, number)
            except OSError:
                continue
    return "honest"
