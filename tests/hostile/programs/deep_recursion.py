"""Call oneself without end, with and without the interpreter's limit."""


def deeper(level):
    return deeper(level + 1)


def handle(inputs, context):
    return deeper(0)
