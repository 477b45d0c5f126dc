"""The demo's live table: what every agent does, and where its KV is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from aios.bench.drive import Row
from aios.syscalls import ProcessList


class Board:
    """Shows `rows` while a mode runs. On a terminal it is live; elsewhere a line every few seconds. `kernel` is
    the address of an AIOS kernel to ask where KV is, or None."""

    def __init__(self, title: str, rows: list[Row], kernel: str | None) -> None:
        self._title, self._rows, self._kernel = title, rows, kernel
        self._console = Console()
        self._began = time.monotonic()

    @asynccontextmanager
    async def shown(self) -> AsyncGenerator[None]:
        self._began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(self._watch())
            try:
                yield
            finally:
                watcher.cancel()

    async def _watch(self) -> None:
        limits = httpx.Timeout(2.0)
        async with httpx.AsyncClient(timeout=limits, trust_env=False) as http:
            if not self._console.is_terminal:
                while True:
                    await asyncio.sleep(10)
                    await self._ask(http)
                    self._console.print(self._line())
            with Live(self._picture(), console=self._console, auto_refresh=False, transient=True) as live:
                while True:
                    await asyncio.sleep(0.5)
                    await self._ask(http)
                    live.update(self._picture(), refresh=True)

    async def _ask(self, http: httpx.AsyncClient) -> None:
        """Where each agent's KV is, from the kernel's process table."""
        if self._kernel is None:
            return
        try:
            answer = await http.get(f"{self._kernel}/aios/v1/processes")
        except httpx.HTTPError:
            return  # the next look will tell
        if answer.status_code != 200:
            return
        places = {p.name: p for p in msgspec.json.decode(answer.content, type=ProcessList).processes}
        for row in self._rows:
            if process := places.get(row.name):
                row.kv = f"{process.kv or '-'} {process.kv_tokens or ''}"
                if row.state == "llm":
                    row.state = {"ready": "queued", "running": "decodes"}.get(process.state, "llm")
                elif row.state in ("queued", "decodes"):
                    row.state = {"ready": "queued", "running": "decodes"}.get(process.state, row.state)

    def _picture(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("AGENT", "STATE", "TURN", "PROMPT", "CACHED", "OUT", "WAITED", "KV", ""):
            table.add_column(name, justify="left" if name in ("AGENT", "STATE", "KV", "") else "right")
        for row in self._rows:
            mark = {True: "[green]right", False: "[red]wrong", None: ""}[row.right]
            table.add_row(
                row.name, row.state, str(row.turn), str(row.prompt), str(row.cached), str(row.generated),
                f"{row.waited:.1f} s", row.kv, mark,
            )  # fmt: skip
        return Group(Text(self._head(), style="bold"), table)

    def _head(self) -> str:
        done = sum(row.right is not None for row in self._rows)
        return f"{self._title}: {time.monotonic() - self._began:.0f} s, {done} of {len(self._rows)} agents done"

    def _line(self) -> str:
        states: dict[str, int] = {}
        for row in self._rows:
            state = row.state.split()[0]
            states[state] = states.get(state, 0) + 1
        kv: dict[str, int] = {}
        for row in self._rows:
            place = row.kv.split()[0]
            kv[place] = kv.get(place, 0) + 1
        where = f"; KV {kv}" if self._kernel else ""
        return f"  {self._head()}; {states}{where}"
