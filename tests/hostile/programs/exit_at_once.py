"""End the process with success."""

import os


def handle(inputs, context):
    os._exit(0)
