"""Tools of MCP servers, by streamable HTTP: one session per server and process, which all callers share."""
