"""Double a list until nothing is left, and go on after the first refusal."""


def handle(inputs, context):
    kept = ["x"]
    while True:
        try:
            kept += kept
        except MemoryError:
            kept.append(None)
