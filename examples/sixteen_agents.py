"""Sixteen agents at once on one small model: watch them with `aios top` meanwhile.

With or without a running kernel:  aios run examples/sixteen_agents.py
"""

import asyncio
import time

from aios import AsyncClient


async def agent(url: str, number: int) -> str:
    """Two questions of one conversation; the second prefills only what is new."""
    async with AsyncClient(url, agent=f"agent-{number}") as client:
        talk = [
            {"role": "system", "content": "You are one of sixteen agents. Answer in one short sentence."},
            {"role": "user", "content": f"Say something about the number {number}."},
        ]
        first = await client.chat(talk, temperature=0, max_tokens=30)
        talk += [
            {"role": "assistant", "content": first.choices[0].content},
            {"role": "user", "content": "And about the next one."},
        ]
        second = await client.chat(talk, temperature=0, max_tokens=30)
        reused = second.usage.cached_tokens
        return f"{number:2}: {reused} of {second.usage.prompt_tokens} prompt tokens were cached"


async def main(client: AsyncClient, task: str) -> str:
    began = time.monotonic()
    lines = await asyncio.gather(*(agent(client.address.url, n) for n in range(16)))
    return "\n".join([*lines, f"all in {time.monotonic() - began:.1f} s"])
