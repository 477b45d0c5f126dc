"""What a core takes for its work."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of one engine step and of moving KV. A step takes `step_s`; for each sequence that decodes
    `decode_s`, and `look_s` a token of its context; if it has prompt tokens `chunk_s`, and for each of them
    `prefill_s`, and `attend_s` a token before it. Saving or loading n tokens of KV takes
    `move_s + n * token_move_s`."""

    step_s: float = 0.002
    decode_s: float = 0.003
    look_s: float = 0.0
    chunk_s: float = 0.0
    prefill_s: float = 0.0015
    attend_s: float = 0.0
    move_s: float = 0.002
    token_move_s: float = 0.0

    def prefill(self, tokens: int, at: int) -> float:
        """Of `tokens` prompt tokens that begin at position `at`."""
        return tokens * (self.prefill_s + self.attend_s * (at + tokens / 2))

    def decode(self, steps: int, context: int) -> float:
        """Of one sequence of `context` tokens over `steps` steps."""
        return steps * (self.decode_s + self.look_s * (context + steps / 2))

    def move(self, tokens: int) -> float:
        return self.move_s + tokens * self.token_move_s

    def slower(self, factor: float) -> Costs:
        """All of it `factor` times as long."""
        return Costs(**{name: factor * seconds for name, seconds in asdict(self).items()})
