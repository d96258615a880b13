"""Send log frames of the call that runs, far more than anybody would keep."""

import sys


def handle(inputs, context):
    frame = sys._getframe()
    while "request_id" not in frame.f_locals or "self" not in frame.f_locals:
        frame = frame.f_back
    worker, request_id = frame.f_locals["self"], frame.f_locals["request_id"]
    for _ in range(100_000):
        worker._notify("log", {"requestId": request_id, "level": "info", "message": "x"})
