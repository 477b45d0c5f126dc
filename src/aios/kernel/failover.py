"""A sequence on its way over several cores of one model: when one fails, another goes on with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from aios.cores.core import Sequence, Step
from aios.errors import CoreUnavailable
from aios.kernel.pool import Member, Pool
from aios.scheduler.ticket import Ticket


async def steps_anywhere(
    pool: Pool, member: Member, sequence: Sequence, ticket: Ticket
) -> AsyncGenerator[Step, None]:
    """The steps of `sequence`, from `member` and, when that is unavailable, from one that can go on after the
    last token. Raises what the last one raises."""
    tried: set[str] = set()
    while True:
        try:
            async with aclosing(member.scheduler.submit(sequence, ticket)) as steps:
                async for step in steps:
                    yield step
            return
        except CoreUnavailable:
            tried.add(member.core.name)
            refuge = await pool.refuge(member, sequence, tried, begun=ticket.first_token is not None)
            if refuge is None:
                raise
            member, sequence = refuge
