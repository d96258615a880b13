"""The ledger as a file: byte for byte what was hashed, verifiable without a server."""

from pathlib import Path

import pytest

from tests.unit.evolution.crashing_ledger import decisions
from tests.unit.evolution.settings_set import put_setting
from uhlp.clock import FakeClock
from uhlp.evolution.ledger_export import verify_lines
from uhlp.evolution.store import EvolutionStore


async def exported(path: Path) -> tuple[bytes, int, str]:
    async with EvolutionStore(path=path, clock=FakeClock()) as store:
        for changes in decisions():
            await store.append_all(changes)
        content = b"".join([lines async for lines in store.export()])
        return content, *await store.head()


async def test_an_export_holds_every_entry_and_verifies(tmp_path: Path) -> None:
    content, seq, head = await exported(tmp_path / "evolution.db")
    report = verify_lines(content.splitlines(keepends=True), anchor=(seq, head))
    assert (report.ok, report.entries, report.head) == (True, 6, head)
    assert content.count(b"\n") == 8


async def test_an_empty_ledger_is_exported_too(tmp_path: Path) -> None:
    async with EvolutionStore(path=tmp_path / "evolution.db", clock=FakeClock()) as store:
        content = b"".join([lines async for lines in store.export()])
        report = verify_lines(content.splitlines(keepends=True))
        assert (report.ok, report.entries, report.head) == (True, 0, (await store.head())[1])


async def test_a_long_ledger_is_exported_in_pages(tmp_path: Path) -> None:
    async with EvolutionStore(path=tmp_path / "evolution.db", clock=FakeClock()) as store:
        for number in range(401):
            await put_setting(store, "n", number, actor="ann", reason="r")
        pages = [lines async for lines in store.export()]
    assert [page.count(b"\n") for page in pages] == [1, 200, 200, 1, 1]
    assert verify_lines(b"".join(pages).splitlines(keepends=True)).entries == 401


async def test_any_changed_byte_of_an_export_is_found(tmp_path: Path) -> None:
    content, _, _ = await exported(tmp_path / "evolution.db")
    for at in range(len(content)):
        changed = content[:at] + bytes([content[at] ^ 1 << (at % 8)]) + content[at + 1 :]
        assert not verify_lines(changed.splitlines(keepends=True)).ok, at


async def test_a_byte_less_or_more_is_found(tmp_path: Path) -> None:
    content, _, _ = await exported(tmp_path / "evolution.db")
    for at in range(len(content)):
        assert not verify_lines((content[:at] + content[at + 1 :]).splitlines(keepends=True)).ok, at
        assert not verify_lines(content[:at].splitlines(keepends=True)).ok, at
    assert not verify_lines((content + b"\n").splitlines(keepends=True)).ok


async def test_the_first_bad_entry_is_named(tmp_path: Path) -> None:
    content, _, _ = await exported(tmp_path / "evolution.db")
    lines = content.splitlines(keepends=True)
    report = verify_lines([*lines[:3], lines[3].replace(b"wrong", b"right"), *lines[4:]])
    assert report.first_bad is not None
    assert (report.entries, report.first_bad.seq, report.first_bad.why) == (2, 3, "its content or hash was changed")
    missing = verify_lines([*lines[:3], *lines[4:]])
    assert missing.first_bad is not None
    assert missing.first_bad.seq == 3


@pytest.mark.parametrize(("seq", "why"), [(4, "another hash"), (9, "an anchor names entry 9")])
async def test_a_ledger_without_the_anchored_entry_does_not_hold(tmp_path: Path, seq: int, why: str) -> None:
    content, _, _ = await exported(tmp_path / "evolution.db")
    report = verify_lines(content.splitlines(keepends=True), anchor=(seq, "ab" * 32))
    assert report.first_bad is not None
    assert why in report.first_bad.why
