"""End the process by abort."""

import os


def handle(inputs, context):
    os.abort()
