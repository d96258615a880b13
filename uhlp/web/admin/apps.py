"""Applications: register, read, change, remove (contracts §7)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from uhlp.errors import ComponentNotFound
from uhlp.models.definition import AppDefinition
from uhlp.models.wire import WireModel
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.web.admin.access import ActorDep, ServicesDep
from uhlp.web.admin.kept_text import KeptText
from uhlp.web.application_removal import remove_application
from uhlp.web.application_status import application_status

router = APIRouter(prefix="/apps", tags=["applications"])

Files = Annotated[dict[str, str], Field(description="Path in the definition repository to the file's text.")]


class RegisterApplication(WireModel):
    definition: AppDefinition
    files: Files = Field(default={})


class UpdateApplication(WireModel):
    """`updateMask` names the fields of `definition` to take over, nested ones with dots; one that it lacks is reset."""

    update_mask: tuple[str, ...]
    definition: dict[str, Any]
    expected_base_revision: str | None = None


class ApplyDefinition(WireModel):
    """Several files as one commit; null removes a file."""

    files: dict[str, str | None]
    commit_message: KeptText = "Apply the definition"
    expected_base_revision: str | None = None


@router.post("", status_code=201)
async def register_application(body: RegisterApplication, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """RegisterApplication: create the definition repository, commit, build a snapshot, route."""
    files = {path: content.encode() for path, content in body.files.items()}
    revision = await services.registry.register_application(body.definition, files=files, actor=actor)
    return {"appId": body.definition.app_id, "resultingRevision": revision}


@router.get("")
async def list_applications(services: ServicesDep) -> dict[str, Any]:
    """All that are registered, also those without a revision that compiles; `appIds` are those in service."""
    known = await services.state.list_repositories()
    return {
        "appIds": services.registry.app_ids(),
        "applications": [await _summary(services, app_id) for app_id in sorted(known)],
    }


@router.get("/{app_id}")
async def get_application(app_id: str, services: ServicesDep) -> dict[str, Any]:
    """The definition with its components; hashes of keys stay out."""
    snapshot = services.registry.snapshot(app_id)
    without_hashes = {"security_config": {"api_keys": {"__all__": {"key_hash"}}}}
    definition = snapshot.definition.model_dump(mode="json", by_alias=True, exclude=without_hashes)
    return {"appId": app_id, "revision": snapshot.revision, "definition": definition}


@router.patch("/{app_id}")
async def update_application(
    app_id: str, body: UpdateApplication, services: ServicesDep, actor: ActorDep
) -> dict[str, Any]:
    """Change the fields that `updateMask` names; the rest stays. One commit."""
    revision = await services.registry.update_application(
        app_id,
        body.definition,
        update_mask=body.update_mask,
        actor=actor,
        expected_base_revision=body.expected_base_revision,
    )
    return {"appId": app_id, "resultingRevision": revision}


@router.delete("/{app_id}")
async def deregister_application(
    app_id: str, services: ServicesDep, delete_state: Annotated[bool, Query(alias="deleteState")] = False
) -> dict[str, Any]:
    """Stop serving the application, let what is in flight finish, end its sandboxes.

    Its metric series go. Its repository, runtime values, samples, messages, runs, evaluations and the cases that its
    candidates lost stay, unless `deleteState` says otherwise; the ledger always does.
    """
    await remove_application(services, app_id, delete_state=delete_state)
    return {"appId": app_id, "stateDeleted": delete_state}


@router.get("/{app_id}/status")
async def get_status(app_id: str, services: ServicesDep) -> dict[str, Any]:
    """Whether it serves, at which revision, and why it is DEGRADED."""
    return await _summary(services, app_id)


@router.put("/{app_id}/definition")
async def apply_definition(
    app_id: str, body: ApplyDefinition, services: ServicesDep, actor: ActorDep
) -> dict[str, Any]:
    """Several files at once: validated as a whole, then one commit."""
    revision = await services.registry.apply_files(
        app_id,
        {path: None if content is None else content.encode() for path, content in body.files.items()},
        message=body.commit_message,
        actor=actor,
        expected_base_revision=body.expected_base_revision,
    )
    return {"appId": app_id, "resultingRevision": revision}


@router.get("/{app_id}/sandbox-requirements")
async def sandbox_requirements(app_id: str, services: ServicesDep) -> dict[str, Any]:
    """The pools that the application needs (GetSandboxRequirements)."""
    pools = await services.registry.get_sandbox_requirements(app_id)
    return {"appId": app_id, "requirements": pools.model_dump(mode="json", by_alias=True)}


@router.get("/{app_id}/permissions")
async def application_permissions(app_id: str, services: ServicesDep) -> dict[str, Any]:
    """Which applications may trigger this one, and with which events."""
    granted = await services.registry.get_application_permissions(app_id)
    return {"interAppPermissions": [one.model_dump(mode="json", by_alias=True) for one in granted]}


@router.get("/{app_id}/users/{user_id}/permissions")
async def user_permissions(app_id: str, user_id: str, services: ServicesDep) -> dict[str, Any]:
    """A user's roles in the application and the permissions that follow from them."""
    found = await services.registry.get_user_permissions_for_app(app_id, user_id)
    return {"assignedRoles": found.assigned_roles, "calculatedPermissions": found.calculated_permissions}


@router.get("/{app_id}/components")
async def list_components(app_id: str, services: ServicesDep) -> dict[str, Any]:
    """Every component as it is compiled."""
    snapshot = services.registry.snapshot(app_id)
    return {"components": [component_view(component) for component in snapshot.components.values()]}


@router.get("/{app_id}/components/{component_id}")
async def get_component(app_id: str, component_id: str, services: ServicesDep) -> dict[str, Any]:
    """One component as it is compiled."""
    return component_view(component_of(services.registry.snapshot(app_id), component_id))


@router.get("/{app_id}/route")
async def find_route(app_id: str, services: ServicesDep, path: str, method: str = "POST") -> dict[str, Any]:
    """Which component answers this method and path (GetComponentDefinition by route)."""
    snapshot = services.registry.snapshot(app_id)
    match = snapshot.routes.match(method.upper(), path)
    return {
        "found": True,
        "componentId": match.component_id,
        "definition": snapshot.components[match.component_id].definition.model_dump(mode="json", by_alias=True),
        "extractedPathParameters": match.path_params,
    }


@router.get("/{app_id}/config")
async def configuration(
    app_id: str, services: ServicesDep, component_id: Annotated[str | None, Query(alias="componentId")] = None
) -> dict[str, Any]:
    """The merged configuration of an application or component: each value with the level that gives it."""
    found = await services.registry.get_app_configuration(app_id, component_id)
    return {"values": {key: {"value": one.value, "origin": one.origin} for key, one in found.items()}}


@router.get("/{app_id}/config/{key}")
async def configuration_value(
    app_id: str, key: str, services: ServicesDep, component_id: Annotated[str | None, Query(alias="componentId")] = None
) -> dict[str, Any]:
    """A value of the merged configuration and the level it comes from; `key` may be a dotted path."""
    found = await services.registry.get_app_configuration_value(app_id, key, component_id)
    return {"key": found.key, "found": found.found, "value": found.value, "origin": found.origin}


def component_of(snapshot: AppSnapshot, component_id: str) -> ComponentSnapshot:
    """The component, or ComponentNotFound."""
    component = snapshot.components.get(component_id)
    if component is None:
        raise ComponentNotFound
    return component


def component_view(component: ComponentSnapshot) -> dict[str, Any]:
    """A component as the administration shows it."""
    return {
        **component.definition.model_dump(mode="json", by_alias=True),
        "implementation": implementation(component),
        "specHash": component.spec_hash,
        "goldenExamples": len(component.golden),
    }


def implementation(component: ComponentSnapshot) -> str:
    """What runs now, in the words of `X-UHLP-Implementation`."""
    if component.handler_version is not None and component.definition.handler_type == "JIT":
        return f"jit@v{component.handler_version}"
    return "workflow" if component.definition.handler_type == "WORKFLOW" else "prompt@stable"


async def _summary(services: ServicesDep, app_id: str) -> dict[str, Any]:
    status, details = await application_status(services, app_id)
    summary: dict[str, Any] = {"appId": app_id, "status": status, "details": details}
    if details["revision"] is None:
        return {**summary, "displayName": "", "version": "", "components": 0}
    snapshot = services.registry.snapshot(app_id)
    definition = snapshot.definition
    return {
        **summary,
        "displayName": definition.display_name,
        "version": definition.version,
        "components": len(snapshot.components),
    }
