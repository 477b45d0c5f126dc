"""`aios top`: processes and cores, live."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from aios.cli import render
from aios.cli.daemon import connect, state_option
from aios.sdk.client import Client


@click.command()
@click.option("--every", default=0.5, help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Show one picture and stop.")
@state_option
def top(every: float, once: bool, state_dir: Path | None) -> None:
    """Watch processes (state, waits, tokens, where their KV is) and cores."""
    with connect(state_dir) as client:
        if once:
            render.show(picture(client))
            return
        with Live(picture(client), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                live.update(picture(client), refresh=True)


def picture(client: Client) -> Group:
    """One look."""
    told = client.status()
    busiest = {"running": 0, "ready": 1, "paused": 2}
    processes = sorted(client.processes(), key=lambda p: (busiest.get(p.state, 3), p.pid))
    up = render.seconds(told["uptime_s"])
    head = f"aios {told['version']}  {told['state']}  up {up}  {len(processes)} processes"
    return Group(
        Text(head, style="bold"), render.core_table(told["cores"]), Text(), render.process_table(processes)
    )
