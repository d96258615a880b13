"""Fork without end."""

import os


def handle(inputs, context):
    while True:
        os.fork()
