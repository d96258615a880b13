"""Which role a request to the administration needs. This table alone decides it, for REST, metrics and the panel.

The strictest of all rows that match decides; what no row matches is for owners. A test holds the table against every
route, so a new route that changes something comes with its row here.
"""

from dataclasses import dataclass
from functools import lru_cache
from re import Pattern

from starlette.routing import compile_path

from uhlp.access.administrator import Administrator, Role
from uhlp.errors import PermissionDenied

_TABLE = """
    viewer    GET     /admin/{anything:path}
    viewer    POST    /admin/v1/ledger/verify
    viewer    GET     /metrics

    operator  POST    /admin/v1/apps/{app_id}/components/{component_id}/optimize
    operator  POST    /admin/v1/apps/{app_id}/components/{component_id}/rollback
    operator  POST    /admin/v1/candidates/{candidate_id}/{action}
    operator  POST    /admin/v1/evolution/pause
    operator  POST    /admin/v1/evolution/resume
    operator  POST    /admin/v1/apps/{app_id}/samples
    operator  POST    /admin/v1/apps/{app_id}/samples/{sample_id}/adjudicate
    operator  POST    /admin/v1/apps/{app_id}/adjudications
    operator  POST    /admin/v1/sandboxes/{sandbox_id}/recycle
    operator  POST    /admin/v1/apps/{app_id}/executions/{execution_id}/cancel
    operator  POST    /admin/v1/apps/{app_id}/queues/{queue}/dead-letters/{message_id}/revive
    operator  POST    /record
    operator  POST    /admin/v1/apps/{app_id}/evals
    operator  POST    /admin/v1/apps/{app_id}/evals/{eval_id}/cancel
    operator  POST    /admin/v1/optimize-requests
    operator  POST    /admin/v1/optimize-requests/{request_id}/cancel

    owner     POST    /admin/v1/candidates/{candidate_id}/clear-quarantine
    owner     POST    /admin/v1/drafts
    owner     POST    /admin/v1/apps
    owner     PATCH   /admin/v1/apps/{app_id}
    owner     DELETE  /admin/v1/apps/{app_id}
    owner     PUT     /admin/v1/apps/{app_id}/definition
    owner     PUT     /admin/v1/apps/{app_id}/definition/{path:path}
    owner     DELETE  /admin/v1/apps/{app_id}/definition/{path:path}
    owner     POST    /admin/v1/apps/{app_id}/definition-diffs
    owner     POST    /admin/v1/apps/{app_id}/revert
    owner     POST    /admin/v1/optimize-requests/{request_id}/apply
    owner     POST    /admin/v1/apps/{app_id}/prompts/{name}/overrides
    owner     POST    /admin/v1/apps/{app_id}/prompts/{name}/overrides/{tag}/restore
    owner     DELETE  /admin/v1/apps/{app_id}/prompts/{name}/overrides/{tag}
    owner     POST    /admin/v1/optimize-requests/{request_id}/apply
    owner     POST    /admin/v1/apps/{app_id}/api-keys
    owner     DELETE  /admin/v1/apps/{app_id}/api-keys/{key_id}
    owner     POST    /admin/v1/api-keys/validate
    owner     PUT     /admin/v1/apps/{app_id}/runtime/{key}
    owner     DELETE  /admin/v1/apps/{app_id}/runtime/{key}
    owner     POST    /admin/v1/apps/{app_id}/runtime/{key}/increment
    owner     POST    /admin/v1/apps/{app_id}/runtime/{key}/compare-and-set
    owner     POST    /admin/v1/apps/{app_id}/runtime/{key}/entries
    owner     DELETE  /admin/v1/apps/{app_id}/queues/{queue}/dead-letters
    owner     DELETE  /admin/v1/apps/{app_id}/executions/{execution_id}
    owner     PUT     /admin/v1/evolution/config
    owner     PUT     /admin/v1/config
    owner     POST    /admin/v1/tokens
    owner     DELETE  /admin/v1/tokens/{token_id}
    owner     POST    /mcp
"""


@dataclass(frozen=True, slots=True)
class Row:
    """Requests of one method to the paths of one template need `role`."""

    role: Role
    method: str
    template: str
    pattern: Pattern[str]


def _row(line: str) -> Row:
    role, method, template = line.split()
    return Row(Role(role), method, template, compile_path(template)[0])


ROWS = tuple(_row(line) for line in _TABLE.splitlines() if line.strip())


@lru_cache(maxsize=1_024)  # some paths are asked for thousands of times a second
def needed_role(method: str, path: str) -> Role:
    """The role that this request needs; HEAD is a GET."""
    asked = "GET" if method == "HEAD" else method
    found = [row.role for row in ROWS if row.method == asked and row.pattern.match(path)]
    return next((role for role in reversed(Role) if role in found), Role.OWNER)


def check_role(administrator: Administrator, method: str, path: str) -> None:
    """Returns when they may do it; PermissionDenied says which role it needs."""
    needed = needed_role(method, path)
    if not administrator.role.covers(needed):
        raise PermissionDenied(
            f"This needs the role {needed}; {administrator.name} is {administrator.role}.",
            details={"needed": str(needed), "role": str(administrator.role)},
        )
