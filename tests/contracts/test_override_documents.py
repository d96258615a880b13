"""What every store of prompt overrides keeps: git, the runtime store (SQLite, Redis) and S3, each a real one."""

import asyncio
import os
import shutil
import urllib.request
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from moto.server import ThreadedMotoServer

from tests.contracts.test_runtime_store import RedisServer, until_up
from uhlp.clock import FakeClock
from uhlp.errors import OverrideConflict, OverrideNotFound, OverrideRefused, OverrideStoreUnavailable, ValidationFailed
from uhlp.prompts import parse_prompt
from uhlp.prompts.overrides import PromptDescriptor, PromptOverridesStore, SectionOverride
from uhlp.prompts.overrides.documents_by_tag import DocumentsByTag
from uhlp.prompts.overrides.git_documents import GitDocuments
from uhlp.prompts.overrides.override_documents import ChangeNote, OverrideDocuments
from uhlp.prompts.overrides.override_set import KeptSection, OverrideId, OverrideSet
from uhlp.prompts.overrides.runtime_documents import RuntimeDocuments
from uhlp.prompts.overrides.s3_documents import S3Documents, S3Settings
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.redis_runtime_store import RedisRuntimeStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager

TEMPLATE = """\
template: |
  You sort tickets for {{ company }}. You are very thorough and always careful.

  ## Rules
  Answer one of {% for desk in desks %}{{ desk }} {% endfor %}, please.

  ## Ticket
  {{ text }}
"""
NOTE = ChangeNote("Shorten it", "Ada <ada@example.org>")
RULES = "## Rules\nOne of {% for desk in desks %}{{ desk }} {% endfor %}.\n\n"
SHORT = "You sort tickets for {{ company }}.\n\n"


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory):
    if shutil.which("redis-server") is None:
        if os.environ.get("UHLP_REQUIRE_SERVICES") == "1":
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bucket():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/prompts", method="PUT"))
    yield S3Settings(bucket="prompts", endpoint=endpoint, access_key_id="key", secret_access_key="secret")
    server.stop()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["git", "sqlite", "redis", "s3", "by_tag"])
async def documents(request, tmp_path, clock: FakeClock) -> AsyncIterator[OverrideDocuments]:
    if request.param == "s3":
        settings = request.getfixturevalue("bucket").model_copy(update={"prefix": uuid4().hex})
        yield S3Documents(settings)
        return
    if request.param == "redis":
        store = RedisRuntimeStore(request.getfixturevalue("redis_server").url)
        await until_up(store)
        await store.delete_prefix("uhlp:framework:")
    else:
        store = SqliteRuntimeStore(tmp_path / "runtime.db", clock=clock)
    runtime = RuntimeDocuments(values=FrameworkValues(store), clock=clock)
    if request.param in ("sqlite", "redis"):
        yield runtime
    else:
        state = StateManager(definitions=DefinitionStore(tmp_path / "apps"), runtime=store)
        await state.create_repository("desk")
        await state.commit("desk", {"app.yaml": b"appId: desk\n"}, message="Register desk")
        git = GitDocuments(files=state, write=state.commit)
        yield git if request.param == "git" else DocumentsByTag(durable=git, temporary=runtime)
    await store.aclose()


@pytest.fixture
def store(documents: OverrideDocuments, clock: FakeClock) -> PromptOverridesStore:
    return PromptOverridesStore(documents=documents, clock=clock)


@pytest.fixture
def prompt() -> PromptDescriptor:
    return PromptDescriptor("desk", "triage", parse_prompt(TEMPLATE.encode(), path="prompts/triage.yaml"))


def override(prompt: PromptDescriptor, key: str, body: str) -> SectionOverride:
    section = next(one for one in prompt.sections if one.key == key)
    return SectionOverride(path=(key,), expected_hash=section.sha256, body=body)


def kept(body: str, at: float = 1.0) -> OverrideSet:
    return OverrideSet(created_at=at, sections={"rules": KeptSection(expected_hash="0" * 64, body=body)})


IDENTITY = OverrideId("desk", "triage", "shorter")


async def test_what_is_put_is_read_by_everybody(documents: OverrideDocuments) -> None:
    overrides = kept("Ünïcode\nand: two lines  \n\n")
    assert (await documents.read(IDENTITY)).overrides is None
    assert await documents.swap(IDENTITY, await documents.read(IDENTITY), overrides, NOTE)
    found = (await documents.read(IDENTITY)).overrides
    assert found == overrides
    assert found.revision == overrides.revision


async def test_who_read_an_older_set_changes_nothing(documents: OverrideDocuments) -> None:
    empty = await documents.read(IDENTITY)
    assert await documents.swap(IDENTITY, empty, kept("first"), NOTE)
    assert not await documents.swap(IDENTITY, empty, kept("late"), NOTE)
    old = await documents.read(IDENTITY)
    assert await documents.swap(IDENTITY, old, kept("second", 2.0), NOTE)
    assert not await documents.swap(IDENTITY, old, None, NOTE)
    assert (await documents.read(IDENTITY)).overrides == kept("second", 2.0)


async def test_of_many_writers_at_once_one_wins(documents: OverrideDocuments) -> None:
    held = await documents.read(IDENTITY)
    swaps = [documents.swap(IDENTITY, held, kept(f"number {one}", float(one)), NOTE) for one in range(8)]
    assert sorted(await asyncio.gather(*swaps)) == [False] * 7 + [True]


async def test_a_removed_set_is_gone_and_its_history_is_not(documents: OverrideDocuments) -> None:
    for body in ("first", "second"):
        assert await documents.swap(IDENTITY, await documents.read(IDENTITY), kept(body), NOTE)
    assert await documents.swap(IDENTITY, await documents.read(IDENTITY), None, NOTE)
    assert (await documents.read(IDENTITY)).overrides is None
    assert await documents.identities("desk") == []
    assert [one.sections["rules"].body for one in await documents.history(IDENTITY, 10)] == ["second", "first"]
    assert await documents.swap(IDENTITY, await documents.read(IDENTITY), kept("third"), NOTE)
    assert (await documents.read(IDENTITY)).overrides == kept("third")


async def test_sets_are_listed_by_application_and_prompt(documents: OverrideDocuments) -> None:
    names = [("triage", "a"), ("triage", "b.2"), ("other", "a")]
    for key, tag in names:
        identity = OverrideId("desk", key, tag)
        assert await documents.swap(identity, await documents.read(identity), kept(key), NOTE)
    assert await documents.identities("desk", "triage") == [OverrideId("desk", "triage", tag) for tag in ("a", "b.2")]
    assert len(await documents.identities("desk")) == 3


async def test_one_edit_is_resolved_and_the_rest_comes_from_the_file(store, prompt) -> None:
    await store.store(prompt, override(prompt, "preamble", SHORT), tag="shorter")
    resolved = await store.resolve(prompt, "shorter")
    assert resolved.prompt.text == prompt.prompt.text.replace(" You are very thorough and always careful.", "")
    assert resolved.digest != (await store.resolve(prompt, "stable")).digest
    assert [tag for tag, _ in resolved.layers] == ["shorter"]


async def test_a_tag_stands_on_its_parents(store, prompt) -> None:
    await store.store(prompt, override(prompt, "preamble", SHORT))
    await store.put(prompt, [override(prompt, "rules", RULES)], tag="next", parent="stable")
    both = await store.resolve(prompt, "next")
    assert [tag for tag, _ in both.layers] == ["stable", "next"]
    assert "thorough" not in both.prompt.text
    assert "please" not in both.prompt.text


async def test_a_parent_that_is_not_there_is_refused_whoever_names_it(store, prompt) -> None:
    edit = override(prompt, "preamble", SHORT)
    for parent in ("gone", "opt-gone"):
        with pytest.raises(OverrideRefused, match="leave parent out"):
            await store.put(prompt, [edit], tag="next", parent=parent)
    with pytest.raises(ValidationFailed, match="no tag"):
        await store.put(prompt, [edit], tag="next", parent="../next")
    assert await store.list(ns="desk", prompt_key="triage") == []

    await store.put(prompt, [edit], tag="half")
    first = await store.put(prompt, [override(prompt, "rules", RULES)], tag="next", parent="half")
    with pytest.raises(OverrideRefused, match="stands on half"):
        await store.put(prompt, [edit], tag="next", parent="stable")
    await store.delete(ns="desk", prompt_key="triage", tag="next")
    await store.delete(ns="desk", prompt_key="triage", tag="half")
    with pytest.raises(OverrideRefused, match="half"):
        await store.restore(prompt, tag="next", revision=first.revision)


async def test_a_copy_of_a_set_whose_parent_is_gone_is_refused(store, prompt) -> None:
    await store.put(prompt, [override(prompt, "preamble", SHORT)], tag="half")
    await store.put(prompt, [override(prompt, "rules", RULES)], tag="next", parent="half")
    await store.delete(ns="desk", prompt_key="triage", tag="half")
    with pytest.raises(OverrideRefused, match="half"):
        await store.copy(prompt, tag="next", to_tag="other")


async def test_an_edit_of_what_a_tag_has_already_takes_its_place(store, prompt) -> None:
    first = await store.store(prompt, override(prompt, "preamble", SHORT))
    now = PromptDescriptor("desk", "triage", (await store.resolve(prompt, "stable")).prompt)
    shorter = override(now, "preamble", "Sort tickets for {{ company }}.\n\n")
    second = await store.put(prompt, [shorter], expected_revision=first.revision)
    assert (await store.resolve(prompt, "stable")).prompt.text.startswith("Sort tickets")
    with pytest.raises(OverrideConflict):
        await store.put(prompt, [shorter], expected_revision=first.revision)
    assert [one.revision for one in await store.history(ns="desk", prompt_key="triage", tag="stable")] == [
        second.revision,
        first.revision,
    ]
    assert "-You sort tickets" in await store.diff(prompt, "source", "stable")


async def test_tags_that_nothing_stands_under_are_not_compared(store, prompt) -> None:
    await store.put(prompt, [override(prompt, "preamble", SHORT)], tag="shorter")
    assert await store.diff(prompt, "source", "stable") == ""
    assert "-You sort tickets" in await store.diff(prompt, "stable", "shorter")
    with pytest.raises(OverrideNotFound, match=r"under the tag shortr; did you mean `shorter`\?"):
        await store.diff(prompt, "shortr", "stable")
    with pytest.raises(OverrideNotFound, match="there are source, shorter, stable"):
        await store.diff(prompt, "source", "v2")


async def test_an_earlier_set_is_put_back(store, prompt) -> None:
    first = await store.store(prompt, override(prompt, "preamble", SHORT))
    second = await store.put(prompt, [override(prompt, "rules", RULES)])
    await store.restore(prompt, tag="stable", revision=first.revision, expected_revision=second.revision)
    assert "please" in (await store.resolve(prompt, "stable")).prompt.text
    await store.restore(prompt, tag="stable", revision=None)
    assert await store.get(ns="desk", prompt_key="triage", tag="stable") is None
    with pytest.raises(OverrideNotFound):
        await store.restore(prompt, tag="stable", revision="0" * 16)


async def test_all_edits_are_put_or_none(store, prompt) -> None:
    bad = override(prompt, "ticket", "## Ticket\nno placeholder\n")
    with pytest.raises(OverrideRefused, match="lacks"):
        await store.put(prompt, [override(prompt, "preamble", SHORT), bad], tag="shorter")
    assert await store.get(ns="desk", prompt_key="triage", tag="shorter") is None


async def test_a_copy_has_the_same_sections(store, prompt) -> None:
    await store.store(prompt, override(prompt, "preamble", SHORT), tag="shorter")
    await store.copy(prompt, tag="shorter", to_tag="kept", provenance={"by": "Ada"})
    assert (await store.resolve(prompt, "kept")).digest == (await store.resolve(prompt, "shorter")).digest
    with pytest.raises(OverrideConflict):
        await store.copy(prompt, tag="shorter", to_tag="kept")
    assert await store.delete(ns="desk", prompt_key="triage", tag="kept")
    assert not await store.delete(ns="desk", prompt_key="triage", tag="kept")


async def test_an_experiment_is_told_of_a_tag_that_is_not_there(store, prompt) -> None:
    with pytest.raises(OverrideNotFound):
        await store.resolve(prompt, "gone")
    assert (await store.resolve(prompt, "gone", strict=False)).prompt == prompt.prompt


async def test_a_section_that_changed_since_is_stale(store, prompt) -> None:
    await store.store(prompt, override(prompt, "preamble", SHORT), tag="shorter")
    newer = parse_prompt(TEMPLATE.replace("careful", "kind").encode(), path="prompts/triage.yaml")
    descriptor = PromptDescriptor("desk", "triage", newer)
    with pytest.raises(OverrideConflict):
        await store.resolve(descriptor, "shorter")
    passed_over = await store.resolve(descriptor, "shorter", strict=False)
    assert passed_over.stale == ("preamble",)
    assert passed_over.prompt.text == newer.text


async def test_a_temporary_set_ends(store, prompt, clock: FakeClock, request) -> None:
    edits = [override(prompt, "preamble", SHORT)]
    with pytest.raises(ValidationFailed, match="time limit"):
        await store.put(prompt, edits, tag="opt-1")
    await store.put(prompt, edits, tag="opt-1", ttl_s=60.0)
    await store.resolve(prompt, "opt-1")
    clock.advance(61.0)
    with pytest.raises(OverrideNotFound):
        await store.resolve(prompt, "opt-1")


async def test_a_bucket_that_does_not_answer_is_told(prompt, clock: FakeClock) -> None:
    settings = S3Settings(
        bucket="gone", endpoint="http://127.0.0.1:9", access_key_id="key", secret_access_key="secret", timeout_s=0.5
    )
    store = PromptOverridesStore(documents=S3Documents(settings), clock=clock)
    with pytest.raises(OverrideStoreUnavailable):
        await store.get(ns="desk", prompt_key="triage", tag="stable")


async def test_a_bucket_keeps_nothing_of_a_temporary_set_that_was_removed(bucket: S3Settings) -> None:
    documents = S3Documents(bucket.model_copy(update={"prefix": uuid4().hex}))
    for identity, remembered in ((IDENTITY, [kept("once")]), (IDENTITY._replace(tag="opt-1-all"), [])):
        assert await documents.swap(identity, await documents.read(identity), kept("once"), NOTE)
        assert await documents.swap(identity, await documents.read(identity), None, NOTE)
        assert await documents.history(identity, 10) == remembered
