"""The registry over real repositories."""

import asyncio
import json

import pygit2
import pytest

from tests.unit.registry.conftest import CHEAP, FILES
from uhlp.clock import FakeClock
from uhlp.errors import (
    AppExists,
    AppNotFound,
    ComponentNotFound,
    DefinitionFileNotFound,
    DefinitionInvalid,
    NotFound,
    RevisionConflict,
    StateConflict,
    Unavailable,
    ValidationFailed,
)
from uhlp.models.definition import AppDefinition, ComponentDefinition, ComponentRegistry, HandlerType, TaskDetails
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager

HANDLER = b"def handle(inputs, context):\n    return {'team': 'billing'}\n"


async def promote(registry: ApplicationRegistry, version: int = 1, **more) -> str:
    folder = f"_jit_code/triage/v{version}/"
    files = {f"{folder}handler.py": HANDLER, f"{folder}record.json": b"{}"}
    return await registry.switch_to_handler(
        "desk", "triage", version, files, message="Promote", trailers={"Component": "triage"}, **more
    )


async def test_an_application_is_served_as_soon_as_it_is_registered(registry, state):
    app = registry.snapshot("desk")
    triage = app.components["triage"]

    assert app.revision == (await state.read_tree("desk")).revision
    assert (await state.read_tree("desk")).files == FILES
    assert (await state.history("desk"))[0].author.startswith("Ann")
    assert app.routes.match("POST", "/tickets/7").component_id == "triage"
    assert triage.prompt.text.startswith("Which team?")
    assert triage.prompt_artifact.content == triage.prompt.artifact()
    assert triage.output_schema["required"] == ["team"]
    assert not triage.output_validator.is_valid({})
    assert triage.properties_types == {"id": "integer", "text": "string"}
    assert triage.configuration == {"limits": {"rows": 99, "columns": 3, "x": 0}}
    assert triage.golden[0].expected == {"team": "billing"}
    assert app.definition.initial_component_registry.components[0].component_id == "triage"
    assert await registry.list_active_applications() == ["desk"]
    assert (await registry.get_application_status("desk"))[0] == "ACTIVE"


async def test_the_model_is_held_to_the_component_s_own_output_schema(registry):
    own = b"    outputSchema: {type: object, required: [team], maxProperties: 2}\n"
    changed = FILES["component_registry.yaml"] + own
    await registry.apply_files("desk", {"component_registry.yaml": changed}, message="Be stricter", actor="Ann")
    triage = registry.snapshot("desk").components["triage"]
    assert json.loads(triage.prompt_artifact.content)["outputSchema"] == triage.output_schema
    assert triage.output_schema["maxProperties"] == 2


async def test_a_definition_alone_makes_the_files(registry, state):
    component = ComponentDefinition(component_id="one", task_details=TaskDetails(prompt_template="p"))
    definition = AppDefinition(
        app_id="made", version="1e3", initial_component_registry=ComponentRegistry(components=(component,))
    )
    await registry.register_application(definition, files={"prompts/p.yaml": b"template: hello\n"})
    assert await registry.get_application_details("made") == definition
    assert b"1e3" in (await state.read_tree("made")).files["app.yaml"]


async def test_an_id_is_registered_once(registry):
    with pytest.raises(AppExists):
        await registry.register_application(AppDefinition(app_id="desk"))


async def test_a_refused_registration_leaves_nothing(registry, state):
    with pytest.raises(DefinitionInvalid):
        await registry.register_application(AppDefinition(app_id="bad"), files={"app.yaml": b"appId: other\n"})
    assert await state.list_repositories() == ["desk"]


async def test_promotion_is_one_commit_and_keeps_prompt_and_comments(registry, state):
    before = registry.snapshot("desk")
    revision = await promote(registry)

    triage = registry.snapshot("desk").components["triage"]
    assert triage.definition.handler_type is HandlerType.JIT
    assert (triage.handler_version, triage.handler_function) == (1, "handle")
    assert triage.handler_artifact.content == HANDLER
    assert triage.prompt_artifact is not None
    assert triage.spec_hash == before.components["triage"].spec_hash
    assert before.components["triage"].definition.handler_type is HandlerType.LLM
    newest, older = (await state.history("desk"))[:2]
    assert (newest.revision, older.revision) == (revision, before.revision)
    assert newest.trailers == {"Component": "triage"}
    text = (await state.get_definition_file_content("desk", "component_registry.yaml")).content
    assert "# Which team takes it?" in text
    assert "# the class" in text

    await registry.switch_to_prompt("desk", "triage", message="Roll back")
    triage = registry.snapshot("desk").components["triage"]
    assert triage.definition.handler_type is HandlerType.LLM
    assert triage.definition.task_details == TaskDetails(prompt_template="triage")
    restored = (await state.get_definition_file_content("desk", "component_registry.yaml")).content
    assert restored == FILES["component_registry.yaml"].decode()


async def test_a_handler_made_for_another_meaning_is_not_promoted(registry):
    with pytest.raises(StateConflict):
        await promote(registry, expected_spec_hash="0" * 64)
    with pytest.raises(ValidationFailed):
        await registry.switch_to_handler("desk", "triage", 1, {"app.yaml": b""}, message="no")
    with pytest.raises(ComponentNotFound):
        await registry.switch_to_prompt("desk", "nobody", message="no")


async def test_applying_the_folder_again_keeps_a_promoted_handler_and_server_keys(registry, state):
    await promote(registry)
    raw, key_id = await registry.create_api_key("desk", "shop", ["invoke:triage"])
    changed = {**FILES, "app.yaml": FILES["app.yaml"] + b"displayName: Desk\n"}
    before = len(await state.history("desk"))
    await registry.apply_files("desk", changed, message="Apply", actor="Ann")

    app = registry.snapshot("desk")
    assert len(await state.history("desk")) == before + 1
    assert app.definition.display_name == "Desk"
    assert app.components["triage"].handler_version == 1
    assert key_id in app.api_keys
    assert (await registry.validate_api_key(raw)).permissions == ("invoke:triage",)
    assert "# The support desk." in (await state.get_definition_file_content("desk", "app.yaml")).content


async def test_applying_another_meaning_sends_the_component_back_to_the_model(registry):
    await promote(registry)
    changed = FILES["component_registry.yaml"].replace(b"Find the team", b"Find the floor")
    await registry.apply_files("desk", {"component_registry.yaml": changed}, message="New meaning")
    assert registry.snapshot("desk").components["triage"].definition.handler_type is HandlerType.LLM


async def test_files_are_applied_against_an_expected_revision_and_deleted_with_none(registry, state):
    first = registry.snapshot("desk").revision
    await registry.apply_files("desk", {"evals/triage.jsonl": None}, message="Drop", expected_base_revision=first)
    assert registry.snapshot("desk").components["triage"].golden == ()
    with pytest.raises(RevisionConflict):
        await registry.apply_files("desk", {"notes.md": b"x"}, message="Late", expected_base_revision=first)
    with pytest.raises(DefinitionFileNotFound):
        await registry.apply_files("desk", {"nothing": None}, message="Drop")
    with pytest.raises(DefinitionInvalid):
        await registry.apply_files("desk", {"prompts/triage.yaml": None}, message="Drop")
    assert "prompts/triage.yaml" in (await state.read_tree("desk")).files


async def test_a_bad_revision_from_outside_degrades_and_a_good_one_heals(registry, state):
    good = registry.snapshot("desk")
    bad = await state.commit("desk", {"component_registry.yaml": b"components:\n  - nope: 1\n"}, message="bad")
    await registry.run_cycle()

    assert registry.snapshot("desk") is good
    status, details = await registry.get_application_status("desk")
    assert status == "DEGRADED"
    assert (details["revision"], details["newestRevision"]) == (good.revision, bad)
    assert {"component_registry.yaml"} == {problem["file"] for problem in details["problems"]}
    assert {2} == {problem["line"] for problem in details["problems"]}

    restarted = ApplicationRegistry(state=state, config=CHEAP)
    await restarted.load_all()
    assert restarted.snapshot("desk").revision == good.revision
    assert (await restarted.get_application_status("desk"))[0] == "DEGRADED"

    await state.revert("desk", bad)
    await registry.run_cycle()
    assert (await registry.get_application_status("desk"))[0] == "ACTIVE"


def diff_of(path: str, old: bytes, new: bytes) -> str:
    return pygit2.Patch.create_from(old, new, path, path).text


async def test_a_diff_and_a_revert_are_checked_whole_before_they_are_committed(registry, state):
    path, old = "component_registry.yaml", FILES["component_registry.yaml"]
    first = registry.snapshot("desk").revision
    bad = diff_of(path, old, old.replace(b"prompt_template: triage", b"prompt_template: nobody"))
    with pytest.raises(DefinitionInvalid):
        await registry.apply_definition_diff("desk", path, bad, first, message="Break")
    assert (await state.read_tree("desk")).revision == registry.snapshot("desk").revision == first

    good = diff_of(path, old, old.replace(b"Find the team", b"Find the floor"))
    second = await registry.apply_definition_diff("desk", path, good, first, message="Floors", actor="Ann")
    assert registry.snapshot("desk").revision == second
    assert registry.snapshot("desk").components["triage"].definition.description == "Find the floor"
    with pytest.raises(RevisionConflict) as caught:
        await registry.apply_definition_diff("desk", path, bad, first, message="Late")
    assert "+    taskDetails: {prompt_template: nobody}" in caught.value.details["hunk"]

    await registry.apply_files("desk", {"prompts/other.yaml": b"template: x\n"}, message="Add a prompt")
    added = registry.snapshot("desk").revision
    named = old.replace(b"Find the team", b"Find the floor").replace(b"template: triage", b"template: other")
    await registry.apply_files("desk", {path: named}, message="Use it")
    with pytest.raises(DefinitionInvalid):
        await registry.revert("desk", added)
    third = await registry.revert("desk", second, message="Teams again", actor="Ann")
    assert registry.snapshot("desk").revision == third
    assert registry.snapshot("desk").components["triage"].definition.description == "Find the team"
    assert (await state.history("desk", limit=1))[0].message.strip() == "Teams again"


async def test_a_bad_revision_from_outside_can_be_reverted_by_the_registry(registry, state, tmp_path):
    good = registry.snapshot("desk")
    bad = await state.commit("desk", {"app.yaml": b"appId: [\n"}, message="bad")
    await registry.run_cycle()
    await registry.revert("desk", bad)
    assert (await registry.get_application_status("desk"))[0] == "ACTIVE"
    assert registry.snapshot("desk").definition == good.definition


async def test_an_application_without_any_good_revision_is_in_error_and_can_be_mended(registry, state):
    await state.create_repository("broken")
    await state.commit("broken", {"app.yaml": b"appId: [\n"}, message="bad")
    await state.create_repository("empty")
    await registry.load_all()

    assert (await registry.get_application_status("broken"))[0] == "ERROR"
    with pytest.raises(Unavailable, match="broken has no revision"):
        registry.snapshot("broken")
    with pytest.raises(AppNotFound):
        registry.snapshot("empty")
    await registry.apply_files("broken", {"app.yaml": b"appId: broken\n"}, message="Mend")
    assert (await registry.get_application_status("broken"))[0] == "ACTIVE"


async def test_a_damaged_repository_does_not_stop_the_others(registry, state, tmp_path):
    await registry.register_application(AppDefinition(app_id="damaged"))
    (tmp_path / "damaged.git/refs/heads/main").write_text("not a commit\n")
    restarted = ApplicationRegistry(state=state, config=CHEAP)
    await restarted.load_all()
    assert restarted.app_ids() == ["desk"]
    assert (await restarted.get_application_status("damaged"))[0] == "ERROR"
    await restarted.run_cycle()
    assert restarted.app_ids() == ["desk"]


async def test_repositories_made_and_removed_outside_are_noticed(registry, state):
    seen = []
    registry.on_change(seen.append)
    await state.create_repository("other")
    await state.commit("other", {"app.yaml": b"appId: other\n"}, message="made")
    await registry.run_cycle()
    assert registry.app_ids() == ["desk", "other"]
    await state.delete_repository("other")
    await registry.run_cycle()
    assert registry.app_ids() == ["desk"]
    await registry.run_cycle()
    assert seen == ["other", "other"]


class ListsWhatIsGone(StateManager):
    async def revisions(self) -> dict[str, str]:
        return {"gone": "a" * 40, **await super().revisions()}


async def test_an_application_that_goes_while_repositories_are_looked_at_holds_up_no_other(tmp_path):
    runtime = SqliteRuntimeStore(":memory:")
    state = ListsWhatIsGone(definitions=DefinitionStore(tmp_path, clock=FakeClock()), runtime=runtime)
    registry = ApplicationRegistry(state=state, config=CHEAP)
    await state.create_repository("other")
    await state.commit("other", {"app.yaml": b"appId: other\n"}, message="made")
    await registry.run_cycle()
    assert registry.app_ids() == ["other"]
    registry.close()
    await runtime.aclose()


async def test_a_deregistered_application_stays_away_until_it_is_registered_again(registry, state):
    await registry.deregister_application("desk")
    with pytest.raises(AppNotFound):
        registry.snapshot("desk")
    await registry.run_cycle()
    restarted = ApplicationRegistry(state=state, config=CHEAP)
    await restarted.load_all()
    assert (await restarted.get_application_status("desk"))[0] == "INACTIVE"

    await restarted.register_application(AppDefinition(app_id="desk"), files=FILES)
    assert (await restarted.get_application_status("desk"))[0] == "ACTIVE"
    await restarted.load_all()
    assert restarted.app_ids() == ["desk"]


async def test_deregistering_with_state_removes_repository_and_runtime_values(registry, state):
    await state.set_runtime_value("desk", "k", 1)
    await registry.deregister_application("desk", delete_state=True)
    assert await state.list_repositories() == []
    assert not (await state.get_runtime_value("desk", "k")).found
    with pytest.raises(AppNotFound):
        await registry.get_application_status("desk")
    with pytest.raises(AppNotFound):
        await registry.deregister_application("desk")


async def test_writers_at_the_same_time_all_arrive(registry, state):
    await asyncio.gather(
        *(registry.apply_files("desk", {f"files/{n}": b"x"}, message=f"{n}") for n in range(8)),
        *(state.commit("desk", {f"pushed/{n}": b"x"}, message=f"{n}") for n in range(2)),
    )
    await registry.run_cycle()
    assert len((await state.read_tree("desk")).files) == len(FILES) + 10
    assert registry.snapshot("desk").revision == (await state.read_tree("desk")).revision


async def test_an_update_takes_the_masked_fields_only(registry, state):
    await registry.update_application(
        "desk",
        {"displayName": "Desk", "version": "9", "configuration": {"limits": {"rows": 11}}, "llm": {"model": "m"}},
        update_mask=["displayName", "configuration.limits.rows", "llm.model", "llm.provider"],
        actor="Ann",
    )
    definition = registry.snapshot("desk").definition
    assert (definition.display_name, definition.version, definition.llm.model) == ("Desk", "1", "m")
    assert definition.configuration == {"limits": {"rows": 11, "columns": 3}}
    assert "# The support desk." in (await state.get_definition_file_content("desk", "app.yaml")).content

    await registry.update_application("desk", {}, update_mask=["initialComponentRegistry.components"])
    assert registry.snapshot("desk").components == {}


@pytest.mark.parametrize(
    "mask", [["nope"], ["displayName.x"], ["display_name"], ["appId"], [""], ["securityConfig.apiKeys.0"], []]
)
async def test_an_update_of_an_unknown_path_is_refused(registry, mask):
    with pytest.raises(ValidationFailed) as caught:
        await registry.update_application("desk", {}, update_mask=mask)
    assert caught.value.status == 422


async def test_components_are_found_by_id_and_by_route(registry):
    by_id = await registry.get_component_definition("desk", "triage")
    by_route = await registry.get_component_definition("desk", method="POST", path="/tickets/7")
    assert by_id.definition is by_route.definition
    assert by_route.extracted_path_parameters == {"id": "7"}
    assert not (await registry.get_component_definition("desk", "nobody")).found
    assert not (await registry.get_component_definition("desk", method="GET", path="/tickets/7")).found


async def test_configuration_values_tell_where_they_come_from(registry):
    async def value(key: str, component_id: str | None = None) -> tuple:
        found = await registry.get_app_configuration_value("desk", key, component_id)
        return found.found, found.value, found.origin

    assert await value("limits.rows") == (True, 10, "application")
    assert await value("limits.rows", "triage") == (True, 99, "component")
    assert await value("limits.x", "triage") == (True, 0, "global")
    assert await value("limits") == (True, {"rows": 10, "x": 0, "columns": 3}, "application")
    assert await value("limits.rows.deeper") == (False, None, None)

    async def whole(component_id: str | None = None) -> dict[str, tuple]:
        found = await registry.get_app_configuration("desk", component_id)
        return {key: (one.value, one.origin) for key, one in found.items()}

    common = {"limits.x": (0, "global"), "limits.columns": (3, "application")}
    assert await whole() == {"limits.rows": (10, "application"), **common}
    assert await whole("triage") == {"limits.rows": (99, "component"), **common}
    with pytest.raises(ComponentNotFound):
        await registry.get_app_configuration("desk", "nobody")


async def test_requirements_and_permissions_come_from_the_definition(registry):
    security = (
        b"securityConfig:\n"
        b"  interAppPermissions: [{allowedSourceAppId: shop, allowedEvents: [order]}]\n"
        b"  userRoles: {ops: {roleName: ops, permissions: ['admin:*', 'invoke:triage']}}\n"
        b"  userAssignments: {ann: [ops, gone]}\n"
    )
    await registry.apply_files("desk", {"app.yaml": FILES["app.yaml"] + security}, message="Security")
    assert [pool.pool_name for pool in (await registry.get_sandbox_requirements("desk")).pools] == ["default"]
    assert (await registry.get_application_permissions("desk"))[0].allowed_events == ("order",)
    ann = await registry.get_user_permissions_for_app("desk", "ann")
    assert (ann.assigned_roles, ann.calculated_permissions) == (("ops", "gone"), ("admin:*", "invoke:triage"))
    assert (await registry.get_user_permissions_for_app("desk", "bob")).assigned_roles == ()


async def test_a_key_works_until_it_is_deleted(registry, state):
    raw, key_id = await registry.create_api_key("desk", "shop")
    assert registry.known_api_key(raw) is None
    identity = await registry.validate_api_key(raw)
    assert (identity.app_id, identity.key_id, identity.permissions) == ("desk", key_id, ("invoke:*",))
    assert registry.known_api_key(raw) == identity
    assert raw not in (await state.get_definition_file_content("desk", "app.yaml")).content

    await registry.delete_api_key("desk", key_id)
    assert registry.known_api_key(raw) is None
    assert await registry.validate_api_key(raw) is None
    with pytest.raises(NotFound):
        await registry.delete_api_key("desk", key_id)


async def test_a_key_that_a_push_removes_is_noticed_by_the_next_cycle(registry, state):
    raw, _ = await registry.create_api_key("desk", "shop")
    assert await registry.validate_api_key(raw) is not None
    await state.commit("desk", {"app.yaml": FILES["app.yaml"]}, message="pushed from outside")
    assert registry.known_api_key(raw) is not None
    await registry.run_cycle()
    assert registry.known_api_key(raw) is None
    assert await registry.validate_api_key(raw) is None


async def test_only_what_changed_in_a_revision_is_compiled_anew(registry):
    before = registry.snapshot("desk").components["triage"]
    await registry.apply_files("desk", {"notes.md": b"x"}, message="Note")
    after = registry.snapshot("desk").components["triage"]
    assert after.input_validator is before.input_validator
    assert after.output_validator is before.output_validator
    changed = b'{"type": "object", "maxProperties": 3}'
    await registry.apply_files("desk", {"schemas/ticket.json": changed, "evals/triage.jsonl": b""}, message="Schema")
    assert registry.snapshot("desk").components["triage"].input_validator is not before.input_validator
