"""A sequence on its way over several cores of one model: when one fails, another goes on with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aios.cores.core import Sequence, Step
from aios.errors import CoreUnavailable
from aios.kernel.merge import merged
from aios.kernel.pool import Member, Pool
from aios.kernel.visit import Visit


async def steps_anywhere(
    pool: Pool, member: Member, sequence: Sequence, visit: Visit
) -> AsyncGenerator[Step, None]:
    """The steps of `sequence`, from `member` and, when that is unavailable, from one that can go on after the
    last token. The call of `visit` is booked at the price of the last one. Raises what that raises."""
    tried: set[str] = set()
    ticket = visit.ticket
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
            if visit.admission is not None:
                visit.admission.moved(member)


def steps_of(
    pool: Pool, member: Member, sequences: list[Sequence], visit: Visit, tasks: asyncio.TaskGroup
) -> AsyncGenerator[Step, None]:
    """The steps of all sequences of one call, as they come."""
    if pool.alone(member):
        streams = [member.scheduler.submit(sequence, visit.ticket) for sequence in sequences]
    else:
        streams = [steps_anywhere(pool, member, sequence, visit) for sequence in sequences]
    return streams[0] if len(streams) == 1 else merged(streams, tasks)
