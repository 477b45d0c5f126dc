"""Calls whose person is at the terminal: whom else would the kernel ask?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import click
import msgspec

from aios.access.approvals import Approval
from aios.access.decision import agent_id
from aios.cli import render
from aios.errors import Conflict, Forbidden
from aios.kernel.wanted import SEEN, bound
from aios.sdk import access
from aios.sdk.client import AsyncClient, Client
from aios.sdk.requests import Request
from aios.syscalls import Call, kind

T = TypeVar("T")
POLL_S = 0.05
CONFIRMED = "Confirmed at the terminal."


def yes_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--yes`: who typed it has said all there is to say."""
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")(command)


def confirmed(
    client: Client, agent: str, call: Call[T], *, yes: bool = True, do: Callable[[], T] | None = None
) -> T:
    """Do `call` as `agent` (by `do`, if there is a better way than a syscall). What the kernel asks about
    exactly this call is asked here, unless `yes`. Raises what the call raises."""
    with ThreadPoolExecutor(1) as thread:
        doing = thread.submit(do or partial(client.syscall, call))
        while not wait([doing], POLL_S).done:
            with suppress(Conflict, Forbidden):  # somebody else was quicker, or is who answers
                for asked in client.approvals.list("waiting"):
                    if _about(asked, agent, call):
                        client.request(_answer(asked, yes))
        return doing.result()


class Confirming:
    """The syscalls of `client`, which acts as `agent`. What the kernel asks about them is asked here, unless
    `yes`."""

    def __init__(self, client: AsyncClient, agent: str, *, yes: bool) -> None:
        self._client, self._agent, self._yes = client, agent, yes

    async def syscall(self, call: Call[T]) -> T:
        """Raises AiosError."""
        doing = asyncio.ensure_future(self._client.syscall(call))
        try:
            while not (await asyncio.wait([doing], timeout=POLL_S))[0]:
                with suppress(Conflict, Forbidden):
                    for asked in await self._client.approvals.list("waiting"):
                        if _about(asked, self._agent, call):
                            await self._client.request(_answer(asked, self._yes))
            return await doing
        finally:
            doing.cancel()


def _about(asked: Approval, agent: str, call: Call[Any]) -> bool:
    if (asked.agent, asked.action) != (agent_id("default", agent), kind(call)):
        return False
    told = msgspec.json.decode(asked.arguments)
    told.pop(SEEN, None)
    return told == msgspec.json.decode(msgspec.json.encode(bound(call)))


def _answer(asked: Approval, yes: bool) -> Request[Approval]:
    """What the person says."""
    if yes:
        return access.answer(asked.id, "once", CONFIRMED)
    for line in asked.diff.splitlines():
        click.echo(render.printable(line), err=True)
    try:
        said = click.confirm(f"{asked.rule.capitalize()} {asked.resource.partition(':')[2]}?", err=True)
    except (click.Abort, OSError):  # no terminal, or nobody at it
        return access.answer(asked.id, "deny", "Nobody confirmed it at the terminal: say --yes.")
    if said:
        return access.answer(asked.id, "once", CONFIRMED)
    return access.answer(asked.id, "deny", "Refused at the terminal.")
