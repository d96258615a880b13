"""Raise with words of many megabytes, made of other exceptions."""


def handle(inputs, context):
    try:
        raise ValueError("x" * 10_000_000)
    except ValueError as error:
        raise KeyError("\ud800" * 10_000_000) from error
