"""Components as MCP tools: what is listed of one, and its answers as results.

Inputs of components are objects, as MCP wants arguments to be. Outputs need not be: what is no object by its schema is
told as {"result": …}, in the schema and in every result; without a schema nothing is promised, and only what turns out
to be no object is wrapped. An httpResponse that is a picture or a sound is told as one.
"""

import base64
from typing import Any

from uhlp import strict_json
from uhlp.execution.workflow.call import may_write
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.routing.request import RoutedAnswer
from uhlp.tools.mcp_caller import structured
from uhlp.tools.tool import JsonObject
from uhlp.web.answers import component_error

_DEFINITIONS = ("$defs", "definitions")


def described(app: AppSnapshot, component: ComponentSnapshot) -> JsonObject:
    """A component of an application as MCP lists a tool. A workflow changes what its steps change."""
    definition = component.definition
    prompt = component.prompt
    tool: JsonObject = {
        "name": definition.component_id,
        "description": definition.description or (prompt.definition.description if prompt else ""),
        "inputSchema": {**(component.input_schema or {}), "type": "object"},
        "annotations": {"readOnlyHint": not (definition.effective_effects == "write" or may_write(app, component))},
    }
    output_schema = _output_schema(component.output_schema)
    if output_schema is not None:
        tool["outputSchema"] = output_schema
    return tool


def result_of(answer: RoutedAnswer, component: ComponentSnapshot, trace_id: str) -> JsonObject:
    """An answer as the result of a tool call; one that the component calls an error is an error here."""
    data = answer.result.data
    if answer.result.result_type == "error":
        _, told = component_error(data, trace_id)
        result = {**structured(told, told["error"]["message"]), "isError": True}
    elif component.output_schema is None and (media := _media(answer)) is not None:
        result = {"content": [media], "isError": False}
    else:
        text = data if isinstance(data, str) else strict_json.dumps(data).decode()
        is_wrapped = not isinstance(data, dict) or not _may_stand(component.output_schema)
        result = structured({"result": data} if is_wrapped else data, text)
        result["isError"] = answer.result.result_type == "httpResponse" and data.get("statusCode", 200) >= 400
    how = {"handler": answer.handler, "implementation": answer.implementation, "reason": answer.reason}
    if answer.deoptimized is not None:
        how["deoptimized"] = answer.deoptimized
    return {**result, "_meta": {f"uhlp/{name}": value for name, value in how.items()}}


def _media(answer: RoutedAnswer) -> JsonObject | None:
    """The picture or the sound that an httpResponse is, as content of its own kind."""
    data = answer.result.data
    if answer.result.result_type != "httpResponse" or data.get("bodyEncoding") != "base64":
        return None
    headers = {str(name).lower(): value for name, value in (data.get("headers") or {}).items()}
    mime_type = str(headers.get("content-type", "")).partition(";")[0].strip()
    kind = mime_type.partition("/")[0]
    if kind not in ("image", "audio") or data.get("statusCode", 200) >= 400 or not _is_base64(data.get("body")):
        return None
    return {"type": kind, "data": data["body"], "mimeType": mime_type}


def _is_base64(body: Any) -> bool:
    try:
        base64.b64decode(body, validate=True)
    except (TypeError, ValueError):
        return False
    return True


def _may_stand(schema: JsonObject | None) -> bool:
    """Whether an object is told as it is: its schema says that there are only objects, or there is none."""
    return schema is None or schema.get("type") == "object"


def _output_schema(schema: JsonObject | None) -> JsonObject | None:
    """What results match; None where that cannot be said."""
    if schema is None or _may_stand(schema):
        return schema
    if not all(reference.startswith(tuple(f"#/{name}/" for name in _DEFINITIONS)) for reference in _references(schema)):
        return None  # it leads to a place that is elsewhere in the wrapped schema
    inner = {name: value for name, value in schema.items() if name not in (*_DEFINITIONS, "$schema")}
    outer = {name: schema[name] for name in _DEFINITIONS if name in schema}
    return {**outer, "type": "object", "properties": {"result": inner}, "required": ["result"]}


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [found for name in ("$ref", "$dynamicRef") if isinstance(found := value.get(name), str)]
        return own + [found for child in value.values() for found in _references(child)]
    return [found for child in value for found in _references(child)] if isinstance(value, list) else []
