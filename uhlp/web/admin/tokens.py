"""Access tokens: shown once, kept as hashes (contracts §7)."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from uhlp.access.access_tokens import TokenView
from uhlp.access.administrator import Role
from uhlp.models.wire import WireModel
from uhlp.web.admin.access import ActorDep, ServicesDep
from uhlp.web.admin.kept_text import KeptText

router = APIRouter(prefix="/tokens", tags=["access"])


class CreateToken(WireModel):
    """viewer reads everything, operator also acts on candidates, samples and sandboxes, owner may everything."""

    name: str
    role: Role
    reason: KeptText = "asked for by hand"


@router.post("", status_code=201)
async def create_token(body: CreateToken, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """A new token. `token` is answered this once and never again."""
    raw, view = await services.tokens.create(body.name, body.role, actor=actor, reason=body.reason)
    return {**_shown(view), "token": raw}


@router.get("")
async def list_tokens(services: ServicesDep) -> dict[str, Any]:
    """Who may administer this server; the first token, which its settings give, comes first."""
    return {"tokens": [_shown(view) for view in services.tokens.listed()]}


@router.delete("/{token_id}")
async def delete_token(
    token_id: str,
    services: ServicesDep,
    actor: ActorDep,
    reason: Annotated[KeptText, Query()] = "asked for by hand",
) -> dict[str, Any]:
    """Refused from the next request on; its panel sessions and event streams end."""
    holder = await services.tokens.delete(token_id, actor=actor, reason=reason)
    return {"tokenId": holder.token_id, "name": holder.name, "deleted": True}


def _shown(view: TokenView) -> dict[str, Any]:
    return {
        "tokenId": view.holder.token_id,
        "name": view.holder.name,
        "role": str(view.holder.role),
        "createdAt": None if view.created_at is None else _iso(view.created_at),
        "createdBy": view.created_by,
        "lastUsedDay": view.last_used_day,
    }


def _iso(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
