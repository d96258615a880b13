"""`uhlp history` and `uhlp rollback --to` against a listening server."""

import json

from cli.conftest import Run


async def test_history_tells_every_version_and_how_it_ended(uhlp: Run, server: dict[str, str]) -> None:
    shown = await uhlp("history", "shop", "echo", **server)
    assert shown.status == 0, shown.err
    assert "v1 *" in shown.out
    assert "2h 5m" in shown.out
    assert "59s" in shown.out
    for part in (
        "cand-1 at abababababab: 50 executions without an alarm; in service as v1",
        "by ann: a rehearsal",
        "by bob: it was better",
        "uhlp rollback shop echo --to VERSION",
    ):
        assert part in " ".join(shown.out.split()), shown.out
    listed = json.loads((await uhlp("history", "shop", "echo", "--json", **server)).out)
    assert listed[0]["inService"] == "v1"


async def test_history_of_an_application_is_that_of_its_components(uhlp: Run, server: dict[str, str]) -> None:
    await uhlp("init", "desk")
    await uhlp("apply", "desk", **server)
    shown = await uhlp("history", "desk", **server)
    assert "classify-ticket" in shown.out


async def test_two_versions_are_compared(uhlp: Run, server: dict[str, str]) -> None:
    shown = await uhlp("history", "shop", "echo", "--diff", "v1..prompt", **server)
    assert shown.out == "--- v1\n+++ prompt\n"
    assert (await uhlp("history", "shop", "--diff", "v1..prompt", **server)).status == 1
    assert (await uhlp("history", "shop", "echo", "--diff", "v1", **server)).status == 1


async def test_one_command_goes_back_to_a_version_or_says_why_not(uhlp: Run, server: dict[str, str]) -> None:
    back = await uhlp("rollback", "shop", "echo", "--to", "v1", "--reason", "it was better", **server)
    assert back.out == "shop/echo runs v1 at revision abababababab\n"
    refused = await uhlp("rollback", "shop", "echo", "--to", "v2", "--reason", "r", **server)
    assert (refused.status, "its code was taken out: 2 of 20 wrong" in refused.err) == (1, True)
    half = await uhlp("rollback", "shop", "echo", "--reason", "r", **server)
    assert (half.status, "uhlp rollback APP COMPONENT --to v2" in half.err) == (1, True)
    whole = await uhlp("rollback", "cand-1", "--reason", "r", **server)
    assert whole.out == "cand-1 is rolled_back\n"
