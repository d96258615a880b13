"""`uhlp apply` against a listening server: the folder is the truth, and what it changes is told."""

from pathlib import Path

import pytest

from cli.conftest import Run
from uhlp.web.services import Services

SECOND = """
  - componentId: reply
    taskDetails: {prompt_template: reply}
    routeMatcher: {pathPattern: /reply, methods: [POST]}
"""


@pytest.fixture
async def folder(uhlp: Run, tmp_path: Path) -> Path:
    """The starter application with a second component."""
    await uhlp("init", "desk")
    path = tmp_path / "desk"
    with (path / "component_registry.yaml").open("a") as registry:
        registry.write(SECOND)
    (path / "prompts" / "reply.yaml").write_text("template: |\n  Answer politely.\n")
    return path


async def test_what_the_folder_no_longer_has_is_removed_and_said(uhlp: Run, server, services: Services, folder) -> None:
    await uhlp("apply", folder, **server)
    await services.registry.apply_files(
        "desk", {"files/notes.txt": b"kept", "overrides/reply.yaml": b"kept", "_jit_code/reply/v1/handler.py": b"kept"},
        message="What the server writes",
    )  # fmt: skip
    _, key_id = await services.registry.create_api_key("desk", "shop")
    (folder / "prompts" / "reply.yaml").unlink()
    (folder / "evals" / "classify-ticket.jsonl").unlink()
    registry = folder / "component_registry.yaml"
    registry.write_text(registry.read_text().removesuffix(SECOND))
    before = len(await services.state.history("desk"))
    done = await uhlp("apply", folder, **server)
    assert done.status == 0, done.err
    lines = [line.strip() for line in done.out.splitlines()]
    assert lines[1:4] == [
        "removed evals/classify-ticket.jsonl",
        "removed prompts/reply.yaml",
        "removed component reply",
    ]
    assert len(await services.state.history("desk")) == before + 1
    files = (await services.state.read_tree("desk")).files
    assert {"files/notes.txt", "overrides/reply.yaml", "_jit_code/reply/v1/handler.py"} < files.keys()
    assert "prompts/reply.yaml" not in files
    assert key_id in services.registry.snapshot("desk").api_keys
    assert (await uhlp("apply", folder, **server)).out.startswith("unchanged at revision ")


async def test_a_handler_that_its_owner_wrote_is_brought_along(
    uhlp: Run, server, services: Services, folder: Path
) -> None:
    script = folder / "_jit_code" / "add" / "v1" / "handler.py"
    script.parent.mkdir(parents=True)
    script.write_text("def handle(inputs, context):\n    return {}\n")
    (script.parent / "__pycache__").mkdir()
    (script.parent / "__pycache__" / "handler.pyc").write_bytes(b"\xff\x00")
    with (folder / "component_registry.yaml").open("a") as registry:
        registry.write(
            "\n  - componentId: add\n    handlerType: JIT\n"
            "    taskDetails: {script: _jit_code/add/v1/handler.py, function: handle}\n"
        )
    done = await uhlp("apply", folder, **server)
    assert done.status == 0, done.err
    assert services.registry.snapshot("desk").components["add"].handler_artifact is not None


async def test_removing_every_component_must_be_meant(uhlp: Run, server, services: Services, folder: Path) -> None:
    await uhlp("apply", folder, **server)
    for emptied in ("components: []\n", ""):
        (folder / "component_registry.yaml").write_text(emptied)
        refused = await uhlp("apply", folder, **server)
        assert refused.status == 1
        assert "every component of desk: classify-ticket, reply" in refused.err
        assert "--force" in refused.err
    assert len(services.registry.snapshot("desk").components) == 2
    forced = await uhlp("apply", folder, "--force", **server)
    assert forced.status == 0
    assert "removed component classify-ticket" in forced.out
    assert "desk" in (await uhlp("status", **server)).out


async def test_a_handler_that_a_change_withdraws_is_named(uhlp: Run, server, services: Services, folder: Path) -> None:
    await uhlp("apply", folder, **server)
    handler = {"_jit_code/reply/v2/handler.py": b"def handle(inputs, context): ..."}
    await services.registry.switch_to_handler("desk", "reply", 2, handler, message="Promote")
    kept = await uhlp("apply", folder, **server)
    assert kept.out.startswith("unchanged at revision ")
    assert "(jit@v2)" in kept.out
    (folder / "prompts" / "reply.yaml").write_text("template: |\n  Answer briefly.\n")
    changed = await uhlp("apply", folder, **server)
    assert "  reply: handler v2 withdrawn, its specification changed\n" in changed.out


async def test_what_is_not_valid_is_said_once_with_file_line_and_likely_name(uhlp: Run, server, folder: Path) -> None:
    registry = folder / "component_registry.yaml"
    registry.write_text(registry.read_text().replace("timeoutMs", "timeuotMs"))
    refused = await uhlp("apply", folder, **server)
    assert (refused.status, refused.out, len(refused.err.splitlines())) == (1, "", 1)
    assert "component_registry.yaml, line 18" in refused.err
    assert "unknown field `timeuotMs`; did you mean `timeoutMs`?" in refused.err
    registry.write_text(registry.read_text().replace("handlerType: LLM", "handlerType: MAGIC"))
    refused = await uhlp("apply", folder, **server)
    assert refused.err.splitlines()[0] == "uhlp: the definition has 2 problems:"
    assert len(refused.err.splitlines()) == 3


@pytest.mark.parametrize(
    ("providers", "provider", "warning"),
    [
        ([], "", "no model provider"),
        (["openai"], "anthropic", "llm.provider is anthropic"),
        (["openai"], "openai", ""),
    ],
)
async def test_a_model_provider_that_is_missing_is_warned_of(
    uhlp: Run, server, services: Services, folder: Path, providers: list[str], provider: str, warning: str
) -> None:
    services.effective_settings.update(
        {f"llm.providers.{name}.kind": {"value": name, "origin": "environment"} for name in providers}
    )
    if provider:
        app = folder / "app.yaml"
        app.write_text(app.read_text().replace("\nllm:\n", f"\nllm:\n  provider: {provider}\n"))
    done = await uhlp("apply", folder, **server)
    assert done.status == 0
    assert (warning in done.err) if warning else done.err == ""
