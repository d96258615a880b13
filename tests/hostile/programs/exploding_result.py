"""Answer with a small object that is huge when it is written."""


def handle(inputs, context):
    value = ["x"]
    for _ in range(40):
        value = [value] * 10
    return value
