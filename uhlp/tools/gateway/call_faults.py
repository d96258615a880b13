"""What the SDK's error of a call means: for the caller, and for the session."""

from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, INVALID_PARAMS, METHOD_NOT_FOUND, PARSE_ERROR

from uhlp.errors import ToolFailed, ToolResultInvalid, UhlpError
from uhlp.tools.gateway.faults import ServerFault, SessionLost
from uhlp.tools.gateway.outgoing import Outgoing
from uhlp.tools.gateway.results import ResultReader


def meaning_of(
    error: MCPError, outgoing: Outgoing, *, tool: str, is_stateful: bool, reader: ResultReader
) -> UhlpError | ServerFault:
    """A UhlpError: the call is answered, with an error. SessionLost: open another session. Any other ServerFault: the
    server did not answer, and the session may be good for the next call."""
    status = outgoing.status
    if outgoing.unreadable is not None:
        return ToolResultInvalid(f"{tool}: {outgoing.unreadable}")
    if outgoing.fault is not None:
        return SessionLost(outgoing.fault, may_have_run=outgoing.was_sent)
    is_of_the_call = error.code in (INVALID_PARAMS, METHOD_NOT_FOUND)
    if status in (400, 404) and is_stateful and not is_of_the_call:
        return SessionLost("it has forgotten the session", may_have_run=False)
    if status in (401, 403):
        return SessionLost(f"it refuses the credentials (HTTP {status})", may_have_run=False)
    if error.code == CONNECTION_CLOSED:
        return ServerFault("it ended its answer before the result, and the call may have run")
    if status is not None and (status == 429 or status >= 500) and not is_of_the_call:
        return ServerFault(f"it answers with HTTP {status}, and the call may have run")
    if error.code == PARSE_ERROR:
        return ToolResultInvalid(f"{tool} answered with what is no JSON-RPC.")
    return ToolFailed(f"{tool}: {reader.words(error.message)}", details={"tool": tool, "mcpCode": error.code})
