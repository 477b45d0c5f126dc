"""`aios mcp`: the kernel's tools for an MCP client that starts a program."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from aios.cli.daemon import daemon, state_option
from aios.errors import DaemonNotFound
from aios.sdk.client import AsyncClient
from aios.syscalls.tools import ListTools


@click.command()
@click.option("--agent", "-a", help="Who calls (default: AIOS_AGENT, else the key's agent, else `mcp`).")
@state_option
def mcp(agent: str | None, state_dir: Path | None) -> None:
    """Speak MCP over stdin and stdout: the tools, memory and files of one agent of the running kernel.

    AIOS_API_KEY is the agent's key, where it has one."""
    url = os.environ.get("AIOS_BASE_URL") if state_dir is None else None
    if url is None:
        found = daemon(state_dir)
        if found is None:
            raise DaemonNotFound("No kernel runs here.", "Start one: aios serve")
        url = found.url
    if not (agent or os.environ.get("AIOS_AGENT") or os.environ.get("AIOS_API_KEY")):
        agent = "mcp"
    asyncio.run(_serve(url, agent))


async def _serve(url: str, agent: str | None) -> None:
    """Until stdin ends."""
    from aios.server.mcp import load, mcp_server

    load()
    from mcp.server.stdio import stdio_server

    async with AsyncClient(url, agent=agent) as client:
        await client.syscall(ListTools())  # who may not call is told so now
        server = mcp_server(client.syscall)
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
