"""`uhlp apply`: a folder becomes an application's definition."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uhlp.cli.definition_folder import DefinitionFolder, read_folder
from uhlp.cli.failure import CommandError

if TYPE_CHECKING:
    from uhlp.cli.admin_client import AdminClient

Components = dict[str, dict[str, Any]]


def apply(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with app.yaml; `uhlp init` writes one.")],
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for the commit.")] = "Apply the definition",
    force: Annotated[bool, typer.Option("--force", help="Also when this removes every component.")] = False,
) -> None:
    """Create or update an application from a folder: one commit, validated as a whole.

    The folder is the whole truth about prompts, schemas, evals and workflows: what it no longer has is removed.
    Proven handlers stay where the specification did not change; so do API keys and what the application wrote.
    """
    from uhlp.cli.admin_client import AdminClient

    local = read_folder(folder)
    app_id = local.app_id
    with AdminClient() as client:
        status = client.find(f"/apps/{app_id}/status")
        if status is None or status["status"] == "INACTIVE":
            answer = client.post("/apps", {"definition": local.definition, "files": local.files})
            print(f"created {app_id} at revision {answer['resultingRevision'][:10]}")
            after = _components(client, app_id)
        else:
            after = _update(client, local, status, message, force=force)
        for component in after.values():
            route = component.get("routeMatcher")
            if route:
                methods = ",".join(route["methods"])
                where = f"{client.url}/apps/{app_id}{route['pathPattern']}"
                print(f"  {methods:<8} {where}   {component['componentId']} ({component['implementation']})")
        if after:
            _warn_without_provider(client, local.definition)


def _update(
    client: "AdminClient", local: DefinitionFolder, status: dict[str, Any], message: str, *, force: bool
) -> Components:
    """Write the folder over what is served and tell what changed; the components from now on."""
    app_id = local.app_id
    before = _components(client, app_id) if status["details"]["revision"] else {}
    if before and local.component_ids() == set() and not force:
        raise CommandError(
            f"this would remove every component of {app_id}: {', '.join(before)}", hint="if that is meant: --force"
        )
    entries = client.get(f"/apps/{app_id}/definition", recursive=True)["entries"]
    removed = local.lacks(entry["path"] for entry in entries if entry["type"] == "file")
    files: dict[str, str | None] = {**local.files, **dict.fromkeys(removed)}
    answer = client.put(f"/apps/{app_id}/definition", {"files": files, "commitMessage": message})
    revision = answer["resultingRevision"]
    after = _components(client, app_id)
    if revision == status["details"]["newestRevision"]:
        print(f"unchanged at revision {revision[:10]}")
        return after
    print(f"updated {app_id} to revision {revision[:10]}")
    for path in removed:
        print(f"  removed {path}")
    for component_id, component in before.items():
        was = component["implementation"]
        if component_id not in after:
            print(f"  removed component {component_id}")
        elif was.startswith("jit@") and not after[component_id]["implementation"].startswith("jit@"):
            print(f"  {component_id}: handler {was.removeprefix('jit@')} withdrawn, its specification changed")
    return after


def _components(client: "AdminClient", app_id: str) -> Components:
    return {component["componentId"]: component for component in client.get(f"/apps/{app_id}/components")["components"]}


def _warn_without_provider(client: "AdminClient", definition: dict[str, Any]) -> None:
    """An application that no model can answer for is a valid one: say so before its first request does."""
    settings = client.get("/settings")["settings"]
    providers = {name.split(".")[2] for name in settings if name.startswith("llm.providers.")}
    llm = definition.get("llm")
    wanted = llm.get("provider") if isinstance(llm, dict) else None
    if not providers:
        what = (
            "the server has no model provider; start it with OPENAI_API_KEY, ANTHROPIC_API_KEY or OLLAMA_HOST set, "
            "or see `uhlp simulate-model`"
        )
    elif wanted is not None and wanted not in providers:
        what = f"llm.provider is {wanted}, which the server does not have; it has {', '.join(sorted(providers))}"
    else:
        return
    print(f"warning: prompts cannot be answered: {what}", file=sys.stderr)
