"""Applications whose definitions stand in a repository elsewhere too."""

import subprocess
from pathlib import Path

import pytest

from tests.unit.registry.conftest import CHEAP, FILES
from tests.unit.state.test_remotes import bare, git, push_there, tip
from uhlp.errors import DefinitionInvalid, RevisionConflict
from uhlp.models.definition import AppDefinition
from uhlp.registry.application_registry import ApplicationRegistry


@pytest.fixture
def remote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Elsewhere: the server's own repositories, in `tmp_path`, are nobody's remote."""
    return bare(tmp_path_factory.mktemp("remote") / "shop.git")


def files(remote: Path, more: str = "") -> dict[str, bytes]:
    named = f"appId: shop\nstateStoreConfig: {{params: {{repoUrl: {remote}}}}}\n{more}"
    return {**FILES, "app.yaml": named.encode(), "evals/triage.jsonl": b""}


async def register(registry: ApplicationRegistry, remote: Path) -> str:
    return await registry.register_application(AppDefinition(app_id="shop"), files=files(remote))


async def test_every_change_of_an_application_is_pushed(registry, remote):
    first = await register(registry, remote)
    assert tip(remote) == first
    _, details = await registry.get_application_status("shop")
    assert (details["remote"], details["remoteProblem"]) == (str(remote), None)
    await registry.update_application("shop", {"displayName": "Shop"}, update_mask=["displayName"])
    assert tip(remote) == registry.snapshot("shop").revision
    assert "displayName: Shop" in git(remote, "show", "main:app.yaml")


async def test_what_came_to_the_remote_meanwhile_is_served_with_the_change(registry, remote, tmp_path):
    await register(registry, remote)
    (tmp_path / "work").parent.mkdir(exist_ok=True)
    subprocess.run(["git", "clone", "-q", str(remote), str(tmp_path / "work")], check=True)  # noqa: ASYNC221
    theirs = FILES["component_registry.yaml"].replace(b"Find the team", b"Find the floor").decode()
    push_there(remote, tmp_path / "work", {"component_registry.yaml": theirs})
    revision = await registry.update_application("shop", {"displayName": "Shop"}, update_mask=["displayName"])
    app = registry.snapshot("shop")
    assert app.revision == revision == tip(remote)
    assert app.definition.display_name == "Shop"
    assert app.components["triage"].definition.description == "Find the floor"


async def test_a_clash_is_a_409_and_the_change_can_be_repeated(registry, remote, tmp_path):
    await register(registry, remote)
    theirs = files(remote, "displayName: Theirs\n")["app.yaml"].decode()
    pushed = push_there(remote, tmp_path / "work", {"app.yaml": theirs})
    with pytest.raises(RevisionConflict) as caught:
        await registry.update_application("shop", {"displayName": "Ours"}, update_mask=["displayName"])
    assert caught.value.details["paths"] == ["app.yaml"]
    await registry.run_cycle()
    assert registry.snapshot("shop").revision == pushed
    await registry.update_application("shop", {"displayName": "Ours"}, update_mask=["displayName"])
    assert tip(remote) == registry.snapshot("shop").revision
    assert registry.snapshot("shop").definition.display_name == "Ours"


async def test_a_remote_that_is_away_degrades_the_application_until_it_is_back(registry, state, remote, tmp_path):
    await register(registry, remote)
    remote.rename(tmp_path / "away")
    await registry.update_application("shop", {"displayName": "Shop"}, update_mask=["displayName"])
    status, details = await registry.get_application_status("shop")
    assert status == "DEGRADED"
    assert details["message"] == details["remoteProblem"]
    assert registry.snapshot("shop").definition.display_name == "Shop"
    (tmp_path / "away").rename(remote)
    await registry.run_remote_cycle()
    assert (await registry.get_application_status("shop"))[0] == "ACTIVE"
    assert tip(remote) == registry.snapshot("shop").revision


async def test_a_restarted_registry_takes_over_what_was_pushed_to_the_remote(registry, state, remote, tmp_path):
    await register(registry, remote)
    pushed = push_there(remote, tmp_path / "work", {"app.yaml": files(remote, "version: '7'\n")["app.yaml"].decode()})
    restarted = ApplicationRegistry(state=state, config=CHEAP)
    state.set_remote("shop", None)  # as after a start: nothing is known of it
    await restarted.load_all()
    await restarted.run_remote_cycle()
    assert restarted.snapshot("shop").revision == pushed
    assert restarted.snapshot("shop").definition.version == "7"


async def test_a_registration_that_clashes_with_a_filled_remote_leaves_nothing(registry, state, remote, tmp_path):
    push_there(remote, tmp_path / "work", {"app.yaml": "appId: another\n"})
    with pytest.raises(RevisionConflict):
        await register(registry, remote)
    assert await state.list_repositories() == ["desk"]


async def test_a_remote_that_is_no_address_is_refused_with_its_line(registry):
    wrong = FILES["app.yaml"] + b"stateStoreConfig: {params: {repoUrl: 'ext::sh -c x'}}\n"
    with pytest.raises(DefinitionInvalid) as caught:
        await registry.apply_files("desk", {"app.yaml": wrong}, message="No")
    (problem,) = caught.value.details["problems"]
    assert (problem["path"], problem["line"]) == ("/stateStoreConfig/params", 8)
