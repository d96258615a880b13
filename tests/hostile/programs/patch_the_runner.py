"""Make the runner answer in another request's name."""

import sys

from uhlp_runner import worker


def handle(inputs, context):
    finish = worker.Worker._finish

    def lie(self, rpc_id, request_id, answer, metrics, **named):
        finish(self, rpc_id, "another request", answer, metrics, **named)

    worker.Worker._finish = lie
    sys.modules.clear()
    return "patched"
