"""Answer with what can be written but is deeper than anybody needs."""


def handle(inputs, context):
    value = 1
    for _ in range(200):
        value = [value]
    return value
