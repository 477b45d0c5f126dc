"""`aios models` and `aios pull`."""

from __future__ import annotations

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from aios.cli import render
from aios.cli.daemon import json_option
from aios.models import catalogue
from aios.models import pull as pulling
from aios.models.store import ModelStore


@click.command()
@json_option
def models(as_json: bool) -> None:
    """List the model catalogue and what is installed. Any GGUF file can be used by its path, too."""
    here = ModelStore().installed()
    known, default = catalogue.load(), catalogue.default()
    if as_json:
        rows = [
            {"name": n, "size": m.size, "license": m.license, "default": n == default,
             "path": str(here[n]) if n in here else None}
            for n, m in known.items()
        ]  # fmt: skip
        render.show_json(rows)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("NAME", "SIZE", "LICENCE", "INSTALLED", "ABOUT"):
        table.add_column(name)
    for name, model in known.items():
        star = " (default)" if name == default else ""
        table.add_row(f"{name}{star}", render.size(model.size), model.license, "yes" if name in here else "no",
                      model.about)  # fmt: skip
    render.show(table)


@click.command()
@click.argument("name", required=False)
def pull(name: str | None) -> None:
    """Fetch model NAME (default: the catalogue's default). Goes on where an earlier pull stopped."""
    name = name or catalogue.default()
    store = ModelStore()
    if name.endswith(".gguf"):
        click.echo(f"{store.resolve(name)} is a file: nothing to fetch")
        return
    columns = (
        "[bold]{task.description}",
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        task = progress.add_task(f"pull {name}", total=store.model(name).size)
        path = pulling.pull(name, store, lambda done, total: progress.update(task, completed=done, total=total))
    click.echo(f"{name}: {path}")
