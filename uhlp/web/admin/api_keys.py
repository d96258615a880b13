"""Application keys: shown once, kept as hashes (contracts §7)."""

from typing import Any

from fastapi import APIRouter

from uhlp.models.wire import WireModel
from uhlp.web.admin.access import ActorDep, ServicesDep

router = APIRouter(tags=["application keys"])


class CreateKey(WireModel):
    description: str = ""
    permissions: tuple[str, ...] = ("invoke:*",)


class ValidateKey(WireModel):
    api_key: str


@router.post("/apps/{app_id}/api-keys", status_code=201)
async def create_key(app_id: str, body: CreateKey, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """A new key. `apiKey` is answered this once and never again."""
    raw, key_id = await services.registry.create_api_key(
        app_id, description=body.description, permissions=body.permissions, actor=actor
    )
    return {"keyId": key_id, "apiKey": raw}


@router.get("/apps/{app_id}/api-keys")
async def list_keys(app_id: str, services: ServicesDep) -> dict[str, Any]:
    """The keys of an application and what each may do; neither keys nor hashes."""
    keys = services.registry.snapshot(app_id).api_keys
    return {
        "keys": [
            {
                "keyId": key.key_id,
                "description": key.description,
                "permissions": list(key.permissions),
                "enabled": key.enabled,
            }
            for key in keys.values()
        ]
    }


@router.delete("/apps/{app_id}/api-keys/{key_id}")
async def delete_key(app_id: str, key_id: str, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """The key is refused from the next request on."""
    await services.registry.delete_api_key(app_id, key_id, actor=actor)
    return {"keyId": key_id, "deleted": True}


@router.post("/api-keys/validate")
async def validate_key(body: ValidateKey, services: ServicesDep) -> dict[str, Any]:
    """Whose key it is, and what it may do (ValidateApiKey)."""
    identity = await services.registry.validate_api_key(body.api_key)
    if identity is None:
        return {"isValid": False}
    return {
        "isValid": True,
        "appId": identity.app_id,
        "keyId": identity.key_id,
        "permissions": list(identity.permissions),
    }
