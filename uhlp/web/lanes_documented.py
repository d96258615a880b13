"""What OpenAPI does not describe: paths of applications, MCP servers and pages, for the documentation.

A test holds the table against the edge: every path here reaches the lane that it names, and every lane has its rows.
"""

from dataclasses import dataclass
from typing import Literal

LaneName = Literal["ingress", "sources", "executions", "application_mcp", "mcp", "panel", "documentation"]


@dataclass(frozen=True, slots=True)
class DocumentedLane:
    """`lane` is the edge's own word for it; `path` has its variables in braces."""

    lane: LaneName
    methods: tuple[str, ...]
    path: str
    meaning: str
    admitted: str


_INVOKERS = "anyone where the application is `public`; else a key or user with `invoke:<componentId>`"

LANES = (
    DocumentedLane(
        "ingress", ("ANY",), "/apps/{appId}/{path}",
        "Asks the component whose route this is. The same as `http://{appId}.<base_domain>/{path}`.", _INVOKERS,
    ),
    DocumentedLane(
        "sources", ("POST",), "/apps/{appId}/-/triggers/{event}",
        "An event for the components that listen to it: the answer of one, or 202 with the ids of several messages.",
        "a key with `trigger:<event>`; of another application where `interAppPermissions` names it",
    ),
    DocumentedLane(
        "sources", ("POST",), "/apps/{appId}/-/callbacks/{name}",
        "Something outside answers: a waiting workflow (`?correlation=`), else the component that listens.",
        "a key of the application, or the callback's signature",
    ),
    DocumentedLane(
        "sources", ("POST",), "/apps/{appId}/-/queues/{name}",
        "A message for a queue: 202 with its id.", "a key with `trigger:<queue>`, or `invoke:` of the consumer",
    ),
    DocumentedLane(
        "executions", ("GET",), "/apps/{appId}/-/executions/{executionId}",
        "What became of a run that was begun with `Prefer: respond-async`.", "whoever may ask its component",
    ),
    DocumentedLane(
        "application_mcp", ("POST",), "/apps/{appId}/-/mcp",
        "The application as an MCP server, a tool for each component; streamable HTTP without sessions.", _INVOKERS,
    ),
    DocumentedLane(
        "mcp", ("POST",), "/mcp",
        "The tools of one application (`X-App-Id`), or those of one component for its execution.",
        "an owner's token; the token of a call in a sandbox",
    ),
    DocumentedLane(
        "panel", ("GET", "POST"), "/panel", "The panel; it asks for a token at `/panel/login`.", "any admin token",
    ),
    DocumentedLane("documentation", ("GET",), "/docs/uhlp", "These pages, from the contents on.", "anyone"),
    DocumentedLane("documentation", ("GET",), "/docs/uhlp/{page}", "One of these pages.", "anyone"),
)  # fmt: skip
