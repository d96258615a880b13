"""`uhlp ledger`: read and verify the history of decisions."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from uhlp.cli.arguments import OnlyApp
from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, moment, print_entries, print_json, print_note
from uhlp.cli.progress import counted, progress


def show(
    app: OnlyApp = None,
    after: Annotated[int, typer.Option(help="Only entries after this sequence number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="So many of those that follow, 1,000 at most.")] = 100,
    json_: AsJson = False,
) -> None:
    """Decisions in the order they were made."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        entries = client.get("/ledger", appId=app, after=after, limit=limit)["entries"]
    if json_:
        print_json(entries)
        return
    print_entries(
        ("time", "candidate", "component", "decision"),
        [
            (
                (
                    moment(entry["ts"]),
                    entry.get("candidate") or None,
                    entry.get("component"),
                    _decision(entry),
                ),
                f"#{entry['seq']} {entry.get('app') or 'everywhere'}, {entry.get('actor')}: {entry.get('reason')}",
            )
            for entry in entries
        ],
        empty="The ledger is empty.",
    )


def _decision(entry: dict[str, Any]) -> str | None:
    before, after = entry.get("from"), entry.get("to")
    return f"{before or 'new'} → {after}" if after else entry.get("event")


def export(
    file: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Export this data directory's ledger directly, without a server.")
    ] = None,
) -> None:
    """The whole ledger as JSON lines with their hashes; `uhlp ledger verify --file` verifies them anywhere."""
    lines = _export_served() if data_dir is None else _export_offline(data_dir)
    with progress("exporting", is_bytes=True, is_shown=file is not None or not sys.stdout.isatty()) as bar:
        _write(counted(lines, bar), file)


def _write(lines: Iterator[bytes], file: Path | None) -> None:
    if file is None:
        for piece in lines:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        with unfinished.open("wb") as out:
            out.writelines(lines)
        unfinished.replace(file)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror or error}") from None
    finally:
        unfinished.unlink(missing_ok=True)


def verify(
    data_dir: Annotated[
        Path | None, typer.Option(help="Verify this data directory's ledger directly, without a server.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Verify this exported ledger.")] = None,
    anchor: Annotated[
        str, typer.Option(help="With --file: SEQ:HASH of an entry that it must contain, kept elsewhere.")
    ] = "",
    json_: AsJson = False,
) -> None:
    """Recompute the hash chain; exit status 1 and the first bad entry when it does not hold."""
    if file is not None:
        result = _verify_file(file, _anchor(anchor), shows=not json_)
    else:
        with progress("verifying", is_shown=not json_):
            result = _verify_offline(data_dir) if data_dir is not None else _verify_served()
    if json_:
        print_json(result)
    elif result["ok"]:
        entries = result["entries"]
        print_note(f"the ledger holds: {entries:,} {'entry' if entries == 1 else 'entries'}, head {result['head']}")
    if not result["ok"]:
        bad = result["firstBad"]
        if bad is not None and bad["seq"] == 0:
            raise CommandError(f"the file is no whole ledger: {bad['why']}")
        if bad is not None:
            raise CommandError(f"the ledger does not hold at entry {bad['seq']}: {bad['why']}")
        first = result["problems"][0]
        raise CommandError(f"the ledger's chain holds, but {first['what']} does not follow from it: {first['why']}")


def _verify_served() -> dict[str, Any]:
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        return client.post("/ledger/verify", {})


def _verify_file(file: Path, anchor: tuple[int, str] | None, *, shows: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from uhlp.evolution.ledger_export import verify_lines

    try:
        with (
            file.open("rb") as lines,
            progress(f"verifying {file.name}", total=file.stat().st_size, is_bytes=True, is_shown=shows) as bar,
        ):
            report = verify_lines(counted(lines, bar), anchor=anchor)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror or error}") from None
    first_bad = asdict(report.first_bad) if report.first_bad else None
    return {"ok": report.ok, "entries": report.entries, "head": report.head, "firstBad": first_bad, "problems": []}


def _anchor(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    seq, _, digest = text.partition(":")
    if not (re.fullmatch("[0-9]{1,18}", seq) and re.fullmatch("[0-9a-f]{64}", digest)):
        raise CommandError(f"{text!r} is no anchor", hint="SEQ:HASH, as `uhlp ledger verify` prints entries and head")
    return int(seq), digest


def _export_served() -> Iterator[bytes]:
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        yield from client.download("/ledger/export")


def _export_offline(data_dir: Path) -> Iterator[bytes]:
    import asyncio

    from uhlp.clock import SystemClock
    from uhlp.evolution.store import EvolutionStore

    database = _database_of(data_dir)

    async def exported() -> list[bytes]:
        async with EvolutionStore(path=database, clock=SystemClock()) as store:
            return [piece async for piece in store.export()]

    yield from asyncio.run(exported())


def _database_of(data_dir: Path) -> Path:
    database = data_dir / "evolution.db"
    if not database.is_file():
        raise CommandError(f"{data_dir} holds no ledger (evolution.db)")
    return database


def _verify_offline(data_dir: Path) -> dict[str, Any]:
    import asyncio

    from uhlp.clock import SystemClock
    from uhlp.evolution.ledger_anchors import LedgerAnchors, verified_ledger
    from uhlp.evolution.store import EvolutionStore
    from uhlp.state.definition_store import DefinitionStore
    from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
    from uhlp.state.state_manager import StateManager

    database = _database_of(data_dir)

    async def verified() -> dict[str, Any]:
        runtime = SqliteRuntimeStore(":memory:")
        state = StateManager(definitions=DefinitionStore(data_dir / "apps"), runtime=runtime)
        try:
            async with EvolutionStore(path=database, clock=SystemClock()) as store:
                return await verified_ledger(store, LedgerAnchors(store=store, state_manager=state))
        finally:
            await runtime.aclose()

    return asyncio.run(verified())
