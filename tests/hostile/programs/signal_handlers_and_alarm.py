"""Leave an alarm behind whose handler would run in the next call."""

import os
import signal


def ring(*_):
    os._exit(7)


def handle(inputs, context):
    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return "done"
