"""errors.md: every error code, from the tree in `uhlp/errors.py`."""

from collections.abc import Iterator

from uhlp.docs.markdown_table import code, paragraphs, table
from uhlp.errors import UhlpError

_HEAD = """\
# Errors

Every refusal of the server has one form, whatever asked:

```json
{"error": {"code": "REVISION_CONFLICT", "message": "what is wrong and what to do", "retryable": true,
           "details": {}, "traceId": "4bf92f3577b34da6a3ce929d0e0e4736"}}
```

`code` never changes its meaning. `retryable` says that the same request may succeed later; where a time is known,
`Retry-After` names it. `details` has what a program may want, such as the `path` of each wrong field. The server's log
knows the same `traceId`. Over MCP the envelope is the content of a result with `isError`; the command line prints
`message` on one line of standard error.

Components may answer with codes of their own (`expectedResultFormat: error`); these are the server's:

"""


def errors_page() -> str:
    rows = [
        (code(error.code), str(error.status), "yes" if error.retryable else "no", paragraphs(error.__doc__))
        for error in error_classes()
    ]
    return _HEAD + table(("code", "status", "retryable", "message, unless it says more"), rows)


def error_classes(parent: type[UhlpError] = UhlpError) -> Iterator[type[UhlpError]]:
    """Every class below `parent`, by status; a parent before its children."""
    found = {error.code: error for error in _below(parent)}
    return iter(sorted(found.values(), key=lambda error: error.status))


def _below(parent: type[UhlpError]) -> Iterator[type[UhlpError]]:
    for child in parent.__subclasses__():
        yield child
        yield from _below(child)
