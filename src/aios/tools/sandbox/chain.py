"""Which way to isolate is used here: the strongest that works, or none."""

from __future__ import annotations

import asyncio
import sys

from aios.errors import SandboxUnavailable
from aios.tools.sandbox.box import Sandbox
from aios.tools.sandbox.bubblewrap import Bubblewrap, binaries
from aios.tools.sandbox.landlock import Landlock
from aios.tools.sandbox.profile import Strength


def candidates() -> list[Sandbox]:
    """All that could work, the strongest first."""
    return [*(Bubblewrap(path) for path in binaries()), Landlock()] if sys.platform == "linux" else []


async def find(among: list[Sandbox] | None = None) -> Sandbox:
    """The first that works. Raises SandboxUnavailable, which says why none does: nothing runs unprotected."""
    tried: list[Strength] = []
    for sandbox in candidates() if among is None else among:
        strength = await sandbox.strength()
        if strength.usable:
            return sandbox
        tried.append(strength)
    if not tried:
        raise SandboxUnavailable("There is no sandbox for this system.", "Run AIOS on Linux.")
    why = "; ".join(f"{strength.name}: {' '.join(strength.lacks)}" for strength in tried)
    raise SandboxUnavailable(f"No sandbox works here ({why}).", tried[0].mend)


async def examine() -> list[Strength]:
    """For `aios doctor`: every way, in order; the first that is usable is the one that is used."""
    return list(await asyncio.gather(*(sandbox.strength() for sandbox in candidates())))
