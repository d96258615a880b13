"""Answer with more than may be answered."""


def handle(inputs, context):
    return ["x" * 100_000] * 1_000
