"""Let one file grow."""


def handle(inputs, context):
    with open("grows", "wb") as file:
        while True:
            file.write(b"x" * (1 << 20))
