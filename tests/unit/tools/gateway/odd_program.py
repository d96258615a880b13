"""An MCP server over standard input and output that misbehaves as its argument says. It runs in a sandbox."""

import json
import os
import sys

SCHEMA = {"type": "object"}


def answer(number: object, result: object) -> None:
    print(json.dumps({"jsonrpc": "2.0", "id": number, "result": result}), flush=True)


def main(habit: str) -> None:
    if habit == "ends at once":
        sys.exit(7)
    if habit == "is noisy":
        print("Starting up\n{]\n[1]\n{}" + "\n" * 1_000 + "{\n" * 1_000, flush=True)
        for number in range(1000):
            print(f"line {number} of {os.environ['CRM_TOKEN']}" + "x" * 1000, file=sys.stderr)
    for line in sys.stdin:
        if habit == "repeats everything":
            print(line, end="", flush=True)
            continue
        message = json.loads(line)
        method, number = message.get("method"), message.get("id")
        if method == "initialize":
            info = {"name": "odd", "version": "1"}
            answer(number, {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info})
        elif method == "tools/list":
            answer(number, {"tools": [{"name": "echo", "inputSchema": SCHEMA}]})
        elif method == "tools/call":
            if habit == "ends in a call":
                sys.exit(3)
            if habit == "tells too many things":
                answer(number, {"content": [{"type": "hologram"}] * 2_000})
                continue
            text = "x" * (5_000_000 if habit == "talks too much" else 10)
            answer(number, {"content": [{"type": "text", "text": text}]})
        elif number is not None:
            print(json.dumps({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "?"}}), flush=True)


main(sys.argv[1])
