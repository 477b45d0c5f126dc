"""What became of one context so far."""

from __future__ import annotations

from dataclasses import dataclass

from aios.context.seating import Place


@dataclass(slots=True, eq=False)
class Life:
    """Of a context from its first call on, whichever entries it was in: tokens that its calls `computed` or
    found `from_slot`, `from_ram`, `from_disk`; how often it was brought back from RAM or disk, and the seconds
    that took. One is kept for each context that there is: it holds numbers only."""

    computed: int = 0
    from_slot: int = 0
    from_ram: int = 0
    from_disk: int = 0
    restores: int = 0
    restore_s: float = 0.0

    def found(self, place: Place, tokens: int) -> None:
        """So many of its tokens had their KV at `place`; `dropped`: nowhere, they are computed."""
        if place == "resident":
            self.from_slot += tokens
        elif place == "parked":
            self.from_ram += tokens
            self.restores += 1
        elif place == "swapped":
            self.from_disk += tokens
            self.restores += 1
        else:
            self.computed += tokens
