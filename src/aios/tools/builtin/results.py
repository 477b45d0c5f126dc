"""Results that were too long to be given whole."""

from __future__ import annotations

import asyncio

from aios.errors import ToolError
from aios.tools import folder
from aios.tools.tool import Bound, Context, bind

NOTE = 80
"""Characters at most of what is said of a part."""


class Results:
    """Gives them in parts of `chars` characters, the note at the end counted."""

    def __init__(self, chars: int) -> None:
        self._chars = max(1, chars - NOTE)

    def tools(self) -> list[Bound]:
        """`read_result`."""
        return [bind(self.read_result, effect="idempotent")]

    async def read_result(self, file: str, context: Context, start: int = 0) -> str:
        """Read on in a result that was cut because it was too long.

        file: the name that the cut result tells, such as results/20260101-120000-0a1b2c3d.txt
        start: number of the character to begin at
        """
        start, work = max(0, start), context.caller.work
        try:
            text, more = await asyncio.to_thread(folder.read_result, work, file, start, self._chars)
        except (OSError, ValueError) as error:
            raise ToolError(
                f"There is no result {file!r}.", "Use the name that the cut result tells."
            ) from error
        end = start + len(text)
        return f"{text}\n[to character {end}; go on with start={end}]" if more else text
