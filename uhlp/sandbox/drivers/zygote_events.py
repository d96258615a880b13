"""What a zygote says over its control stream, checked before the host uses it.

The zygote is ours where a driver started it from our own files. In a container it is whatever the image holds: anybody
can label an image as our runner's. The events are described in `runner/zygote.py`.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, get_args

import orjson

from uhlp.sandbox.driver import ExitReason

Event = dict[str, Any]

PACKET_BYTES = 64 * 1024
_MOST_BYTES = 1 << 50
_MOST_SECONDS = 1e12
_ID_CHARACTERS = 64
_TEXT_CHARACTERS = 500
_MOST_MISSING = 100
_MOST_NUMBER = 1 << 32
_REASONS = frozenset(get_args(ExitReason))


def read_event(packet: bytes) -> Event:
    """One event: known fields alone, each of its type and range.

    Raises ValueError for anything else: whoever sends that is not to be believed in anything.
    """
    if len(packet) > PACKET_BYTES:
        raise ValueError("a control packet is too large")
    message = orjson.loads(packet)
    if type(message) is not dict or type(message.get("event")) is not str:
        raise ValueError("a control packet is no event")
    fields = _KINDS.get(message["event"])
    if fields is None:
        raise ValueError("a control packet is an event of no known kind")
    event: Event = {"event": message["event"]}
    for name, read in fields.items():
        try:
            event[name] = read(message.get(name))
        except ValueError as error:
            raise ValueError(f"{name} of the event {message['event']} is {error}") from None
    return event


def read_hello(frame: bytes) -> dict[str, Any]:
    """A worker's first frame: what its runner says of itself. Raises ValueError for anything else."""
    message = orjson.loads(frame)
    if type(message) is not dict or message.get("method") != "hello" or type(message.get("params")) is not dict:
        raise ValueError("the first frame is no hello")
    hello: dict[str, Any] = message["params"]
    for name in ("runner", "python"):
        if type(hello.get(name)) is not str or len(hello[name]) > _ID_CHARACTERS:
            raise ValueError(f"the hello names no {name}")
    return hello


def _number(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"no number from {least} to {most}")
        return value

    return read


def _seconds(value: object) -> float:
    if type(value) not in (int, float) or not isfinite(value) or not 0 <= value <= _MOST_SECONDS:  # type: ignore[arg-type,operator]  # a number by now
        raise ValueError("no time in seconds")
    return float(value)  # type: ignore[arg-type]  # a number by now


def _worker_id(value: object) -> str:
    if type(value) is not str or len(value) > _ID_CHARACTERS:
        raise ValueError("no name of a worker")
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("no text")
    return value[:_TEXT_CHARACTERS]


def _reason(value: object) -> str:
    if type(value) is not str or value not in _REASONS:
        raise ValueError("no reason that there is")
    return value


def _walls(value: object) -> dict[str, Any]:
    seen = ("system_calls", "private_tmp", "own_files")
    if type(value) is not dict or not {type(value.get(name)) for name in seen} <= {bool}:
        raise ValueError("no report of walls")
    missing = value.get("missing")
    if type(missing) is not list or len(missing) > _MOST_MISSING:
        raise ValueError("no report of walls")
    return {
        "uid": _number(-1, _MOST_NUMBER)(value.get("uid")),
        "system_calls": value["system_calls"],
        "private_tmp": value["private_tmp"],
        "own_files": value["own_files"],
        "missing": [_text(each) for each in missing],
    }


_KINDS: Mapping[str, Mapping[str, Callable[[object], Any]]] = {
    "ready": {"walls": _walls},
    "forked": {"worker": _worker_id},
    "refused": {"worker": _worker_id, "message": _text},
    "exited": {"worker": _worker_id, "reason": _reason},
    "memory": {"worker": _worker_id, "bytes": _number(0, _MOST_BYTES)},
    "usage": {"bytes": _number(0, _MOST_BYTES), "cpu_s": _seconds},
}
