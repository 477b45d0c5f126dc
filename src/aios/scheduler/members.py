"""Which processes a program has here."""

from __future__ import annotations

from collections import Counter


class Members:
    """Processes by program, of those that had calls."""

    def __init__(self) -> None:
        self._program: dict[int, str] = {}
        self._count: Counter[str] = Counter()

    def __contains__(self, pid: int) -> bool:
        return pid in self._program

    def join(self, pid: int, program: str) -> None:
        """A call of the process came."""
        if pid not in self._program:
            self._program[pid] = program
            self._count[program] += 1

    def leave(self, pid: int) -> str:
        """The process is gone: the program that is over with it, or ""."""
        program = self._program.pop(pid, "")
        if not program:
            return ""
        self._count[program] -= 1
        if self._count[program]:
            return ""
        del self._count[program]
        return program
