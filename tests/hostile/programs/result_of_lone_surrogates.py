"""Answer with text that has no bytes."""


def handle(inputs, context):
    return {"\ud800": "\udfff"}
