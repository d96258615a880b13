"""The FastAPI application behind the admin lane: /admin/v1, health, OpenAPI."""

from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from uhlp.version import own_version
from uhlp.web import health
from uhlp.web.admin import (
    adjudication,
    api_keys,
    apps,
    definitions,
    drafts,
    evaluations,
    events,
    evolution,
    executions,
    logs,
    money,
    observations,
    optimize_requests,
    prompt_overrides,
    queues,
    runtime,
    sandboxes,
    tokens,
    tools,
    versions,
)
from uhlp.web.admin import settings as settings_view
from uhlp.web.admin.access import bearer
from uhlp.web.admin.errors import ERROR_RESPONSES, envelope_schemas, install_error_handlers
from uhlp.web.metrics_documented import metrics_paths
from uhlp.web.services import Services


class _Application(FastAPI):
    """Its OpenAPI document speaks of the lanes beside it too."""

    def openapi(self) -> dict[str, Any]:
        document = super().openapi()
        document["paths"].update(metrics_paths(ERROR_RESPONSES))
        document["components"]["schemas"].update(envelope_schemas())
        return document


def build_admin(services: Services) -> FastAPI:
    """One FastAPI application over `services`; AdminLane stands before it. Takes a while: call it in a thread."""
    app = _without_services()
    app.state.services = services
    nowhere = {"type": "http", "method": "GET", "path": "/admin/v1/", "headers": []}
    for route in app.routes:
        route.matches(nowhere)  # FastAPI prepares what it has included when it is first asked for
    return app


def openapi_document() -> dict[str, Any]:
    """What GET /openapi.json answers, whatever the server."""
    return _without_services().openapi()


def _without_services() -> FastAPI:
    app = _Application(
        title="UHLP",
        summary="Endpoints that start as prompts and become code when they have earned it",
        version=own_version(),
        docs_url=None,  # both pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses=ERROR_RESPONSES,
    )
    install_error_handlers(app)
    admin = APIRouter(prefix="/admin/v1", dependencies=[Depends(bearer)])
    for part in (
        apps,
        drafts,
        definitions,
        api_keys,
        runtime,
        queues,
        tools,
        observations,
        executions,
        logs,
        adjudication,
        sandboxes,
        evolution,
        money,
        events,
        versions,
        tokens,
        prompt_overrides,
        evaluations,
        optimize_requests,
        settings_view,
    ):
        admin.include_router(part.router)
    app.include_router(admin)
    app.include_router(health.router)
    return app
