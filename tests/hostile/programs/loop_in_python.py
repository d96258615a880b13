"""Never return."""


def handle(inputs, context):
    while True:
        pass
