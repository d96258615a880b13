"""The command line against a listening server."""

import asyncio
import json
from pathlib import Path

import pytest

from cli.conftest import Run
from uhlp.clock import FakeClock
from uhlp.evolution.store import EvolutionStore

LOG = [
    {"question": "where is my parcel", "label": "shipping"},
    {"question": "charged twice", "label": "billing"},
    {"question": "it crashed", "label": "nonsense"},
]


async def test_the_starter_application_is_accepted_and_applied_again(uhlp: Run, server: dict[str, str]) -> None:
    made = await uhlp("init", "my-shop")
    assert (made.status, "uhlp apply my-shop" in made.out) == (0, True)
    created = await uhlp("apply", "my-shop", **server)
    assert created.status == 0, created.err
    assert created.out.startswith("created my-shop at revision ")
    assert f"{server['UHLP_URL']}/apps/my-shop/tickets/classify" in created.out
    again = await uhlp("apply", "my-shop", **server)
    assert again.out.startswith("updated my-shop to revision ")
    shown = await uhlp("status", **server)
    assert "classify-ticket" in shown.out
    assert json.loads((await uhlp("status", "--json", **server)).out)[0]["appId"] == "my-shop"


async def test_an_application_that_is_not_valid_is_refused_with_its_file_and_place(uhlp: Run, server, tmp_path) -> None:
    await uhlp("init", "desk")
    registry = tmp_path / "desk" / "component_registry.yaml"
    registry.write_text(registry.read_text().replace("handlerType: LLM", "handlerType: MAGIC"))
    refused = await uhlp("apply", "desk", **server)
    assert (refused.status, refused.out) == (1, "")
    assert "component_registry.yaml" in refused.err
    assert "Traceback" not in refused.err


async def test_recorded_calls_are_imported_and_the_misfits_named_by_line(uhlp: Run, server, tmp_path: Path) -> None:
    await uhlp("init", "desk")
    await uhlp("apply", "desk", **server)
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps({**one, "subject": "help"}) for one in LOG))
    fields = ("--input", "subject", "--input", "text=question", "--output", "queue=label")
    done = await uhlp("traffic", "import", "desk", "classify-ticket", "log.jsonl", *fields, **server)
    assert done.status == 0, done.err
    assert "imported 2 samples into desk/classify-ticket" in done.out
    assert "line 3: /output/queue" in done.out
    missing = await uhlp("traffic", "import", "desk", "classify-ticket", "log.jsonl", "--input", "nothing", "--output",
                         "label", **server)  # fmt: skip
    assert (missing.status, "no field 'nothing'" in missing.err) == (1, True)


async def test_oversight_commands_print_for_people_and_for_programs(uhlp: Run, server: dict[str, str]) -> None:
    await uhlp("init", "desk")
    await uhlp("apply", "desk", **server)
    shown = await asyncio.gather(
        uhlp("candidates", **server),
        uhlp("candidates", "--json", **server),
        uhlp("why", "desk", "classify-ticket", **server),
        uhlp("optimize", "desk", "classify-ticket", **server),
        uhlp("rollback", "cand-1", "--reason", "wrong answers", **server),
        uhlp("ledger", "show", **server),
        uhlp("ledger", "verify", **server),
    )
    assert [done.err for done in shown] == [""] * len(shown)
    table, listed, why, candidate_id, state, ledger, verified = (done.out for done in shown)
    assert "cand-1" in table
    assert json.loads(listed)[0]["state"] == "canary"
    assert "0 of 48 wrong" in why
    assert candidate_id.strip() == "cand-1"
    assert "rolled_back" in state
    assert "asked for by hand" in ledger
    assert "the ledger holds: 1 entries" in verified
    assert (await uhlp("rollback", "cand-1", **server)).status == 2  # a reason is not optional


@pytest.mark.parametrize(
    ("environment", "message", "hint"),
    [
        ({"UHLP_ADMIN_TOKEN": "x", "UHLP_URL": "http://127.0.0.1:9"}, "no server answers", "uhlp serve"),
        ({"UHLP_DATA_DIR": "/nowhere"}, "no admin token", "UHLP_ADMIN_TOKEN"),
    ],
)
async def test_a_command_without_its_server_says_what_to_do(uhlp: Run, environment, message: str, hint: str) -> None:
    failed = await uhlp("status", **environment)
    assert failed.status == 1
    assert message in failed.err.splitlines()[0]
    assert hint in failed.err.splitlines()[1]


async def test_a_wrong_token_and_an_unknown_application_are_one_line(uhlp: Run, server: dict[str, str]) -> None:
    refused = await uhlp("status", **{**server, "UHLP_ADMIN_TOKEN": "wrong"})
    assert (refused.status, "UHLP_ADMIN_TOKEN" in refused.err) == (1, True)
    unknown = await uhlp("why", "nobody", "nothing", **server)
    assert (unknown.status, len(unknown.err.splitlines())) == (1, 1)


async def test_the_token_is_read_from_the_data_directory(uhlp: Run, server: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "admin_token").write_text(server["UHLP_ADMIN_TOKEN"] + "\n")
    done = await uhlp("candidates", UHLP_URL=server["UHLP_URL"], UHLP_DATA_DIR=str(tmp_path))
    assert done.status == 0, done.err


async def test_the_ledger_is_verified_without_a_server(uhlp: Run, tmp_path: Path) -> None:
    async with EvolutionStore(path=tmp_path / "evolution.db", clock=FakeClock()) as store:
        await store.pause(actor="ann", reason="holiday")
    holds = await uhlp("ledger", "verify", "--data-dir", tmp_path)
    assert (holds.status, "1 entries" in holds.out) == (0, True), holds.err
    database = tmp_path / "evolution.db"
    database.write_bytes(database.read_bytes().replace(b"holiday", b"weekend"))
    broken = await uhlp("ledger", "verify", "--data-dir", tmp_path)
    assert (broken.status, "does not hold at entry 1" in broken.err) == (1, True), broken.err
    assert (await uhlp("ledger", "verify", "--data-dir", tmp_path / "none")).status == 1


async def test_init_keeps_what_is_there_and_takes_only_names_that_can_be_registered(uhlp: Run, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("kept")
    assert (await uhlp("init", "full")).status == 1
    assert (await uhlp("init", "9lives")).status == 1
    assert (await uhlp("init", "9lives", "--name", "nine-lives")).status == 0
    assert "appId: nine-lives" in (tmp_path / "9lives" / "app.yaml").read_text()


async def test_an_estimate_needs_neither_server_nor_key(uhlp: Run, tmp_path: Path) -> None:
    words = {"shipping": ("parcel", "late"), "billing": ("invoice", "charged"), "technical": ("crash", "error")}
    rows = [
        {"text": f"{first} about number {number} {second}", "label": label}
        for number in range(60)
        for label, (first, second) in words.items()
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    fields = ("--input", "text", "--output", "label")
    told = await uhlp("estimate", "log.jsonl", *fields)
    assert told.status == 0, told.err
    assert told.out.startswith("Rules alone would answer ")
    assert "shipping" in told.out
    report = json.loads((await uhlp("estimate", "log.jsonl", *fields, "--json")).out)
    assert report["applies"]
    assert report["agreement"] == 1.0
