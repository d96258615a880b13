"""Start threads without end."""

import threading
import time


def handle(inputs, context):
    while True:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
