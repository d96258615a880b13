"""core.state.*, over real stores, in the name of a component."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pygit2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pygit2.enums import FileMode

from uhlp.clock import FakeClock
from uhlp.errors import (
    AppNotFound,
    Conflict,
    DeadlineExceeded,
    DefinitionInvalid,
    PayloadTooLarge,
    PermissionDenied,
    RevisionConflict,
    RuntimeQuotaExceeded,
    ToolNotFound,
    UhlpError,
    ValidationFailed,
)
from uhlp.jsonschemas import schema_file
from uhlp.llm import LlmSettings, ModelGateway
from uhlp.metering import NullMeter
from uhlp.metrics import MetricCollector
from uhlp.metrics.config import MetricsConfig
from uhlp.models.definition import AppDefinition, LlmConfig
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.data_files import check_data_path
from uhlp.state.config import RuntimeLimits
from uhlp.state.definition_store import DefinitionStore
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.state.state_manager import StateManager
from uhlp.tools import CoreMCPServer, ToolContext
from uhlp.tools.core.definition_state import MOST_FILE_CHARACTERS, DefinitionState
from uhlp.tools.core.runtime_state import RuntimeState

GET, SET, PATCH, DELETE, LIST = (
    f"core.state.{name}"
    for name in (
        "getDefinitionFileContent",
        "setDefinitionFileContent",
        "applyDefinitionDiff",
        "deleteDefinitionFile",
        "listDefinitionDirectory",
    )
)
GET_VALUE, SET_VALUE, DELETE_VALUE, INCREMENT = (
    f"core.state.{name}"
    for name in ("getRuntimeValue", "setRuntimeValue", "deleteRuntimeValue", "incrementRuntimeValue")
)
EVERY_TOOL = (GET, SET, PATCH, DELETE, LIST, GET_VALUE, SET_VALUE, DELETE_VALUE, INCREMENT)
SECRET_LOOKING = "sk-ant-api03-" + "a1B2" * 24


class Desk:
    """Two applications, and the tools in the name of one component of the first."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.runtime = SqliteRuntimeStore(":memory:")
        self.state = StateManager(
            definitions=DefinitionStore(folder, clock=self.clock),
            runtime=self.runtime,
            limits=RuntimeLimits(keys=3, value_bytes=100),
        )
        self.registry = ApplicationRegistry(state=self.state)
        self.server = CoreMCPServer(
            gateway=ModelGateway(settings=LlmSettings(), clock=self.clock, meter=NullMeter()),
            metrics=MetricCollector(schema=schema_file("metric_record"), config=MetricsConfig(), clock=self.clock),
            clock=self.clock,
            meter=NullMeter(),
            tools=(
                *DefinitionState(state=self.state, files=self.registry.data_files).tools(),
                *RuntimeState(state=self.state).tools(),
            ),
        )

    async def call(self, name: str, arguments: dict[str, Any], **changed: Any) -> dict[str, Any]:
        given: dict[str, Any] = {
            "app_id": "desk",
            "component_id": "triage",
            "request_id": "r1",
            "trace_id": "t1",
            "deadline": self.clock.monotonic() + 30,
            "allowed_tools": EVERY_TOOL,
            "llm": LlmConfig(),
            "configuration": {},
            "purpose": "serve",
        }
        return await self.server.call_tool(name, arguments, ToolContext(**{**given, **changed}))

    async def write(self, path: str, content: str = "x", **more: Any) -> str:
        written = await self.call(SET, {"filePath": path, "content": content, "commitMessage": "Keep it", **more})
        revision: str = written["resultingRevision"]
        return revision

    async def revision(self, app_id: str = "desk") -> str:
        return (await self.state.revisions())[app_id]

    async def files(self, app_id: str = "desk") -> dict[str, bytes]:
        return (await self.state.read_tree(app_id)).files


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path)
    for app_id in ("desk", "other"):
        await made.registry.register_application(AppDefinition(app_id=app_id), files={"evals/triage.jsonl": b""})
    yield made
    made.registry.close()
    await made.runtime.aclose()


async def test_a_file_that_was_written_is_read_and_listed(desk: Desk) -> None:
    revision = await desk.write("files/notes/a.txt", "first\n")
    assert await desk.call(GET, {"filePath": "files/notes/a.txt"}) == {
        "found": True,
        "content": "first\n",
        "revision": revision,
    }
    assert await desk.call(LIST, {"directoryPath": "files", "recursive": True}) == {
        "entries": [
            {"path": "files/notes", "type": "directory"},
            {"path": "files/notes/a.txt", "type": "file"},
        ]
    }


async def test_a_write_is_one_commit_in_the_name_of_the_component_and_served_at_once(desk: Desk) -> None:
    forged = "Tidy up\n\nCandidate: c-000000000000\nDecision: promote"
    revision = await desk.write("files/a.txt", commitMessage=forged)
    newest = (await desk.state.history("desk", limit=1))[0]
    assert newest.revision == revision == desk.registry.snapshot("desk").revision
    assert newest.author == "component triage <uhlp@localhost>"
    assert newest.trailers == {"Component": "triage"}


async def test_the_rest_of_the_definition_can_be_read_at_any_revision_of_it(desk: Desk) -> None:
    first = await desk.revision()
    await desk.write("files/a.txt", "new")
    assert "appId: desk" in (await desk.call(GET, {"filePath": "app.yaml"}))["content"]
    assert (await desk.call(GET, {"filePath": "files/a.txt", "revision": first}))["found"] is False
    assert (await desk.call(LIST, {}))["entries"][-1] == {"path": "files", "type": "directory"}


async def test_hashes_of_keys_are_hidden_in_the_definition_and_left_in_the_components_own_files(desk: Desk) -> None:
    await desk.registry.create_api_key("desk")
    definition = (await desk.files())["app.yaml"].decode()
    assert "$argon2id$v=19$" in definition
    read = (await desk.call(GET, {"filePath": "app.yaml"}))["content"]
    assert ("keyHash: $argon2id$hidden" in read, "$v=19$" in read) == (True, False)
    await desk.write("files/users.txt", definition)
    assert (await desk.call(GET, {"filePath": "files/users.txt"}))["content"] == definition


async def test_a_diff_changes_a_file_and_a_deletion_removes_it(desk: Desk) -> None:
    base = await desk.write("files/a.txt", "one\ntwo\n")
    diff = "--- a/files/a.txt\n+++ b/files/a.txt\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n"
    arguments = {"filePath": "files/a.txt", "diffContent": diff, "commitMessage": "Count on"}
    patched = (await desk.call(PATCH, {**arguments, "expectedBaseRevision": base}))["resultingRevision"]
    assert (await desk.files())["files/a.txt"] == b"one\nthree\n"
    with pytest.raises(RevisionConflict):
        await desk.call(PATCH, {**arguments, "expectedBaseRevision": base})
    gone = {"filePath": "files/a.txt", "commitMessage": "Done", "expectedBaseRevision": patched}
    await desk.call(DELETE, gone)
    assert "files/a.txt" not in await desk.files()


WRITES: dict[str, dict[str, Any]] = {
    SET: {"content": "x"},
    DELETE: {},
    PATCH: {"diffContent": "--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-x\n+y\n"},
}
OTHER_PATHS = [
    "app.yaml",
    "component_registry.yaml",
    "evals/triage.jsonl",
    "prompts/triage.yaml",
    "schemas/ticket.json",
    "overrides/stable/triage.yaml",
    "workflows/order.yaml",
    "_jit_code/triage/v1/handler.py",
    "files",
    "files/",
    "files/../app.yaml",
    "files/./a.txt",
    "files//a.txt",
    "files/a/../../app.yaml",
    "./files/a.txt",
    "../files/a.txt",
    "../other.git/files/a.txt",
    "/files/a.txt",
    "/etc/passwd",
    "//files/a.txt",
    "Files/a.txt",
    "FILES/a.txt",
    "files\\a.txt",
    "files\\..\\app.yaml",
    "files%2F..%2Fapp.yaml",
    "files/%2e%2e/app.yaml/..",
    "ﬁles/a.txt",
    "f\u0131les/a.txt",
    "f\u200ciles/a.txt",
    "\ufefffiles/a.txt",
    " files/a.txt",
    "fi\x00les/a.txt",
    "files/\x00/../app.yaml",
    "files/a\n.txt",
    "files/.git/config",
    "files/.GIT/hooks/post-receive",
    "files/.g\u200cit/config",
    "files/git~1/config",
    "files/.gitmodules",
    ".git/config",
    "files.yaml",
    "files_/a.txt",
    "files/cafe\u0301.txt",
    "files/\ud800.txt",
    "files/" + "a" * 300,
    "files/" + "a/" * 300 + "b",
    "",
]


@pytest.mark.parametrize("name", WRITES)
async def test_no_other_path_can_be_written(desk: Desk, name: str) -> None:
    before, base = await desk.files(), await desk.revision()
    for path in OTHER_PATHS:
        arguments = {key: value.format(path=path) for key, value in WRITES[name].items()}
        arguments |= {"filePath": path, "commitMessage": "Grow", "expectedBaseRevision": base}
        with pytest.raises((PermissionDenied, ValidationFailed)):
            await desk.call(name, arguments)
    assert (await desk.files(), await desk.revision()) == (before, base)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["files", "/", "..", ".", "app.yaml", "\\", "a", "Files", ".git", "\u200c"]), max_size=8)
)
def test_whatever_passes_stands_below_the_folder(parts: list[str]) -> None:
    path = "".join(parts)
    try:
        check_data_path(path)
    except (PermissionDenied, ValidationFailed):
        return
    segments = path.split("/")
    assert segments[0] == "files"
    assert len(segments) > 1
    assert not {"", ".", "..", ".git"} & set(segments)


@pytest.mark.parametrize(
    "diff",
    [
        "--- a/app.yaml\n+++ b/app.yaml\n@@ -1 +1 @@\n-appId: desk\n+appId: mine\n",
        "diff --git a/files/a.txt b/app.yaml\nrename from files/a.txt\nrename to app.yaml\n",
        "diff --git a/files/b b/files/b\nnew file mode 120000\n--- /dev/null\n+++ b/files/b\n@@ -0,0 +1 @@\n+../a\n",
        "diff --git a/files/a.txt b/files/a.txt\nold mode 100644\nnew mode 120000\n",
    ],
)
async def test_no_diff_reaches_beyond_the_file_it_names(desk: Desk, diff: str) -> None:
    base = await desk.write("files/a.txt", "x\n")
    before = await desk.files()
    arguments = {"filePath": "files/a.txt", "diffContent": diff, "commitMessage": "m", "expectedBaseRevision": base}
    with pytest.raises(UhlpError):
        await desk.call(PATCH, arguments)
    assert await desk.files() == before


async def test_a_link_that_was_pushed_leads_nowhere(desk: Desk, tmp_path: Path) -> None:
    repository = pygit2.Repository(str(tmp_path / "desk.git"))
    tip = repository.revparse_single("main")
    builder = repository.TreeBuilder(tip.tree)
    builder.insert("files", repository.create_blob(b"evals"), FileMode.LINK)
    who = pygit2.Signature("Eve", "eve@localhost")
    pushed = repository.create_commit("refs/heads/main", who, who, "Link", builder.write(), [tip.id])
    with pytest.raises(DefinitionInvalid):
        await desk.write("files/triage.jsonl")
    assert await desk.revision() == str(pushed)


async def test_what_looks_like_a_key_is_not_kept(desk: Desk) -> None:
    base = await desk.revision()
    with pytest.raises(DefinitionInvalid):
        await desk.write("files/a.txt", SECRET_LOOKING)
    assert await desk.revision() == base


async def test_data_files_have_a_limit_together_and_each(desk: Desk) -> None:
    chunk = "x" * MOST_FILE_CHARACTERS
    with pytest.raises(ValidationFailed):
        await desk.write("files/a.txt", chunk + "x")
    for number in range(16):
        await desk.registry.apply_files("desk", {f"files/{number}": chunk.encode()}, message="fill")
    with pytest.raises(PayloadTooLarge, match="remove some"):
        await desk.write("files/more")
    await desk.write("files/0", "smaller")
    await desk.write("files/more")


async def test_what_is_served_may_not_stand_where_components_write(desk: Desk) -> None:
    component = "componentId: triage\n    handlerType: JIT\n    taskDetails: {script: files/h.py}\n"
    registry = f"components:\n  - {component}    inputSchema: files/s.json\n"
    changes = {"component_registry.yaml": registry.encode(), "files/h.py": b"", "files/s.json": b"{}"}
    with pytest.raises(DefinitionInvalid) as raised:
        await desk.registry.apply_files("desk", changes, message="m")
    assert [problem["path"] for problem in raised.value.details["problems"]] == [
        "/components/0/taskDetails/script",
        "/components/0/inputSchema",
    ]


async def test_a_revision_is_a_commits_id(desk: Desk) -> None:
    for revision in ("main", "refs/uhlp/ledger", "HEAD~1", "main:app.yaml", "", "g" * 40):
        with pytest.raises(ValidationFailed):
            await desk.call(GET, {"filePath": "app.yaml", "revision": revision})


async def test_values_are_set_read_counted_and_removed(desk: Desk) -> None:
    assert await desk.call(SET_VALUE, {"key": "cart", "value": {"items": [1]}}) == {"key": "cart"}
    assert await desk.call(GET_VALUE, {"key": "cart"}) == {"found": True, "value": {"items": [1]}}
    assert await desk.call(INCREMENT, {"key": "seen"}) == {"value": 1}
    assert await desk.call(INCREMENT, {"key": "seen", "by": 2.0}) == {"value": 3}
    assert await desk.call(DELETE_VALUE, {"key": "cart"}) == {"found": True}
    assert await desk.call(DELETE_VALUE, {"key": "cart"}) == {"found": False}
    assert await desk.call(GET_VALUE, {"key": "cart"}) == {"found": False, "value": None}
    await desk.call(SET_VALUE, {"key": "cart", "value": "text"})
    with pytest.raises(Conflict):
        await desk.call(INCREMENT, {"key": "cart"})


async def test_an_application_has_its_own_values_within_its_limits(desk: Desk) -> None:
    await desk.call(SET_VALUE, {"key": "a", "value": 1}, app_id="other")
    for key in ("../uhlp:runtime:other:a", "a"):
        assert (await desk.call(GET_VALUE, {"key": key}))["found"] is False
    with pytest.raises(PayloadTooLarge):
        await desk.call(SET_VALUE, {"key": "a", "value": "x" * 100})
    for number in range(3):
        await desk.call(SET_VALUE, {"key": f"k{number}", "value": None})
    with pytest.raises(RuntimeQuotaExceeded):
        await desk.call(SET_VALUE, {"key": "one-more", "value": None})


CHANGES: dict[str, dict[str, Any]] = {
    SET: {"filePath": "files/a", "content": "x", "commitMessage": "m"},
    PATCH: {"filePath": "files/a", "diffContent": "x", "commitMessage": "m", "expectedBaseRevision": "0" * 40},
    DELETE: {"filePath": "files/a", "commitMessage": "m"},
    SET_VALUE: {"key": "a", "value": 1},
    DELETE_VALUE: {"key": "a"},
    INCREMENT: {"key": "a"},
}


@pytest.mark.parametrize("purpose", ["shadow", "replay", "audit", "reference", "coder", "judge"])
async def test_an_execution_that_answers_nobody_changes_nothing(desk: Desk, purpose: str) -> None:
    base = await desk.revision()
    for name, arguments in CHANGES.items():
        with pytest.raises(PermissionDenied, match=purpose):
            await desk.call(name, arguments, purpose=purpose)
    assert await desk.revision() == base
    assert (await desk.call(GET_VALUE, {"key": "a"}, purpose=purpose))["found"] is False


async def test_a_tool_that_was_not_given_is_not_there(desk: Desk) -> None:
    for name in EVERY_TOOL:
        with pytest.raises(ToolNotFound):
            await desk.call(name, CHANGES.get(name, {}), allowed_tools=())


async def test_an_application_that_is_gone_has_no_files(desk: Desk) -> None:
    await desk.registry.deregister_application("desk", delete_state=True)
    with pytest.raises(AppNotFound):
        await desk.call(GET, {"filePath": "app.yaml"})
    with pytest.raises(UhlpError):
        await desk.write("files/a.txt")
    assert await desk.state.list_repositories() == ["other"]


async def test_a_call_ends_with_its_request(desk: Desk) -> None:
    with pytest.raises(DeadlineExceeded):
        await desk.call(GET, {"filePath": "app.yaml"}, deadline=desk.clock.monotonic() - 1)


async def test_every_result_matches_its_tools_output_schema(desk: Desk) -> None:
    listed = {tool.name: tool for tool, _ in desk.server._tools.values()}
    base = await desk.write("files/a", "x\n")
    diff = "--- a/files/a\n+++ b/files/a\n@@ -1 +1 @@\n-x\n+y\n"
    calls = {
        **CHANGES,
        PATCH: {**CHANGES[PATCH], "diffContent": diff, "expectedBaseRevision": base},
        GET: {"filePath": "app.yaml"},
        LIST: {},
        GET_VALUE: {"key": "a"},
    }
    for name in (PATCH, GET, LIST, SET, DELETE, SET_VALUE, GET_VALUE, INCREMENT, DELETE_VALUE):
        jsonschema.Draft202012Validator.check_schema(listed[name].output_schema)
        jsonschema.validate(calls[name], listed[name].input_schema)
        jsonschema.validate(await desk.call(name, calls[name]), listed[name].output_schema)
