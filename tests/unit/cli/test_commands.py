"""The command line against a listening server."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from web.fakes import ADMIN_TOKEN, listening

from cli.conftest import Run
from uhlp.clock import FakeClock
from uhlp.evolution.store import EvolutionStore
from uhlp.metering import NullMeter
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.drivers.fake import FakeDriver, NeverStartsDriver
from uhlp.sandbox.manager import SandboxManager
from uhlp.web.edge import open_edge
from uhlp.web.services import Services

LOG = [
    {"question": "where is my parcel", "label": "shipping"},
    {"question": "charged twice", "label": "billing"},
    {"question": "it crashed", "label": "nonsense"},
]


async def test_an_application_is_drafted_from_a_description(uhlp: Run, server: dict[str, str]) -> None:
    made = await uhlp("init", "letters", "--describe", "Sort letters into praise and complaint", **server)
    assert made.status == 0, made.err
    assert "drafted letters in letters, by the template classify; no model was asked" in made.out
    created = await uhlp("apply", "letters", **server)
    assert created.out.startswith("created letters at revision ")
    assert "tickets, classify" in (await uhlp("init", "novel", "--template", "novel")).err


async def test_an_application_is_made_of_a_prompt_and_an_example(
    uhlp: Run, server: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "p.txt").write_text("Read the order: {{ text }}")
    (tmp_path / "in.json").write_text('{"text": "3 pears"}')
    (tmp_path / "out.json").write_text('{"quantity": 3}')
    made = await uhlp("init", "orders", "--prompt", "p.txt", "--example", "in.json", "out.json")
    assert made.status == 0, made.err
    created = await uhlp("apply", "orders", **server)
    assert "/apps/orders/answer" in created.out, created.err
    lonely = await uhlp("init", "more", "--prompt", "p.txt")
    assert (lonely.status, "belong together" in lonely.err) == (1, True)
    (tmp_path / "out.json").write_text("[1, 2]")
    (tmp_path / "in.json").write_text("[{}]")
    uneven = await uhlp("init", "uneven", "--prompt", "p.txt", "--example", "in.json", "out.json")
    assert (uneven.status, "another number" in uneven.err) == (1, True)


async def test_an_application_that_is_not_public_says_that_callers_need_a_key(
    uhlp: Run, server: dict[str, str], tmp_path: Path
) -> None:
    for name, is_public in (("opened", True), ("closed", False)):
        await uhlp("init", name, "--template", "classify")
        definition = tmp_path / name / "app.yaml"
        assert "\npublic: true" in definition.read_text()
        definition.write_text(definition.read_text().replace("public: true", f"public: {str(is_public).lower()}"))
        created = await uhlp("apply", name, **server)
        assert created.status == 0, created.err
        assert (f"uhlp keys create {name}" in created.out) is not is_public


async def test_the_starter_application_is_accepted_and_applied_again(uhlp: Run, server: dict[str, str]) -> None:
    made = await uhlp("init", "my-shop")
    assert (made.status, "uhlp apply my-shop" in made.out) == (0, True)
    created = await uhlp("apply", "my-shop", **server)
    assert created.status == 0, created.err
    assert created.out.startswith("created my-shop at revision ")
    assert f"{server['UHLP_URL']}/apps/my-shop/tickets/classify" in created.out
    again = await uhlp("apply", "my-shop", **server)
    assert again.out.startswith("unchanged at revision ")
    shown = await uhlp("status", **server)
    assert "classify-ticket" in shown.out
    assert json.loads((await uhlp("status", "--json", **server)).out)[0]["appId"] == "my-shop"
    assert (await uhlp("status", "my-shop", **server)).out == shown.out
    unknown = await uhlp("status", "my-shp", **server)
    assert (unknown.status, "did you mean my-shop?" in unknown.err) == (1, True)


async def test_sandboxes_are_told_with_their_walls_and_problems(uhlp: Run, services: Services, tmp_path: Path) -> None:
    clock = FakeClock()
    driver = FakeDriver()
    pools = [("desk", PoolDefinition(pool_name="default"))]
    manager = SandboxManager(
        driver=driver, config=SandboxSettings(), clock=clock, meter=NullMeter(), desired=lambda: pools
    )
    await manager.open()
    await manager.run_cycle()
    shown = replace(services, sandboxes=manager)
    async with open_edge(shown) as edge, listening(edge) as port:
        server = {"UHLP_URL": f"http://127.0.0.1:{port}", "UHLP_ADMIN_TOKEN": ADMIN_TOKEN}
        await uhlp("init", "desk")
        await uhlp("apply", "desk", **server)
        listed = await uhlp("sandbox", "list", **server)
        assert "fake-1" in listed.out, listed.err
        narrow = (await uhlp("sandbox", "list", **server, COLUMNS="40")).out
        assert max(len(line) for line in narrow.splitlines()[:4]) <= 40
        assert {*narrow.replace(",", " ").split()} >= {*listed.out.splitlines()[1].split()[1:]}  # names of columns
        assert {*narrow.replace(",", " ").split()} >= {*listed.out.splitlines()[3].split()}
        assert "Sandboxes: fake driver, isolation: none (missing: everything: it runs in the server)" in listed.out
        driver.start = NeverStartsDriver().start  # type: ignore[method-assign]
        await driver.sandboxes[0].stop("the machine ended it")
        clock.advance(11)
        pools[0] = ("desk", PoolDefinition(pool_name="default", min_instances=1))
        await manager.run_cycle()
        status = await uhlp("status", **server)
        assert "DEGRADED" in status.out
        assert "desk: No sandbox of pool default starts: it never said hello." in status.out
        assert "Sandboxes: fake driver, isolation: none" in status.out
        told = json.loads((await uhlp("sandbox", "list", "--json", **server)).out)
        assert "it never said hello" in told["pools"][0]["problem"]
    await manager.close()


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
    table, listed, why, optimized, state, ledger, verified = (done.out for done in shown)
    assert "cand-1" in table
    assert json.loads(listed)[0]["state"] == "canary"
    assert "0 of 48 wrong" in why
    assert optimized.splitlines() == ["cand-1", "  next: uhlp why desk classify-ticket"]
    assert "rolled_back" in state
    assert "asked for by hand" in ledger
    assert "the ledger holds: 1 entry" in verified
    assert (await uhlp("rollback", "cand-1", **server)).status == 2  # a reason is not optional


async def test_status_has_the_latency_of_what_runs_now(uhlp: Run, server: dict[str, str], services: Services) -> None:
    await uhlp("init", "desk")
    await uhlp("apply", "desk", **server)
    for handler, latency_ms in (("jit", 1.0), ("jit", 1.0), ("llm", 480.0)):
        services.windows.observe("desk", "classify-ticket", handler=handler, latency_ms=latency_ms, ok=True)
    (row,) = [line for line in (await uhlp("status", **server)).out.splitlines() if "classify-ticket" in line]
    assert row.split()[-4:] == ["prompt@stable", "3", "480.0", "ms"]


async def test_money_is_printed_for_people_and_for_programs(uhlp: Run, server: dict[str, str]) -> None:
    await uhlp("init", "desk")
    await uhlp("apply", "desk", **server)
    shown = await asyncio.gather(
        uhlp("recommendations", **server),
        uhlp("recommendations", "--json", **server),
        uhlp("savings", "desk", **server),
        uhlp("usage", "desk", **server),
        uhlp("savings", "desk", "--json", **server),
        uhlp("savings", "desk", "--days", "3", **server),
    )
    assert [done.err for done in shown] == [""] * len(shown)
    listed, as_json, savings, usage, savings_json, three = (done.out for done in shown)
    for part in ("shop/echo", "waits for approval", "120", "$36.0000", "uhlp approve cand-1 --reason"):
        assert part in listed
    assert json.loads(as_json)[0]["start"] == "/candidates/cand-1/approve"
    for part in ("$1.2500", "$1.0000", "cand-1 answers 95.0%; it took $0.25 to make"):
        assert part in savings
    for part in ("serve", "330", "$0.5000", "2 calls have no known price", "Budget a day: $2"):
        assert part in usage
    assert json.loads(savings_json)["total"]["byHandler"] == 38
    assert ("2026-01-29" in three, "2026-01-28" in three, "2026-01-25" in savings) == (True, False, True)


async def test_a_candidate_is_shown_whole_and_decided_about(uhlp: Run, server: dict[str, str]) -> None:
    whole, code, approved, rejected, unknown = await asyncio.gather(
        uhlp("show", "cand-1", **server),
        uhlp("show", "cand-1", "--code", **server),
        uhlp("approve", "cand-1", "--reason", "read it", **server),
        uhlp("reject", "cand-1", "--reason", "read it", **server),
        uhlp("show", "nothing", **server),
    )
    for part in (
        "1 of 48 compared",
        "90.0%",
        "refused by replay: 3 of 40 wrong",
        '"other"',
        "shadow → canary",
        "approve",
    ):
        assert part in whole.out, whole
    assert code.out == "def handle(inputs, context): ...\n"
    assert (approved.status, rejected.status, unknown.status) == (0, 0, 1)


async def test_rows_keep_their_ids_whole_on_a_narrow_terminal(uhlp: Run, server: dict[str, str]) -> None:
    await uhlp("init", "an-application-with-quite-a-long-name")
    await uhlp("apply", "an-application-with-quite-a-long-name", **server)
    narrow = {**server, "COLUMNS": "40"}
    shown = await uhlp("status", **narrow)
    assert "\n    status ACTIVE, component" in shown.out
    assert {"an-application-with-quite-a-long-name", "classify-ticket,", "prompt@stable,"} <= {*shown.out.split()}
    listed, decided = await uhlp("candidates", **narrow), await uhlp("ledger", "show", **narrow)
    assert "\ncand-1     shop/echo  canary" in listed.out
    assert "\n    shadow passed\n" in listed.out
    assert "\n    #1 everywhere, admin: asked for by\n    hand\n" in decided.out


async def test_the_server_is_named_by_option_or_variable_also_without_scheme(uhlp: Run, server) -> None:
    place, token = server["UHLP_URL"].removeprefix("http://"), server["UHLP_ADMIN_TOKEN"]
    assert (await uhlp("--url", place, "--token", token, "candidates")).status == 0
    assert (await uhlp("candidates", UHLP_URL=place, UHLP_ADMIN_TOKEN=token)).status == 0
    helped = await uhlp("why", "--help")
    assert all(name in helped.out for name in ("UHLP_URL", "UHLP_ADMIN_TOKEN", "UHLP_DATA_DIR"))
    assert (await uhlp("--version")).out.startswith("uhlp")


@pytest.mark.parametrize(
    ("environment", "message", "hint"),
    [
        ({"UHLP_ADMIN_TOKEN": "x", "UHLP_URL": "http://127.0.0.1:9"}, "no server answers", "uhlp serve"),
        ({"UHLP_DATA_DIR": "/nowhere"}, "no admin token", "UHLP_ADMIN_TOKEN"),
    ],
)
async def test_a_command_without_its_server_says_what_to_do(uhlp: Run, environment, message: str, hint: str) -> None:
    failed = await uhlp("status", **environment)
    assert failed.status == 3
    assert message in failed.err.splitlines()[0]
    assert hint in failed.err.splitlines()[1]


async def test_a_wrong_token_and_an_unknown_application_are_one_line(uhlp: Run, server: dict[str, str]) -> None:
    refused = await uhlp("status", **{**server, "UHLP_ADMIN_TOKEN": "wrong"})
    assert (refused.status, "UHLP_ADMIN_TOKEN" in refused.err) == (3, True)
    unknown = await uhlp("why", "nobody", "nothing", **server)
    assert (unknown.status, len(unknown.err.splitlines())) == (1, 2)


async def test_the_token_is_read_from_the_data_directory(uhlp: Run, server: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "admin_token").write_text(server["UHLP_ADMIN_TOKEN"] + "\n")
    done = await uhlp("candidates", UHLP_URL=server["UHLP_URL"], UHLP_DATA_DIR=str(tmp_path))
    assert done.status == 0, done.err


async def test_the_ledger_is_verified_without_a_server(uhlp: Run, tmp_path: Path) -> None:
    async with EvolutionStore(path=tmp_path / "evolution.db", clock=FakeClock()) as store:
        await store.pause(actor="ann", reason="holiday")
    holds = await uhlp("ledger", "verify", "--data-dir", tmp_path)
    assert (holds.status, "1 entry" in holds.out) == (0, True), holds.err
    database = tmp_path / "evolution.db"
    database.write_bytes(database.read_bytes().replace(b"holiday", b"weekend"))
    broken = await uhlp("ledger", "verify", "--data-dir", tmp_path)
    assert (broken.status, "does not hold at entry 1" in broken.err) == (1, True), broken.err
    assert (await uhlp("ledger", "verify", "--data-dir", tmp_path / "none")).status == 1


async def test_init_names_the_folder_as_a_shell_reads_it(uhlp: Run) -> None:
    made = await uhlp("init", "My Shop")
    assert made.out == "wrote my-shop to My Shop\n  next: uhlp apply 'My Shop'\n"


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
    mistyped = await uhlp("estimate", "log.jsonl", *fields[:-1], "queue=label", "--decision-field", "queeu")
    assert (mistyped.status, "the outputs have queue" in mistyped.err) == (1, True), mistyped.err
    (tmp_path / "short.jsonl").write_text("\n".join(json.dumps(row) for row in rows[:9]))
    short = await uhlp("estimate", "short.jsonl", *fields)
    assert ("needs 30" in short.out, "a longer log" in short.out, "coder" in short.out) == (True, True, False)
    (tmp_path / "short.jsonl").write_text('{"text": "a", "label": "b"}\n{no\n')
    assert (await uhlp("estimate", "short.jsonl", *fields)).err.startswith("uhlp: Line 2 is not strict JSON")
    report = json.loads((await uhlp("estimate", "log.jsonl", *fields, "--json")).out)
    assert report["applies"]
    assert report["agreement"] == 1.0
