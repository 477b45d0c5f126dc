"""A kernel in a process of its own, started as a user starts it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from aios.errors import CoreUnavailable
from aios.server.daemon import find_daemon


@asynccontextmanager
async def serving(folder: Path, tables: str) -> AsyncGenerator[str]:
    """`aios serve` with a configuration of `tables` (TOML) beside a free port and a state folder in `folder`;
    gives its address. Raises CoreUnavailable when it does not start."""
    state = folder / "state"
    file = folder / "aios.toml"
    file.write_text(f'[server]\nport = 0\n[state]\ndir = "{state}"\n{tables}')
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aios.cli.main", "serve", "--config", str(file),
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield await _address(state, process)
    finally:
        process.terminate()
        await process.wait()


async def _address(state: Path, process: asyncio.subprocess.Process) -> str:
    for _ in range(600):
        if daemon := find_daemon(state):
            return daemon.url
        if process.returncode is not None:
            break
        await asyncio.sleep(0.1)
    raise CoreUnavailable("The kernel did not start.", "Try `aios serve`: it says why.")
