"""What is written to a client one piece after the other, and how it leaves."""

import asyncio
from collections.abc import Iterable

from uhlp.web.joined_writes import JoinedWrites


class Wire(asyncio.Transport):
    """Keeps what it is told, one entry for what leaves together."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.is_lost = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.sent.append(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.sent.append(b"<eof>")

    def close(self) -> None:
        self.sent.append(b"<close>")
        self.is_lost = True

    def abort(self) -> None:
        self.sent.append(b"<abort>")
        self.is_lost = True

    def is_closing(self) -> bool:
        return self.is_lost

    def get_write_buffer_size(self) -> int:
        return 100


def joined() -> tuple[Wire, JoinedWrites]:
    wire = Wire()
    return wire, JoinedWrites(wire, asyncio.get_running_loop())


async def test_a_head_leaves_together_with_its_body() -> None:
    wire, transport = joined()
    transport.write(b"head ")
    transport.write(b"body")
    assert wire.sent == [b"head body"]
    await asyncio.sleep(0)
    assert wire.sent == [b"head body"]


async def test_a_head_with_an_empty_body_leaves_at_once() -> None:
    wire, transport = joined()
    transport.write(b"head")
    transport.write(b"")
    assert wire.sent == [b"head"]


async def test_a_piece_that_nothing_follows_leaves_with_the_turn_of_the_loop() -> None:
    wire, transport = joined()
    transport.write(b"event")
    assert wire.sent == []
    await asyncio.sleep(0)
    assert wire.sent == [b"event"]


async def test_pieces_leave_in_their_order() -> None:
    wire, transport = joined()
    for piece in (b"a", b"b", b"c", b"d", b"e"):
        transport.write(piece)
    await asyncio.sleep(0)
    assert wire.sent == [b"ab", b"cd", b"e"]


async def test_what_is_held_back_counts_as_not_sent() -> None:
    _, transport = joined()
    transport.write(b"head")
    assert transport.get_write_buffer_size() == 104


async def test_what_is_held_back_leaves_before_the_end() -> None:
    wire, transport = joined()
    transport.write(b"last")
    transport.write_eof()
    transport.write(b"words")
    transport.close()
    await asyncio.sleep(0)
    assert wire.sent == [b"last", b"<eof>", b"words", b"<close>"]


async def test_nothing_is_sent_on_a_connection_that_was_given_up_or_has_ended() -> None:
    wire, transport = joined()
    transport.write(b"lost")
    transport.abort()
    await asyncio.sleep(0)
    assert wire.sent == [b"<abort>"]
    wire, transport = joined()
    transport.write(b"lost")
    wire.is_lost = True
    await asyncio.sleep(0)
    assert wire.sent == []
