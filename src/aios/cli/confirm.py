"""Calls that their person has confirmed at the terminal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TypeVar

from aios.access.canonical import canonical
from aios.access.decision import agent_id
from aios.errors import Conflict, Forbidden
from aios.kernel.wanted import bound
from aios.sdk.client import Client
from aios.syscalls import Call, kind

T = TypeVar("T")
POLL_S = 0.05


def confirmed(client: Client, agent: str, call: Call[T]) -> T:
    """Do `call` as `agent`. What the kernel asks about exactly this call is answered with yes: who is at the
    terminal is whom it would ask. Raises what the call raises."""
    wanted = agent_id("default", agent), kind(call), canonical(bound(call)).decode()
    with ThreadPoolExecutor(1) as thread:
        doing = thread.submit(client.syscall, call)
        while not wait([doing], POLL_S).done:
            with suppress(Conflict, Forbidden):  # somebody else was quicker, or is who answers
                for asked in client.approvals.list("waiting"):
                    if (asked.agent, asked.action, asked.arguments) == wanted:
                        client.approvals.allow(asked.id, reason="Confirmed at the terminal.")
        return doing.result()
