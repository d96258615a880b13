"""All that a component may ask for while it runs: CoreMCPServer's `core.*` tools, and those of MCP servers."""

from uhlp.tools.context import ToolContext
from uhlp.tools.core_mcp_server import CoreMCPServer
from uhlp.tools.session import ToolCallRecord, ToolSession, Usage
from uhlp.tools.tool_namespaces import ToolNamespaces

__all__ = ["CoreMCPServer", "ToolCallRecord", "ToolContext", "ToolNamespaces", "ToolSession", "Usage"]
