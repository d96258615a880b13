"""Answer with a hundred thousand lists in each other."""


def handle(inputs, context):
    value = []
    for _ in range(100_000):
        value = [value]
    return value
