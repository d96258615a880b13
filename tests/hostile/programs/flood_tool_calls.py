"""Call tools without waiting for any; then answer. Nobody may have to answer more than a bounded number at once."""

import sys


def handle(inputs, context):
    frame = sys._getframe()
    while "request_id" not in frame.f_locals or "self" not in frame.f_locals:
        frame = frame.f_back
    worker, request_id = frame.f_locals["self"], frame.f_locals["request_id"]
    for number in range(5_000):
        params = {"requestId": request_id, "name": "wait", "arguments": {}}
        worker._frames.write({"jsonrpc": "2.0", "id": f"flood-{number}", "method": "tools/call", "params": params})
    return "done"
