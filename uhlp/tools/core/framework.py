"""core.framework.*: configuration and log lines of the calling component."""

import structlog

from uhlp.tools.context import ToolContext
from uhlp.tools.tool import JsonObject, Tool, arguments

log = structlog.get_logger(__name__)


async def get_config_value(given: JsonObject, context: ToolContext) -> JsonObject:
    """One value of the component's merged configuration, or the caller's default."""
    key = given["key"]
    if key in context.configuration:
        return {"found": True, "value": context.configuration[key]}
    return {"found": False, "value": given.get("default")}


async def log_framework_message(given: JsonObject, context: ToolContext) -> JsonObject:
    """Write the component's line into the server's log, with where it comes from."""
    log.log(
        _LEVELS[given.get("level", "info")],
        "component_message",
        app_id=context.app_id,
        component_id=context.component_id,
        request_id=context.request_id,
        trace_id=context.trace_id,
        message=given["message"],
    )
    return {"logged": True}


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

FRAMEWORK_TOOLS = (
    Tool(
        name="core.framework.getConfigValue",
        description="A value of the component's configuration, merged over server, application and component.",
        input_schema=arguments(["key"], key={"type": "string", "minLength": 1, "maxLength": 200}, default={}),
        output_schema=arguments(["found", "value"], found={"type": "boolean"}, value={}),
        run=get_config_value,
        annotations={"readOnlyHint": True, "openWorldHint": False},
    ),
    Tool(
        name="core.framework.logFrameworkMessage",
        description="Write a line into the server's log.",
        input_schema=arguments(
            ["message"],
            message={"type": "string", "minLength": 1, "maxLength": 2000},
            level={"enum": list(_LEVELS)},
        ),
        output_schema=arguments(["logged"], logged={"type": "boolean"}),
        run=log_framework_message,
        annotations={"readOnlyHint": False, "destructiveHint": False, "openWorldHint": False},
    ),
)
