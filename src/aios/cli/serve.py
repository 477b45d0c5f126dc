"""`aios serve`: the kernel daemon."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from aios.cli.render import seconds


@click.command()
@click.option("--host", help="Address to listen on (default 127.0.0.1).")
@click.option("--port", type=int, help="TCP port; 0 picks a free one (default 8420).")
@click.option(
    "--config", "file", type=click.Path(path_type=Path), help="TOML file (default: aios.toml, if there)."
)
@click.option("--state-dir", type=click.Path(path_type=Path), help="Folder of the journal and the keys.")
def serve(host: str | None, port: int | None, file: Path | None, state_dir: Path | None) -> None:
    """Run the kernel daemon until SIGTERM or Ctrl-C; running calls are let finish first."""
    import uvloop

    from aios import config

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    flags = {"server.host": host, "server.port": port, "state.dir": str(state_dir) if state_dir else None}
    uvloop.run(_serve(config.load(file, flags=flags)))


async def _serve(settings: object) -> None:
    import time

    from aios.config import Settings
    from aios.kernel.collector import unhurried
    from aios.kernel.kernel import Kernel
    from aios.server.daemon import Daemon
    from aios.server.serve import serve as listen

    assert isinstance(settings, Settings)
    began = time.monotonic()

    def ready(daemon: Daemon) -> None:
        cores = ", ".join(f"{c.name} ({c.kind}: {', '.join(c.models)}; {c.capacity} slots, {c.policy})"
                          for c in kernel.status().cores)  # fmt: skip
        click.echo(f"AIOS is ready at {daemon.url} after {seconds(time.monotonic() - began)}. Cores: {cores}")
        click.echo(f"OpenAI base URL: {daemon.url}/v1   API: {daemon.url}/docs   stop: Ctrl-C")

    with unhurried():
        async with Kernel(settings) as kernel:
            for handler in logging.getLogger().handlers:
                handler.addFilter(kernel.guard.redactor)
            await listen(kernel, on_ready=ready)
