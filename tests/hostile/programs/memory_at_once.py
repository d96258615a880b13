"""Ask for a tebibyte."""


def handle(inputs, context):
    return len(bytearray(1 << 40))
