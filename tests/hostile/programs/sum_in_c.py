"""Hang in one call of a builtin."""


def handle(inputs, context):
    return sum(range(10**12))
