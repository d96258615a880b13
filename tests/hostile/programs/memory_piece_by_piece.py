"""Take memory a megabyte at a time."""


def handle(inputs, context):
    kept = []
    while True:
        kept.append(bytearray(1 << 20))
