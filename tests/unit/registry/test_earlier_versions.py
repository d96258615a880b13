"""Handlers of earlier versions stay in the repository for ever; a change does not read them again."""

from pathlib import Path

import pygit2
import pytest

from uhlp.clock import FakeClock
from uhlp.errors import DefinitionInvalid
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.state_manager import StateManager

SECRET = b'KEY = "sk-ant-api03-' + b"Zx9" * 20 + b'"\n'


async def promote(registry: ApplicationRegistry, version: int) -> None:
    code = f"def handle(inputs, context):\n    return {{'team': 'v{version}'}}\n".encode()
    files = {f"_jit_code/triage/v{version}/handler.py": code}
    await registry.switch_to_handler("desk", "triage", version, files, message=f"Promote v{version}")


async def note(registry: ApplicationRegistry, number: int) -> str:
    return await registry.apply_files("desk", {"files/number.txt": f"{number}\n".encode()}, message="Note the number")


def served(registry: ApplicationRegistry) -> bytes:
    artifact = registry.snapshot("desk").components["triage"].handler_artifact
    return b"" if artifact is None else artifact.content


async def test_a_change_reads_no_handler_that_is_not_in_service(
    registry: ApplicationRegistry, state: StateManager, tmp_path: Path
) -> None:
    for version in (1, 2):
        await promote(registry, version)
    git = pygit2.Repository(str(tmp_path / "desk.git"))
    earlier = str(git.revparse_single("main:_jit_code/triage/v1/handler.py").id)
    blob = tmp_path / "desk.git" / "objects" / earlier[:2] / earlier[2:]
    kept = blob.read_bytes()
    blob.unlink()  # whoever reads it fails
    revision = await note(registry, 1)
    blob.write_bytes(kept)
    assert registry.snapshot("desk").revision == revision
    assert b"v2" in served(registry)
    tree = await state.read_tree("desk")
    assert tree.files["files/number.txt"] == b"1\n"
    assert b"v1" in tree.files["_jit_code/triage/v1/handler.py"]


async def test_a_definition_may_go_back_to_an_earlier_handler(
    registry: ApplicationRegistry, state: StateManager
) -> None:
    await promote(registry, 1)
    first = (await state.get_definition_file_content("desk", "component_registry.yaml")).content.encode()
    await promote(registry, 2)
    await note(registry, 1)
    await registry.apply_files("desk", {"component_registry.yaml": first}, message="Go back")
    assert b"v1" in served(registry)
    await note(registry, 2)
    assert b"v1" in served(registry)


async def test_a_definition_may_not_name_a_handler_that_there_never_was(
    registry: ApplicationRegistry, state: StateManager
) -> None:
    await promote(registry, 1)
    named = (await state.get_definition_file_content("desk", "component_registry.yaml")).content.encode()
    with pytest.raises(DefinitionInvalid, match="v7"):
        await registry.apply_files("desk", {"component_registry.yaml": named.replace(b"/v1/", b"/v7/")}, message="m")


async def test_what_was_pushed_into_an_earlier_version_is_still_looked_at(
    registry: ApplicationRegistry, tmp_path: Path
) -> None:
    for version in (1, 2):
        await promote(registry, version)
    pushing = DefinitionStore(tmp_path, clock=FakeClock())
    await pushing.commit("desk", {"_jit_code/triage/v1/handler.py": SECRET}, pushing.note("Push", "Eve"))
    with pytest.raises(DefinitionInvalid, match="secret:NAME"):
        await note(registry, 1)
    await registry.run_cycle()
    with pytest.raises(DefinitionInvalid, match="secret:NAME"):
        await note(registry, 2)


async def test_folders_that_are_left_out_are_not_in_a_tree(registry: ApplicationRegistry, state: StateManager) -> None:
    await promote(registry, 1)
    whole = (await state.read_tree("desk")).files
    without = (await state.read_tree("desk", without=lambda folder: folder == "_jit_code/triage/v1")).files
    assert whole.keys() - without.keys() == {"_jit_code/triage/v1/handler.py"}
