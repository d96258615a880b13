"""Access tokens: who is recognised, what is kept, who cannot be locked out."""

from pathlib import Path

import pytest

from uhlp.access.access_tokens import AccessTokens
from uhlp.access.administrator import Administrator, Role
from uhlp.clock import FakeClock
from uhlp.errors import Conflict, TokenNotFound, Unavailable, ValidationFailed
from uhlp.evolution.access_entries import AccessEntries
from uhlp.evolution.ledger import Event
from uhlp.evolution.store import EvolutionStore


class Ledger:
    """Remembers what was written; fails when told to."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str, str]] = []
        self.is_full = False

    async def write(self, *, actor: str, reason: str, token: Administrator) -> None:
        if self.is_full:
            raise Unavailable("the disk is full")
        self.written.append((actor, reason, token.name))


def tokens(folder: Path, *, ledger=None, clock=None, first_token: str = "the first one", **given) -> AccessTokens:
    return AccessTokens(
        path=folder / "evolution.db",
        first_token=first_token,
        ledger=ledger or Ledger(),
        clock=clock or FakeClock(),
        **given,
    )


async def made(some: AccessTokens, name: str = "ann", role: Role = Role.OPERATOR) -> tuple[bytes, str]:
    """The raw token, and its id."""
    raw, view = await some.create(name, role, actor="admin", reason="she asked")
    return raw.encode(), view.holder.token_id


def assert_kept_nowhere(secret: bytes, folder: Path) -> None:
    assert not any(secret in file.read_bytes() for file in folder.iterdir())


def test_each_role_may_all_that_the_one_before_it_may() -> None:
    allowed = {role: [needed for needed in Role if role.covers(needed)] for role in Role}
    assert allowed == {
        Role.VIEWER: [Role.VIEWER],
        Role.OPERATOR: [Role.VIEWER, Role.OPERATOR],
        Role.OWNER: [Role.VIEWER, Role.OPERATOR, Role.OWNER],
    }


async def test_a_token_is_recognised_until_it_is_deleted(tmp_path: Path) -> None:
    async with tokens(tmp_path) as some:
        raw, token_id = await made(some)
        assert some.holder(raw) == Administrator(token_id, "ann", Role.OPERATOR)
        assert (await some.delete(token_id, actor="admin", reason="she left")).name == "ann"
        assert some.holder(raw) is None
        assert some.by_id(token_id) is None
        with pytest.raises(TokenNotFound):
            await some.delete(token_id, actor="admin", reason="again")


async def test_only_exactly_the_token_is_recognised(tmp_path: Path) -> None:
    async with tokens(tmp_path) as some:
        raw, token_id = await made(some)
        other = raw[:-1] + (b"0" if raw[-1:] != b"0" else b"1")
        for wrong in (b"", b"x", raw[:-1], raw + b"0", other, raw.upper(), token_id.encode(), b"\xff" * 90, b"admin"):
            assert some.holder(wrong) is None
        assert some.holder(b"the first one") == Administrator("admin", "admin", Role.OWNER)


async def test_tokens_outlive_a_restart_and_their_secrets_stand_nowhere(tmp_path: Path) -> None:
    async with tokens(tmp_path) as some:
        raw, token_id = await made(some)
        gone, gone_id = await made(some, "bob")
        await some.delete(gone_id, actor="admin", reason="he left")
    async with tokens(tmp_path) as again:
        assert again.holder(raw) == Administrator(token_id, "ann", Role.OPERATOR)
        assert again.holder(gone) is None
        assert [view.holder.name for view in again.listed()] == ["admin", "ann"]
    assert_kept_nowhere(raw.rpartition(b"_")[2], tmp_path)


async def test_the_first_token_cannot_be_deleted_so_nobody_is_locked_out(tmp_path: Path) -> None:
    async with tokens(tmp_path) as some:
        _, token_id = await made(some, "ann", Role.OWNER)
        with pytest.raises(Conflict, match="UHLP_ADMIN_TOKEN"):
            await some.delete("admin", actor="ann", reason="mine alone")
        await some.delete(token_id, actor="ann", reason="I leave")
        assert some.holder(b"the first one") is not None


async def test_another_first_token_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    async with tokens(tmp_path, first_token="old"):
        pass
    async with tokens(tmp_path, first_token="new") as some:
        assert some.holder(b"old") is None
        assert some.holder(b"new") == Administrator("admin", "admin", Role.OWNER)


@pytest.mark.parametrize(
    "name", ["", "a b", "-ann", "ann<x@y>", "a" * 64, "ann\n", "änn", "admin", "Governor", "oracle", "UHLP"]
)
async def test_a_name_that_is_no_name_or_the_servers_own_is_refused(tmp_path: Path, name: str) -> None:
    ledger = Ledger()
    async with tokens(tmp_path, ledger=ledger) as some:
        with pytest.raises(ValidationFailed):
            await made(some, name)
        assert (len(some.listed()), ledger.written) == (1, [])


async def test_a_name_is_one_persons_and_free_again_afterwards(tmp_path: Path) -> None:
    async with tokens(tmp_path) as some:
        _, token_id = await made(some, "ann")
        with pytest.raises(Conflict, match="Ann"):
            await made(some, "Ann")
        await some.delete(token_id, actor="admin", reason="a new one for her")
        _, new_id = await made(some, "ann")
        assert new_id != token_id


async def test_the_day_of_the_last_use_is_shown_and_kept(tmp_path: Path) -> None:
    clock = FakeClock(1_750_000_000.0)  # 2025-06-15
    async with tokens(tmp_path, clock=clock) as some:
        raw, _ = await made(some)
        assert [view.last_used_day for view in some.listed()] == [None, None]
        some.holder(raw)
        some.holder(b"the first one")
        clock.advance(86_400)
        some.holder(raw)
        assert [view.last_used_day for view in some.listed()] == ["2025-06-15", "2025-06-16"]
        await some.run_cycle()
    async with tokens(tmp_path, clock=clock) as again:
        assert [view.last_used_day for view in again.listed()] == ["2025-06-15", "2025-06-16"]


async def test_what_the_ledger_does_not_take_is_not_done(tmp_path: Path) -> None:
    ledger = Ledger()
    async with tokens(tmp_path, ledger=ledger) as some:
        raw, token_id = await made(some)
        ledger.is_full = True
        with pytest.raises(Unavailable):
            await made(some, "bob")
        with pytest.raises(Unavailable):
            await some.delete(token_id, actor="admin", reason="she left")
        assert [view.holder.name for view in some.listed()] == ["admin", "ann"]
        assert some.holder(raw) is not None
        assert ledger.written == [("admin", f"made token {token_id} of ann, operator: she asked", "ann")]


async def test_the_number_of_tokens_is_bounded(tmp_path: Path) -> None:
    async with tokens(tmp_path, most_tokens=2) as some:
        await made(some, "ann")
        await made(some, "bob")
        with pytest.raises(Conflict, match="delete one first"):
            await made(some, "cid")


async def test_making_and_deleting_stand_in_the_ledger_also_where_another_server_leads(tmp_path: Path) -> None:
    clock = FakeClock()

    def not_leading() -> int:
        raise AssertionError("a server's own tokens are no decision about candidates")

    async with EvolutionStore(path=tmp_path / "evolution.db", clock=clock, fence=not_leading) as store:
        async with tokens(tmp_path, ledger=AccessEntries(store=store, clock=clock), clock=clock) as some:
            store.roles_from(some.role_of)
            _, token_id = await made(some, "ann", Role.OWNER)
            await some.delete(token_id, actor="ann", reason="I leave")
        made_entry, deleted = [sealed.entry for sealed in await store.entries()]
        assert (made_entry.event, made_entry.actor, made_entry.role) == (Event.ACCESS, "admin", "owner")
        assert made_entry.evidence == {"tokenId": token_id, "name": "ann", "role": "owner"}
        assert (deleted.actor, deleted.role, deleted.reason.endswith(": I leave")) == ("ann", "owner", True)
        assert (await store.verify()).ok
        assert await store.check_fold() == []
