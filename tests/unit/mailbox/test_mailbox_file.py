"""A file of mailboxes that an earlier version made."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from uhlp.clock import FakeClock
from uhlp.errors import MailboxFull
from uhlp.mailbox.config import MailboxSettings
from uhlp.mailbox.mailbox_file import MailboxFile
from uhlp.mailbox.message_queue import QueueLimits
from uhlp.mailbox.sqlite_mailbox import SqliteMailbox

BEFORE_BYTES = """
CREATE TABLE mailboxes (
    name TEXT PRIMARY KEY, counter INTEGER NOT NULL DEFAULT 0, kept INTEGER NOT NULL DEFAULT 0, expires_at REAL
) STRICT, WITHOUT ROWID;
CREATE TABLE messages (
    id TEXT NOT NULL, mailbox TEXT NOT NULL, position INTEGER NOT NULL, due_at REAL, token INTEGER,
    deliveries INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL, reply_to TEXT NOT NULL, in_reply_to TEXT NOT NULL,
    enqueued_at REAL NOT NULL, reason TEXT, died_at REAL, PRIMARY KEY (mailbox, id)
) STRICT;
CREATE TRIGGER message_added AFTER INSERT ON messages
BEGIN UPDATE mailboxes SET kept = kept + 1 WHERE name = new.mailbox; END;
CREATE TRIGGER message_removed AFTER DELETE ON messages
BEGIN UPDATE mailboxes SET kept = kept - 1 WHERE name = old.mailbox; END;
CREATE TRIGGER message_moved AFTER UPDATE OF mailbox ON messages
BEGIN
    UPDATE mailboxes SET kept = kept - 1 WHERE name = old.mailbox;
    UPDATE mailboxes SET kept = kept + 1 WHERE name = new.mailbox;
END;
INSERT INTO mailboxes (name, counter) VALUES ('orders', 1);
INSERT INTO messages (id, mailbox, position, body, reply_to, in_reply_to, enqueued_at)
    VALUES ('1-a', 'orders', 1, CAST('{"text":"' || printf('%.300c', 'x') || '"}' AS BLOB), '', '', 0.0);
"""


class Note(BaseModel):
    text: str


async def test_what_it_holds_counts_in_bytes_and_is_delivered(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mailbox.db")) as before:
        before.executescript(BEFORE_BYTES)
    for _ in range(2):  # and once more, when it has been opened by this version
        file = MailboxFile(tmp_path / "mailbox.db", clock=FakeClock())
        box = SqliteMailbox(name="orders", body=Note, reply=None, file=file, limits=QueueLimits(total_bytes=500))
        with pytest.raises(MailboxFull):
            await box.send(Note(text="y" * 300))
        assert (await box.counts()).ready == 1
        await file.aclose()
    file = MailboxFile(tmp_path / "mailbox.db", clock=FakeClock())
    box = SqliteMailbox(name="orders", body=Note, reply=None, file=file, limits=QueueLimits(total_bytes=500))
    (message,) = await box.receive()
    assert message.body == Note(text="x" * 300)
    await message.acknowledge()
    await box.send(Note(text="y" * 300))
    await file.aclose()


def test_settings_leave_room_for_one_message() -> None:
    with pytest.raises(ValidationError, match="would never be taken"):
        MailboxSettings(body_bytes=2_000, total_bytes=1_999)
