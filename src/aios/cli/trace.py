"""`aios trace` and `aios timeline`: what happened lately, for a trace viewer or as a picture."""

from __future__ import annotations

import json
from pathlib import Path

import click

from aios.cli.daemon import connect, state_option


@click.group()
def trace() -> None:
    """Export what the kernel did lately: who waited, who ran in which slot."""


@trace.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@state_option
def export(file: Path, state_dir: Path | None) -> None:
    """Write the timeline to FILE in Chrome's trace format; ui.perfetto.dev and chrome://tracing read it."""
    with connect(state_dir) as client:
        told = client.trace()
    file.write_text(json.dumps(told), "utf-8")
    click.echo(f"{file}: {len(told['traceEvents'])} events")


@click.command()
@click.option("--png", type=click.Path(path_type=Path), required=True, help="Where to draw it.")
@state_option
def timeline(png: Path, state_dir: Path | None) -> None:
    """Draw what the kernel did lately: a row for each slot and each process."""
    from aios.telemetry.timeline import draw_timeline

    with connect(state_dir) as client:
        rows = draw_timeline(client.trace(), png)
    click.echo(f"{png}: {rows} rows")
