import socket
import struct

import pytest

from uhlp.runner.frames import FRAME_LIMIT_BYTES, FrameStream, StreamClosed


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def test_frames_are_read_whole_however_they_arrive() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream = FrameStream(ours)
        both = frame(b'{"id":1}') + frame(b'{"id":2}')
        theirs.sendall(both[:15])
        assert stream.read() == {"id": 1}
        theirs.sendall(both[15:])
        assert stream.read() == {"id": 2}


def test_a_written_frame_carries_its_length() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        FrameStream(ours).write({"id": 1})
        assert theirs.recv(100) == frame(b'{"id":1}')


@pytest.mark.parametrize("sent", [b"", frame(b"[]"), frame(b"{"), struct.pack(">I", FRAME_LIMIT_BYTES + 1), b"\0\0"])
def test_an_end_or_a_broken_frame_closes_the_stream(sent: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(sent)
        theirs.close()
        with pytest.raises(StreamClosed):
            FrameStream(ours).read()
