"""CoreMCPServer and its `core.*` tools: all that a component may ask of UHLP while it runs."""

from uhlp.tools.context import ToolContext
from uhlp.tools.core_mcp_server import CoreMCPServer
from uhlp.tools.session import ToolCallRecord, ToolSession, Usage

__all__ = ["CoreMCPServer", "ToolCallRecord", "ToolContext", "ToolSession", "Usage"]
