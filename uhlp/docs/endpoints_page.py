"""endpoints.md: every path that the server answers, from OpenAPI and from the lanes beside it."""

from typing import Any

from uhlp.docs.markdown_table import code, paragraphs, table
from uhlp.web.admin.application import openapi_document
from uhlp.web.admin.lane import ADMIN
from uhlp.web.admin.role_table import needed_role
from uhlp.web.lanes_documented import LANES

_HEAD = """\
# Endpoints

`GET /openapi.json` describes bodies and answers of what is administration, metrics and health, for tools and client
generators. Bodies are JSON with camelCase names; only `POST /record` has snake_case. A field that is not known is
refused with 422. [Errors](errors.md) have one form everywhere.

"""

_ADMINISTRATION = """
## Administration, metrics and health

Below `/admin/v1` send `Authorization: Bearer <admin token>`. The column says which role it takes: a viewer reads, an
operator also acts on candidates, samples, sandboxes and runs, an owner may everything.

"""


def endpoints_page() -> str:
    lanes = table(
        ("method", "path", "does", "who may"),
        [(" ".join(lane.methods), code(lane.path), lane.meaning, lane.admitted) for lane in LANES],
    )
    document = openapi_document()
    rows = [
        (method.upper(), code(path), _meaning(operation), _role(method, path))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return f"{_HEAD}## Applications and pages\n\n{lanes}{_ADMINISTRATION}" + table(
        ("method", "path", "does", "role"), rows
    )


def _meaning(operation: dict[str, Any]) -> str:
    return paragraphs(operation["description"])


def _role(method: str, path: str) -> str:
    return str(needed_role(method.upper(), path)) if path.startswith(ADMIN) else ""
