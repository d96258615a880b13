"""Adjudications: what a person said is right for an input, and the questions that wait for a person.

They are kept by component and input, apart from samples and specifications: a sample rolls over, a prompt is reworded,
a person's word stays. Only `deleteState` removes them. A few hundred at most, so reads are look-ups in memory.
"""

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from uhlp import strict_json
from uhlp.traffic.split import Split, split_of

T = TypeVar("T")
QUESTIONS_KEPT = 200
"""Of one component; the oldest go first."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS adjudications (
    app_id TEXT NOT NULL, component_id TEXT NOT NULL, input_hash TEXT NOT NULL,
    input BLOB NOT NULL, expected BLOB NOT NULL, rejected BLOB NOT NULL,
    actor TEXT NOT NULL, reason TEXT NOT NULL, ts REAL NOT NULL,
    PRIMARY KEY (app_id, component_id, input_hash)
) STRICT;
CREATE TABLE IF NOT EXISTS questions (
    app_id TEXT NOT NULL, component_id TEXT NOT NULL, input_hash TEXT NOT NULL,
    candidate_id TEXT NOT NULL, stage TEXT NOT NULL, why TEXT NOT NULL,
    input BLOB NOT NULL, got BLOB NOT NULL, answers BLOB NOT NULL, ts REAL NOT NULL,
    PRIMARY KEY (app_id, component_id, input_hash)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Adjudication:
    """For this input `expected` is right, says `actor`. `ts` in seconds since the epoch.

    `input` is as samples are kept (redacted); `input_hash` is of the input as it came. `rejected` are the answers that
    the person saw and did not take.
    """

    app_id: str
    component_id: str
    input_hash: str
    input: Any
    expected: Any
    rejected: tuple[Any, ...]
    actor: str
    reason: str
    ts: float

    @property
    def split(self) -> Split:
        """A held-out adjudication is never shown to a model."""
        return split_of(self.input_hash)


@dataclass(frozen=True, slots=True)
class Question:
    """A handler answered `got`, the model `answers`, and nobody but a person can say who is right.

    `stage` is where it came up (replay, shadow, audit); values are redacted as samples are.
    """

    app_id: str
    component_id: str
    input_hash: str
    candidate_id: str
    stage: str
    why: str
    input: Any
    got: Any
    answers: tuple[Any, ...]
    ts: float


class Asking(Protocol):
    """Runs work in the store's thread."""

    def __call__(self, question: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]: ...


Place = tuple[str, str]
"""(application, component)."""


class Adjudications:
    """A part of the sample store: its file, its thread. `adjudicate` is on disk, fsynced, when it returns."""

    def __init__(self, *, connection: sqlite3.Connection, ask: Asking) -> None:
        connection.executescript(SCHEMA)
        self._ask = ask
        self._decided: dict[Place, dict[str, Adjudication]] = {}
        self._open: dict[Place, dict[str, Question]] = {}
        for row in connection.execute("SELECT * FROM adjudications"):
            app_id, component_id, hashed, value, expected, rejected, actor, reason, ts = row
            self._know(
                Adjudication(
                    app_id, component_id, hashed, _load(value), _load(expected), tuple(_load(rejected)), actor, reason,
                    ts,
                )
            )  # fmt: skip
        for row in connection.execute("SELECT * FROM questions ORDER BY ts"):
            *place, value, got, answers, ts = row
            app_id, component_id, hashed, candidate_id, stage, why = place
            self._wonder(
                Question(
                    app_id, component_id, hashed, candidate_id, stage, why, _load(value), _load(got),
                    tuple(_load(answers)), ts,
                )
            )  # fmt: skip

    def of(self, app_id: str, component_id: str, input_hash: str) -> Adjudication | None:
        """What a person said of this input."""
        return self._decided.get((app_id, component_id), {}).get(input_hash)

    def all_of(self, app_id: str, component_id: str) -> list[Adjudication]:
        """A component's adjudications, newest first."""
        known = self._decided.get((app_id, component_id), {}).values()
        return sorted(known, key=lambda one: one.ts, reverse=True)

    def questions(self, app_id: str, component_id: str) -> list[Question]:
        """What waits for a person, newest first."""
        waiting = self._open.get((app_id, component_id), {}).values()
        return sorted(waiting, key=lambda one: one.ts, reverse=True)

    def question(self, app_id: str, component_id: str, input_hash: str) -> Question | None:
        return self._open.get((app_id, component_id), {}).get(input_hash)

    async def adjudicate(self, said: Adjudication) -> None:
        """Keep what a person said; a later word on the same input replaces it. The question, if any, is closed."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA synchronous = FULL")  # samples may be lost with the power, a person's word not
            try:
                connection.execute("BEGIN")
                connection.execute(
                    "INSERT OR REPLACE INTO adjudications VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (said.app_id, said.component_id, said.input_hash, strict_json.dumps(said.input),
                     strict_json.dumps(said.expected), strict_json.dumps(list(said.rejected)), said.actor, said.reason,
                     said.ts),
                )  # fmt: skip
                _delete_question(connection, said.app_id, said.component_id, said.input_hash)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                connection.execute("PRAGMA synchronous = NORMAL")

        await self._ask(write)
        self._know(said)
        self._open.get((said.app_id, said.component_id), {}).pop(said.input_hash, None)

    async def ask(self, question: Question) -> None:
        """Keep a question until a person answers it; the newest about an input stands for all about it."""
        dropped = self._wonder(question)
        row = (
            question.app_id, question.component_id, question.input_hash, question.candidate_id, question.stage,
            question.why, strict_json.dumps(question.input), strict_json.dumps(question.got),
            strict_json.dumps(list(question.answers)), question.ts,
        )  # fmt: skip

        def write(connection: sqlite3.Connection) -> None:
            for one in dropped:
                _delete_question(connection, one.app_id, one.component_id, one.input_hash)
            connection.execute("INSERT OR REPLACE INTO questions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

        await self._ask(write)

    async def delete_application(self, app_id: str) -> None:
        """Forget everything about an application."""

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM adjudications WHERE app_id = ?", (app_id,))
            connection.execute("DELETE FROM questions WHERE app_id = ?", (app_id,))

        await self._ask(delete)
        for known in (self._decided, self._open):
            for place in [one for one in known if one[0] == app_id]:
                del known[place]

    def _know(self, said: Adjudication) -> None:
        self._decided.setdefault((said.app_id, said.component_id), {})[said.input_hash] = said

    def _wonder(self, question: Question) -> list[Question]:
        """Take the question up; those that are let go for it."""
        waiting = self._open.setdefault((question.app_id, question.component_id), {})
        waiting.pop(question.input_hash, None)
        waiting[question.input_hash] = question
        return [waiting.pop(next(iter(waiting))) for _ in range(len(waiting) - QUESTIONS_KEPT)]


def _delete_question(connection: sqlite3.Connection, app_id: str, component_id: str, input_hash: str) -> None:
    connection.execute(
        "DELETE FROM questions WHERE app_id = ? AND component_id = ? AND input_hash = ?",
        (app_id, component_id, input_hash),
    )


def _load(raw: bytes) -> Any:
    return strict_json.loads(raw, max_depth=strict_json.DEEPEST)
