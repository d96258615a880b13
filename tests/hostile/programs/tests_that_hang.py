"""As a test file: never come to an end."""

import threading


def test_hangs():
    threading.Event().wait()
