"""The gateway to MCP servers: `community.<server>.<tool>` and `app.<server>.<tool>`."""
