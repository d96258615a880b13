"""`uhlp apply`: a folder becomes an application's definition."""

from pathlib import Path
from typing import Annotated, Any

import typer

from uhlp.cli.failure import CommandError

APP_FILE = "app.yaml"
_TOP_FILES = (APP_FILE, "component_registry.yaml")
_FOLDERS = ("prompts", "workflows", "schemas", "evals", "overrides", "files")


def apply(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with app.yaml; `uhlp init` writes one.")],
    message: Annotated[str, typer.Option("--message", "-m", help="Why, for the commit.")] = "Apply the definition",
) -> None:
    """Create or update an application from a folder: one commit, validated as a whole."""
    from uhlp.cli.admin_client import AdminClient

    definition, files = read_folder(folder)
    app_id = definition["appId"]
    with AdminClient() as client:
        if client.find(f"/apps/{app_id}") is None:
            answer = client.post("/apps", {"definition": definition, "files": files})
            print(f"created {app_id} at revision {answer['resultingRevision'][:10]}")
        else:
            answer = client.put(f"/apps/{app_id}/definition", {"files": files, "commitMessage": message})
            print(f"updated {app_id} to revision {answer['resultingRevision'][:10]}")
        for component in client.get(f"/apps/{app_id}/components")["components"]:
            route = component.get("routeMatcher")
            if route:
                methods = ",".join(route["methods"])
                where = f"{client.url}/apps/{app_id}{route['pathPattern']}"
                print(f"  {methods:<8} {where}   {component['componentId']} ({component['implementation']})")


def read_folder(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The parsed app.yaml and the text of every file that belongs to a definition, by its path."""
    import yaml

    if not (folder / APP_FILE).is_file():
        raise CommandError(f"{folder} has no {APP_FILE}", hint="`uhlp init DIR` writes a starter application")
    files: dict[str, str] = {}
    for path in _definition_files(folder):
        name = path.relative_to(folder).as_posix()
        try:
            files[name] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise CommandError(f"{name} is not UTF-8 text") from None
    try:
        definition = yaml.safe_load(files[APP_FILE])
    except yaml.YAMLError as error:
        raise CommandError(f"{APP_FILE} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(definition, dict) or not isinstance(definition.get("appId"), str):
        raise CommandError(f"{APP_FILE} has no appId")
    return definition, files


def _definition_files(folder: Path) -> list[Path]:
    inside = [path for name in _FOLDERS for path in sorted((folder / name).rglob("*"))]
    return [
        path
        for path in [*(folder / name for name in _TOP_FILES), *inside]
        if path.is_file() and not path.name.startswith(".")
    ]
