"""A program that writes a ledger and is killed: at each of its steps in turn, or in the middle of a storm of decisions.

python crashing_ledger.py steps FOLDER    one line of JSON for each step it was killed at, and one for none
python crashing_ledger.py storm FILE      decides until it is killed; prints the number of each finished decision
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

from uhlp.evolution.candidate import CandidateState as S
from uhlp.evolution.database import EvolutionDatabase
from uhlp.evolution.decisions import create, decide
from uhlp.evolution.ledger import Event, LedgerEntry
from uhlp.evolution.records import Change, RegressionCase, digest_of

CASE = {"input": {"text": "refund"}, "expected": "billing", "got": "other"}
DIGEST = digest_of(CASE)


def decisions() -> list[list[Change]]:
    """What is appended, one transaction after the other: every kind of thing that a decision can carry."""
    place = {"app_id": "shop", "component_id": "triage", "spec_hash": "spec", "proposer": "coder"}
    first, created = create("c-1", **place, attempt=1, ts=1.0, actor="oracle", reason="a rule")
    made, synthesized = decide(first, S.SYNTHESIZED, ts=2.0, actor="g", reason="written", code_sha="abc")
    refused, rejected = decide(made, S.REJECTED, ts=3.0, actor="g", reason="wrong", payloads=[DIGEST])
    second, again = create("c-2", **place, attempt=2, ts=4.0, actor="oracle", reason="a rule")
    regression = RegressionCase("shop", "triage", "spec", DIGEST, "train", "c-1", "wrong", 3.0, CASE)
    setting = LedgerEntry(ts=5.0, actor="ann", event=Event.SETTING, reason="r", patch={"name": "n", "value": 1})
    paused = LedgerEntry(ts=6.0, actor="ann", event=Event.PAUSED, reason="r", app_id="shop")
    return [
        [Change(created, first)],
        [Change(synthesized, made, {DIGEST: CASE})],
        [Change(rejected, refused, {}, (regression,)), Change(again, second)],
        [Change(setting)],
        [Change(paused)],
    ]


def write(path: Path, step: Callable[[str], None], acknowledge: Callable[[int], None]) -> None:
    database = EvolutionDatabase(path, fence=lambda: 7, step=step)
    database.open()
    for changes in decisions():
        acknowledge(database.append(changes)[-1].seq)
    database.close()


def killed_at(path: Path, number: int) -> dict[str, object]:
    """Write in a child that is killed at step `number`, and look at what it left."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        steps = count(1)

        def step(name: str) -> None:
            os.write(writing, f"step {name}\n".encode())
            if next(steps) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        write(path, step, lambda seq: os.write(writing, f"done {seq}\n".encode()) and None)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        lines = said.read().splitlines()
    _, status = os.waitpid(child, 0)
    left = EvolutionDatabase(path)
    left.open()
    report = left.verify(None)
    found = {
        "killed": os.WIFSIGNALED(status),
        "step": [line.removeprefix("step ") for line in lines if line.startswith("step ")][-1],
        "acknowledged": max([int(line.removeprefix("done ")) for line in lines if line.startswith("done ")], default=0),
        "entries": report.entries,
        "ok": report.ok,
        "problems": [problem.what for problem in left.check_fold()],
        "regressions": len(left.regressions("shop", "triage", None)),
        "has_payload": left.payload("shop", DIGEST) is not None,
    }
    left.close()
    return found


def steps(folder: Path) -> None:
    for number in count(1):
        found = killed_at(folder / f"{number}.db", number)
        print(json.dumps(found))
        if not found["killed"]:
            return


def storm(path: Path) -> None:
    database = EvolutionDatabase(path)
    database.open()
    for number in count():
        entry = LedgerEntry(
            ts=float(number), actor="ann", event=Event.SETTING, reason="r", patch={"name": "n", "value": number}
        )
        print(database.append([Change(entry)])[-1].seq, flush=True)


if __name__ == "__main__":
    {"steps": steps, "storm": storm}[sys.argv[1]](Path(sys.argv[2]))
