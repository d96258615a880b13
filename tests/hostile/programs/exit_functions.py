"""Leave functions behind that run when the process ends, and hang."""

import atexit
import threading


def hang():
    while True:
        pass


def handle(inputs, context):
    atexit.register(hang)
    threading.Thread(target=hang).start()
    return "done"
