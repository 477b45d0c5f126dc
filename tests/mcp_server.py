"""An MCP server for tests: `python -m tests.mcp_server` over stdio, or with a port over HTTP."""

import os
import sys

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("test", version="2.5")


@server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
def double(n: int) -> int:
    """Twice a number."""
    return 2 * n


@server.tool()
def fail() -> str:
    """Fail."""
    raise ValueError("no luck")


@server.tool()
def die() -> str:
    """End the server."""
    os._exit(3)


@server.tool()
def pid() -> int:
    """Tell who it is."""
    return os.getpid()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run()
