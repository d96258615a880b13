"""`uhlp ledger export` and `verify --file`: a ledger that leaves its server and is not believed blindly."""

from pathlib import Path

import pytest

from cli.conftest import Run
from tests.unit.evolution.settings_set import put_setting
from uhlp.clock import FakeClock
from uhlp.evolution.store import EvolutionStore


@pytest.fixture
async def head(tmp_path: Path) -> tuple[int, str]:
    """A data directory `data` with three entries; its head."""
    async with EvolutionStore(path=tmp_path / "data" / "evolution.db", clock=FakeClock()) as store:
        for number in range(3):
            await put_setting(store, "n", number, actor="ann", reason="stricter")
        return await store.head()


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def overwrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)


async def test_an_exported_ledger_is_verified_anywhere(uhlp: Run, tmp_path: Path, head: tuple[int, str]) -> None:
    exported = await uhlp("ledger", "export", "--data-dir", "data", "--file", "ledger.jsonl")
    assert (exported.status, exported.out, exported.err) == (0, "", "")
    printed = await uhlp("ledger", "export", "--data-dir", "data")
    assert printed.out.encode() == bytes_of(tmp_path / "ledger.jsonl")
    anchor = f"{head[0]}:{head[1]}"
    verified = await uhlp("ledger", "verify", "--file", "ledger.jsonl", "--anchor", anchor)
    assert verified.out == f"the ledger holds: 3 entries, head {head[1]}\n"


async def test_a_changed_or_shortened_file_is_refused_with_its_first_fault(
    uhlp: Run, tmp_path: Path, head: tuple[int, str]
) -> None:
    await uhlp("ledger", "export", "--data-dir", "data", "--file", "ledger.jsonl")
    content = bytes_of(tmp_path / "ledger.jsonl")
    overwrite(tmp_path / "changed.jsonl", content.replace(b"stricter", b"laxer   ", 1))
    overwrite(tmp_path / "short.jsonl", b"".join(content.splitlines(keepends=True)[:-2]))
    changed = await uhlp("ledger", "verify", "--file", "changed.jsonl")
    assert changed.status == 1
    assert "does not hold at entry 1: its content or hash was changed" in changed.err
    short = await uhlp("ledger", "verify", "--file", "short.jsonl")
    assert "no whole ledger: the end is missing or another one, after entry 2" in short.err
    elsewhere = await uhlp("ledger", "verify", "--file", "ledger.jsonl", "--anchor", f"2:{'ab' * 32}")
    assert "does not hold at entry 2: another hash than the anchored one" in elsewhere.err


async def test_a_server_hands_out_its_ledger(uhlp: Run, server: dict[str, str]) -> None:
    exported = await uhlp("ledger", "export", "--file", "ledger.jsonl", **server)
    assert exported.status == 0, exported.err
    assert "the ledger holds: 0 entries" in (await uhlp("ledger", "verify", "--file", "ledger.jsonl")).out
    refused = await uhlp("ledger", "export", "--file", "none.jsonl", **{**server, "UHLP_ADMIN_TOKEN": "wrong"})
    assert (refused.status, "UHLP_ADMIN_TOKEN" in refused.err) == (3, True)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("export", "--data-dir", "nowhere"), "holds no ledger"),
        (("verify", "--file", "nowhere"), "cannot be read"),
        (("verify", "--file", "nowhere", "--anchor", "3"), "is no anchor"),
        (("export", "--data-dir", "data", "--file", "no/such/folder"), "cannot be written"),
    ],
)
async def test_what_cannot_be_done_is_said(
    uhlp: Run, head: tuple[int, str], arguments: tuple[str, ...], why: str
) -> None:
    done = await uhlp("ledger", *arguments)
    assert (done.status, why in done.err) == (1, True), done
