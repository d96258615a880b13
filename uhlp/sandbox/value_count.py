"""How many values a JSON text holds, asked before it is read: small values take many times their bytes in time and
memory, and one text must not hold up everybody."""

MAX_VALUES = 110_000
"""Of a text that a sandbox sent, some for what goes around the data: read in less than 50 ms on a slow machine."""

TOO_MANY_VALUES = (
    "holds more than 100000 values (items of arrays and fields of objects); return fewer, or put them into one text"
)


def holds_too_many_values(raw: bytes | bytearray, most: int = MAX_VALUES) -> bool:
    """True when this text holds more than `most` values: commas, arrays and objects outside its strings.

    A text with far more escaped characters or strings than so few values would need counts as one that does.
    """
    if len(raw) <= most or _marks(raw) <= most:
        return False
    plain = raw
    if b"\\" in raw:
        plain = raw.replace(b"\\\\", b"", most).replace(b'\\"', b"", most)
        if b"\\\\" in plain or b'\\"' in plain:
            return True
    if plain.count(b'"') > 4 * most:
        return True
    return sum(_marks(outside) for outside in plain.split(b'"')[::2]) > most


def _marks(raw: bytes | bytearray) -> int:
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{")
