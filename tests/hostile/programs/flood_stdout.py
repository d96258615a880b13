"""Print fifty megabytes."""


def handle(inputs, context):
    for _ in range(50_000):
        print("x" * 1000)
    return "done"
