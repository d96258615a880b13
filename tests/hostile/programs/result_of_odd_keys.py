"""Answer with keys that are no text."""


def handle(inputs, context):
    return {1: "one", None: "none", (1, 2): "pair"}
