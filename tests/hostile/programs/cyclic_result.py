"""Answer with a list that holds itself."""


def handle(inputs, context):
    value = []
    value.append(value)
    return value
