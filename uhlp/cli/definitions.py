"""`uhlp apply`: a folder becomes an application's definition."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uhlp.cli.definition_folder import DefinitionFolder, read_folder
from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, print_done

if TYPE_CHECKING:
    from uhlp.cli.admin_client import AdminClient

Components = dict[str, dict[str, Any]]


def apply(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with app.yaml; `uhlp init` writes one.")],
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for the commit.")] = "Apply the definition",
    force: Annotated[bool, typer.Option("--force", help="Also when this removes every component.")] = False,
    json_: AsJson = False,
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
            revision, changes = answer["resultingRevision"], [f"created {app_id} at revision"]
        else:
            revision, changes = _update(client, local, status, message, force=force)
        after = _components(client, app_id)
        warning = _without_provider(client, local.definition) if after else ""
    head, *more = changes
    routes = [
        f"  {','.join(route['methods']):<8} {client.url}/apps/{app_id}{route['pathPattern']}"
        f"   {component['componentId']} ({component['implementation']})"
        for component in after.values()
        if (route := component.get("routeMatcher"))
    ]
    if head.startswith("created") and routes and not local.definition.get("public"):
        routes.append(f"  callers need a key: uhlp keys create {app_id}")
    result = {
        "appId": app_id,
        "outcome": head.split()[0],
        "resultingRevision": revision,
        "changes": [one.strip() for one in more],
        "components": list(after.values()),
        "warnings": [warning] if warning else [],
    }
    print_done(result, f"{head} {revision[:10]}", *more, *routes, as_json=json_)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)


def _update(
    client: "AdminClient", local: DefinitionFolder, status: dict[str, Any], message: str, *, force: bool
) -> tuple[str, list[str]]:
    """Write the folder over what is served; the revision, and in words what changed: `updated …` or `unchanged …`."""
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
    if revision == status["details"]["newestRevision"]:
        return revision, ["unchanged at revision"]
    after = _components(client, app_id)
    told = [f"updated {app_id} to revision", *(f"  removed {path}" for path in removed)]
    for component_id, component in before.items():
        was = component["implementation"]
        if component_id not in after:
            told.append(f"  removed component {component_id}")
        elif was.startswith("jit@") and not after[component_id]["implementation"].startswith("jit@"):
            told.append(f"  {component_id}: handler {was.removeprefix('jit@')} withdrawn, its specification changed")
    return revision, told


def _components(client: "AdminClient", app_id: str) -> Components:
    return {component["componentId"]: component for component in client.get(f"/apps/{app_id}/components")["components"]}


def _without_provider(client: "AdminClient", definition: dict[str, Any]) -> str:
    """An application that no model can answer for is a valid one: this says so before its first request does."""
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
        return ""
    return f"prompts cannot be answered: {what}"
