"""Leave finalisers behind that hang and print, and turn the collector off."""

import gc


class Sticky:
    def __init__(self):
        self.itself = self

    def __del__(self):
        print("boo")
        while True:
            pass


def handle(inputs, context):
    gc.disable()
    Sticky()
    return "done"
