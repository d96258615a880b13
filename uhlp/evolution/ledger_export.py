"""The ledger as a file of JSON lines that anybody can verify without UHLP's database.

    {"format":"uhlp-ledger-v1","instance":"<instance id>"}
    {"hash":"<h_n>","entry":<canonical JSON of entry n>}
    {"entries":<n>,"head":"<h_n>"}

Entries stand there byte for byte as they were hashed (`ledger`), so any changed byte is found; and the last line names
the head, so a shortened file is. Who can write the file can forge a whole new one: compare its head with an anchor.
"""

import re
from collections.abc import Iterable

from uhlp.errors import UhlpError
from uhlp.evolution.ledger import BadEntry, VerifyReport, genesis, next_hash
from uhlp.strict_json import loads

_FIRST = re.compile(rb'\{"format":"uhlp-ledger-v1","instance":"([0-9a-f]{32})"\}\n')
_ENTRY = re.compile(rb'\{"hash":"([0-9a-f]{64})","entry":(.+)\}\n')
_LAST = re.compile(rb'\{"entries":([0-9]+),"head":"([0-9a-f]{64})"\}\n')


def first_line(instance_id: str) -> bytes:
    """What the chain begins with."""
    return f'{{"format":"uhlp-ledger-v1","instance":"{instance_id}"}}\n'.encode()


def line_of(digest: str, body: bytes) -> bytes:
    """One entry: its hash in hexadecimal, and the bytes that were hashed."""
    return b'{"hash":"' + digest.encode() + b'","entry":' + body + b"}\n"


def last_line(entries: int, head: str) -> bytes:
    """How many there are, and the newest hash."""
    return f'{{"entries":{entries},"head":"{head}"}}\n'.encode()


def verify_lines(lines: Iterable[bytes], *, anchor: tuple[int, str] | None = None) -> VerifyReport:
    """Recompute the chain of an exported ledger. `anchor` is a (seq, hash) kept elsewhere that it must contain.

    `first_bad` names entry 0 where the file does not begin or end like an export.
    """
    found = iter(lines)
    first = _FIRST.fullmatch(next(found, b""))
    if first is None:
        return VerifyReport(False, 0, "", BadEntry(0, "the first line is not that of an exported ledger"))
    previous, seq = genesis(first[1].decode()), 0
    last = None
    is_anchored = anchor is None or (anchor[0] == 0 and anchor[1] == previous.hex())
    for line in found:
        if (last := _LAST.fullmatch(line)) is not None:
            break
        why, digest = _fault(line, seq + 1, previous)
        if why is None and anchor is not None and anchor[0] == seq + 1:
            is_anchored = anchor[1] == digest.hex()
            why = None if is_anchored else "another hash than the anchored one"
        if why is not None:
            return VerifyReport(False, seq, previous.hex(), BadEntry(seq + 1, why))
        previous, seq = digest, seq + 1
    head = previous.hex()
    if last is None or (int(last[1]), last[2].decode()) != (seq, head) or last[0] != last_line(seq, head):
        return VerifyReport(False, seq, head, BadEntry(0, f"the end is missing or another one, after entry {seq}"))
    if next(found, None) is not None:
        return VerifyReport(False, seq, head, BadEntry(0, "there is something after the last line"))
    if not is_anchored and anchor is not None:
        return VerifyReport(False, seq, head, BadEntry(seq + 1, f"missing: an anchor names entry {anchor[0]}"))
    return VerifyReport(True, seq, head)


def _fault(line: bytes, expected_seq: int, previous: bytes) -> tuple[str | None, bytes]:
    entry = _ENTRY.fullmatch(line)
    if entry is None:
        return "it is not a line of an exported ledger", b""
    digest, body = bytes.fromhex(entry[1].decode()), entry[2]
    if next_hash(previous, body) != digest:
        return "its content or hash was changed", digest
    try:
        seq = loads(body)["seq"]
    except (UhlpError, KeyError, TypeError) as error:
        return f"unreadable: {error}", digest
    return (None if seq == expected_seq else f"missing or renumbered: found entry {seq} in its place"), digest
