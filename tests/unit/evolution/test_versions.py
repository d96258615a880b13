"""Every version of a component: who put it there, why, on what evidence, how long it served, and the way back to it."""

from typing import Any

import pytest

from tests.unit.evolution.world import APP, FORGETS_PEARS, GOOD, PARSE, World, coder_answer, lines
from uhlp.errors import ComponentNotFound, NotFound, StateConflict, ValidationFailed

FIRST, SECOND = GOOD, GOOD.replace("no order line", "no line of an order")


async def versions(world: World) -> dict[str, dict[str, Any]]:
    listed = await world.versions.listed(APP, PARSE)
    return {one["version"]: one for one in listed["versions"]}


async def go_back(world: World, to: str, reason: str = "it was better") -> dict[str, Any]:
    return await world.versions.return_to(APP, PARSE, to, actor="ann", reason=reason)


async def roll_back(world: World, candidate_id: str, reason: str = "a rehearsal") -> None:
    await world.oversight.act(candidate_id, "rollback", actor="ann", reason=reason)


async def two_versions(world: World) -> tuple[str, str]:
    """v1, which ann took out, and v2 in service."""
    world.clock.advance(60)
    first = await world.to_state("canary", code=FIRST)
    await world.oversight.act(first, "promote-full", actor="ann", reason="no doubt")
    world.clock.advance(600)
    await roll_back(world, first)
    world.clock.advance(86_400)
    world.model.coder.append(coder_answer(SECOND))
    second = await world.optimize()
    await world.oversight.act(second, "promote-full", actor="ann", reason="no doubt")
    return first, second


# -- seeing


async def test_a_new_component_has_its_prompt(world: World) -> None:
    listed = await world.versions.listed(APP, PARSE)
    (prompt,) = listed["versions"]
    assert listed["inService"] == prompt["version"] == f"prompt@{prompt['revision'][:12]}"
    assert (prompt["kind"], prompt["reason"], prompt["isInService"]) == ("prompt", f"Register {APP}", True)
    with pytest.raises(ComponentNotFound):
        await world.versions.listed(APP, "nobody")


async def test_every_handler_tells_who_when_why_on_what_evidence_and_for_how_long(world: World) -> None:
    first, second = await two_versions(world)
    world.clock.advance(50)
    found = await versions(world)
    assert list(found)[:2] == ["v2", "v1"]
    one, two = found["v1"], found["v2"]
    assert (one["candidateId"], two["candidateId"]) == (first, second)
    assert (one["actor"], one["codeSha"], one["isInService"]) == (
        "ann", world.book.candidate(first).code_sha, False,
    )  # fmt: skip
    assert one["reason"] == "no doubt; in service as v1"
    assert one["statistics"]["n"] >= 41
    (service,) = one["services"]
    assert (service["endedAs"], service["endedBy"], service["endReason"]) == ("rolled_back", "ann", "a rehearsal")
    assert one["inServiceS"] == service["until"] - service["from"] == 600
    assert (two["isInService"], two["inServiceS"], two["services"][0]["until"]) == (True, 50, None)
    commits = {commit.revision: commit for commit in await world.state.history(APP)}
    assert commits[one["revision"]].trailers["Candidate"] == first
    assert commits[two["revision"]].trailers["Candidate"] == second


async def test_the_newest_are_listed_the_one_in_service_and_whether_older_ones_are_left_out(world: World) -> None:
    await two_versions(world)
    whole = await world.versions.listed(APP, PARSE)
    newest = await world.versions.listed(APP, PARSE, limit=1)
    assert [one["version"] for one in newest["versions"]] == ["v2", whole["versions"][-1]["version"]]
    assert (whole["areVersionsLeftOut"], newest["areVersionsLeftOut"]) == (False, True)
    assert newest["versions"][-1] == whole["versions"][-1], "the time of a handler that is left out is no prompt's"
    await go_back(world, "v1")
    newest = await world.versions.listed(APP, PARSE, limit=1)
    assert [one["version"] for one in newest["versions"] if one["kind"] == "handler"] == ["v2", "v1"]
    assert newest["inService"] == "v1"


async def test_a_prompt_served_while_no_handler_did(world: World) -> None:
    await two_versions(world)
    world.clock.advance(1000)
    await world.change_prompt()
    await world.daemon.run_cycle()
    world.clock.advance(70)
    listed = await world.versions.listed(APP, PARSE)
    newer, older = (one for one in listed["versions"] if one["kind"] == "prompt")
    assert (newer["reason"], newer["inServiceS"], newer["isInService"]) == ("Say it better", 70, True)
    times = older["services"]
    assert len(times) == 2, "before v1, and between v1 and v2"
    handlers = [one for one in listed["versions"] if one["kind"] == "handler"]
    assert sum(one["inServiceS"] for one in [*handlers, older]) == pytest.approx(newer["at"] - older["at"], abs=2)


async def test_two_versions_are_compared(world: World) -> None:
    await two_versions(world)
    await world.change_prompt()
    handlers = await world.versions.diff(APP, PARSE, "v1", "v2")
    assert '-        raise Deoptimize("no order line")' in handlers
    assert '+        raise Deoptimize("no line of an order")' in handlers
    newer, older = (one["version"] for one in (await versions(world)).values() if one["kind"] == "prompt")
    prompts = await world.versions.diff(APP, PARSE, older, newer)
    assert '+template: "Read this carefully: {{ text }}"' in prompts
    assert await world.versions.diff(APP, PARSE, newer, "prompt") == ""
    for unknown in ("v9", "prompt@abcabcabcabc"):
        with pytest.raises(NotFound):
            await world.versions.diff(APP, PARSE, "v1", unknown)


# -- going back


async def test_an_earlier_handler_comes_back_with_its_own_evidence_ledger_first(world: World) -> None:
    first, second = await two_versions(world)
    before, calls = world.book.candidate(first), len(world.model.asked)
    answer = await go_back(world, "v1")
    assert answer["inService"] == "v1"
    assert (world.state_of(first), world.state_of(second)) == ("promoted", "rolled_back")
    sent = await world.send("3 figs", observe=False)
    assert (sent.implementation, sent.reason) == ("jit@v1", "STATIC")
    assert len(world.model.asked) == calls
    back = world.book.candidate(first)
    assert (back.evidence, back.cause, back.version) == (before.evidence, None, 1)
    entries = [one.entry for one in await world.store.entries(APP, limit=1000)][-2:]
    assert [(one.candidate_id, one.event, one.to_state, one.actor, one.reason) for one in entries] == [
        (second, "moved", "rolled_back", "ann", "return to v1: it was better"),
        (first, "returned", "promoted", "ann", "return to v1: it was better"),
    ]
    files = (await world.state.read_tree(APP)).files
    assert b"_jit_code/parse/v1/handler.py" in files["component_registry.yaml"]
    assert (await world.anchors.newest()) == await world.store.head()
    assert (await versions(world))["v1"]["services"][1]["event"] == "returned"


async def test_audits_watch_a_handler_that_came_back_and_take_it_out_again(world: World) -> None:
    first, _ = await two_versions(world)
    await go_back(world, "v1")
    audited = world.governor.evidence_of(first).audits.n
    world.model.answer = lambda inputs: {"quantity": 1, "product": "something else"}
    await world.send_all(lines(200, start=70_000))
    assert world.book.candidate(first).state == "rolled_back"
    assert world.book.candidate(first).cause == "audit"
    assert world.book.candidate(first).monitor["audits"]["n"] > audited
    with pytest.raises(StateConflict, match="v1 may not serve again: its code was taken out"):
        await go_back(world, "v1")


async def test_it_can_be_left_and_entered_again_and_again(world: World) -> None:
    await two_versions(world)
    for version in ("v1", "v2", "v1"):
        assert (await go_back(world, version))["inService"] == version
        assert (await world.send("3 figs", observe=False)).implementation == f"jit@{version}"


async def test_after_a_restart_what_came_back_still_serves(world: World) -> None:
    first, _ = await two_versions(world)
    await go_back(world, "v1")
    await world.restart()
    assert world.state_of(first) == "promoted"
    assert (await world.send("3 figs", observe=False)).implementation == "jit@v1"


class Crash(BaseException):
    """The power fails here."""


async def test_a_crash_after_the_ledger_loses_no_return(world: World) -> None:
    first, _ = await two_versions(world)

    def crashing(*given: Any) -> None:
        raise Crash

    world.governor.admit = crashing  # type: ignore[method-assign]
    with pytest.raises(Crash):
        await go_back(world, "v1")
    await world.restart()
    assert world.state_of(first) == "promoted"
    assert (await world.send("3 figs", observe=False)).implementation == "jit@v1"
    await world.daemon.run_cycle()
    assert (await world.versions.listed(APP, PARSE))["inService"] == "v1"


async def test_a_handler_that_was_taken_out_for_being_wrong_does_not_come_back(world: World) -> None:
    candidate_id = await world.to_state("promoted", code=FORGETS_PEARS, without="pears")
    await world.send_all(lines(100, start=20_000, product="pears"))
    assert world.state_of(candidate_id) == "rolled_back"
    assert "wrong" in (await versions(world))["v1"]["whyNotAgain"]
    head = await world.store.head()
    with pytest.raises(StateConflict, match=r"v1 may not serve again: its code was taken out: .* wrong"):
        await go_back(world, "v1")
    assert await world.store.head() == head


async def test_a_handler_of_another_specification_does_not_come_back_until_that_does(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    original = (await world.versions.listed(APP, PARSE))["versions"][-1]["version"]
    await world.change_prompt()
    await world.daemon.run_cycle()
    assert world.state_of(candidate_id) == "superseded"
    with pytest.raises(StateConflict, match="made for another prompt"):
        await go_back(world, "v1")
    await go_back(world, original)
    await go_back(world, "v1")
    assert (await world.send("3 figs", observe=False)).implementation == "jit@v1"


async def test_quarantined_code_does_not_come_back(world: World) -> None:
    candidate_id = await world.to_state("promoted")
    await world.oversight.act(candidate_id, "quarantine", actor="ann", reason="it looked at the clock")
    with pytest.raises(StateConflict, match="it is quarantined: it looked at the clock"):
        await go_back(world, "v1")


async def test_code_that_is_not_what_the_ledger_names_does_not_come_back(world: World) -> None:
    first, second = await two_versions(world)
    ref = f"refs/uhlp/candidates/{first}"
    files = await world.state.read_ref_tree(APP, ref)
    assert files is not None
    await world.state.put_ref_tree(APP, ref, {**files, "handler.py": b"evil"}, "Changed")
    with pytest.raises(StateConflict, match="no longer what the ledger names"):
        await go_back(world, "v1")
    assert world.state_of(second) == "promoted"


async def test_the_prompt_comes_back_in_one_step(world: World) -> None:
    _, second = await two_versions(world)
    answer = await go_back(world, "prompt")
    assert answer["inService"].startswith("prompt@")
    assert world.state_of(second) == "rolled_back"
    assert (await world.send("3 figs", observe=False)).implementation == "prompt@stable"
    with pytest.raises(StateConflict, match="nothing to take out"):
        await go_back(world, "prompt")


async def test_a_revision_brings_back_what_was_in_service_there(world: World) -> None:
    await two_versions(world)
    found = await versions(world)
    assert (await go_back(world, found["v1"]["revision"][:10]))["inService"] == "v1"
    prompt = next(one for one in found.values() if one["kind"] == "prompt")
    text = (await world.state.read_tree(APP)).files["prompts/parse.yaml"]
    await world.change_prompt()
    await world.daemon.run_cycle()
    answer = await go_back(world, prompt["version"], reason="the new words were worse")
    files = (await world.state.read_tree(APP)).files
    assert files["prompts/parse.yaml"] == text
    newest = (await world.state.history(APP, limit=1))[0]
    assert (newest.revision, newest.author.split(" <")[0]) == (answer["revision"], "ann")
    assert "the new words were worse" in newest.message


async def test_what_is_not_there_or_is_there_already_is_said(world: World) -> None:
    await two_versions(world)
    with pytest.raises(NotFound, match="no version v9; the ledger knows v1, v2"):
        await go_back(world, "v9")
    for name in ("0123456789ab", "v²", f"v{'9' * 5_000}"):
        with pytest.raises(NotFound, match="no revision"):
            await go_back(world, name)
    with pytest.raises(StateConflict, match="v2 is in service"):
        await go_back(world, "v2")
    with pytest.raises(ValidationFailed):
        await go_back(world, "v1", reason=" ")


async def test_a_candidate_on_its_way_is_decided_about_first(world: World) -> None:
    first = await world.to_state("promoted")
    await roll_back(world, first)
    world.model.coder.append(coder_answer(SECOND))
    other = await world.optimize(compiled=False)
    with pytest.raises(StateConflict, match=f"Candidate {other} of parse is discovered; reject it first"):
        await go_back(world, "v1")
