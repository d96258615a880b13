"""Answer with a generator that never ends."""


def handle(inputs, context):
    while True:
        yield 1
