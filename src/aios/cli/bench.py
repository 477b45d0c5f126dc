"""`aios bench`: what is measured, and how, is in aios/bench."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aios import plugins


@click.command()
@click.argument("name", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for result.json and the plot.")
@click.option("--model", help="Catalogue name or GGUF path.")
@click.option("--full", is_flag=True, help="The long version: sweeps, several seeds.")
@click.option("--quick", is_flag=True, help="A short look; its numbers are not for reports.")
@click.option("--seeds", type=int, help="Repetitions.")
@click.option("--agents", type=int, help="demo, conversations: number of agents.")
@click.option("--slots", type=int, help="demo: slots of the core.")
@click.option("--part", help="contexts: this part only (exact, restart, pressure, memory); keep the others.")
@click.option(
    "--data",
    "--conversations",
    "data",
    type=click.Path(path_type=Path),
    help="recall: dialogues in LoCoMo's JSON format; memory: conversations, JSON lines of OpenAI messages; "
    "simulate: folder of the traces.",
)
def bench(name: str | None, out: Path | None, **options: Any) -> None:
    """Run benchmark NAME and write its result; without NAME list them."""
    if name is None:
        for known in plugins.names(plugins.BENCHMARKS):
            click.echo(known)
        return
    given = {key: value for key, value in options.items() if value not in (None, False)}
    folder = out or Path("benchmarks") / "results" / name
    plugins.load(plugins.BENCHMARKS, name)(folder, **given)
    click.echo(f"written: {folder}")
