"""What the kernel keeps of a sequence of the embedded core between two stays: how to start it anywhere, and
what the worker's messages mean for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from aios.cores.core import Branch, Ended, Seat, Sequence, Step, Yielded
from aios.cores.llama.beam import Hypothesis
from aios.cores.llama.chat import Prompt
from aios.cores.llama.link import WorkerLost
from aios.cores.llama.messages import (
    BeamDone,
    BeamRow,
    BeamStep,
    Done,
    Failed,
    LaneSeat,
    Left,
    Seated,
    Start,
    StartBeams,
    Token,
    Written,
    to_wire,
)
from aios.cores.llama.toolcalls import AnswerParser
from aios.errors import AiosError, CoreUnavailable, by_code
from aios.syscalls import Delta, FinishReason, Sampling, TokenLogprob

Mail = Seated | Token | Done | BeamStep | BeamDone | Left | Failed | AiosError


class Progress(Protocol):
    """This core's part of a sequence."""

    def start(self, sequence: Sequence, seat: Seat) -> Start | StartBeams:
        """Ask the worker to go on with `sequence` in `seat`."""
        ...

    def steps(self, sequence: Sequence, mail: Mail) -> list[Step]:
        """What a message from the worker means. Raises what the worker reports as failed."""
        ...


def common_steps(sequence: Sequence, mail: Mail) -> list[Step]:
    """Of the messages that mean the same for every kind of sequence."""
    match mail:
        case Seated(cached=cached):
            sequence.kv = cached
            sequence.prefilled += max(0, len(sequence.tokens) - cached)
            return []
        case Left(kv_tokens=kv):
            sequence.kv = kv
            return [Yielded()]
        case WorkerLost():
            sequence.kv = 0
            return [Yielded(why="core_lost")]
        case Failed():
            raise error_of(mail)
        case AiosError():
            raise mail
        case _:
            raise CoreUnavailable("The engine's worker spoke of another sequence.", "Report this.")


@dataclass(slots=True)
class Sampled:
    """One choice, drawn token by token: how, when it stops, and how its text is read."""

    prompt: Prompt
    parser: AnswerParser
    seed: int
    max_tokens: int
    sampling: Sampling

    def start(self, sequence: Sequence, seat: Seat) -> Start:
        return Start(
            id=sequence.id,
            slot=seat.slot,
            reuse=seat.cached,
            tokens=sequence.tokens,
            generated=sequence.generated,
            ops=[to_wire(op) for op in seat.ops],
            sampling=self.sampling,
            seed=self.seed,
            max_tokens=self.max_tokens,
            stop=list(self.prompt.stop),
            logprobs=sequence.call.logprobs,
            grammar=self.prompt.grammar,
        )

    def steps(self, sequence: Sequence, mail: Mail) -> list[Step]:
        match mail:
            case Token():
                sequence.generated.append(mail.token)
                sequence.kv = len(sequence.tokens) + len(sequence.generated) - 1
                return [self._delta(sequence, mail)]
            case Done():
                sequence.kv = mail.kv_tokens
                return self._end(sequence, mail)
            case _:
                return common_steps(sequence, mail)

    def _delta(self, sequence: Sequence, token: Token) -> Delta:
        content, calls = self.parser.push(token.text)
        logprobs = (_logprob(token.logprobs),) if token.logprobs else ()
        return Delta(choice=sequence.choice, content=content, tool_calls=calls, tokens=1, logprobs=logprobs)

    def _end(self, sequence: Sequence, done: Done) -> list[Step]:
        content, calls = self.parser.push(done.text)
        rest, more, called = self.parser.finish()
        steps: list[Step] = []
        if content or rest or calls or more:
            steps.append(
                Delta(choice=sequence.choice, content=content + rest, tool_calls=calls + more, tokens=0)
            )
        reason: FinishReason = "length" if done.reason == "length" else "tool_calls" if called else "stop"
        return [*steps, ended(sequence, {sequence.choice: reason}, len(sequence.generated))]


@dataclass(slots=True)
class Searched:
    """All choices of a call, by beam search; they come whole, at its end. With `scores`, `ended` and the
    sequence's branches the search goes on exactly."""

    prompt: Prompt
    max_tokens: int
    bias: dict[int, float]
    length_penalty: float
    scores: list[float] = field(default_factory=lambda: [0.0])
    ended: list[Hypothesis] = field(default_factory=list[Hypothesis])

    def start(self, sequence: Sequence, seat: Seat) -> StartBeams:
        seats = (seat, *seat.others)
        for branch, each in zip(sequence.branches, seats, strict=False):
            branch.slot = each.slot
        return StartBeams(
            id=sequence.id,
            seats=[LaneSeat(each.slot, each.cached, [to_wire(op) for op in each.ops]) for each in seats],
            tokens=sequence.tokens,
            beams=[branch.generated for branch in sequence.branches],
            scores=self.scores,
            ended=self.ended,
            best=sequence.call.n,
            length_penalty=self.length_penalty,
            bias=self.bias,
            max_tokens=self.max_tokens,
            stop=list(self.prompt.stop),
        )

    def steps(self, sequence: Sequence, mail: Mail) -> list[Step]:
        match mail:
            case BeamStep(rows=rows, ended=ended):
                self._grow(sequence, rows)
                self.ended = ended
                return [Delta(choice=0, tokens=len(rows))]
            case BeamDone():
                sequence.kv = mail.kv_tokens
                return self._end(sequence, mail.best)
            case _:
                return common_steps(sequence, mail)

    def _grow(self, sequence: Sequence, rows: list[BeamRow]) -> None:
        before = sequence.branches
        sequence.branches = [Branch([*before[row.parent].generated, row.token], row.slot) for row in rows]
        sequence.generated = sequence.branches[0].generated
        sequence.kv = len(sequence.tokens) + len(sequence.generated) - 1
        self.scores = [row.score for row in rows]

    def _end(self, sequence: Sequence, best: list[Written]) -> list[Step]:
        steps: list[Step] = []
        reasons: dict[int, FinishReason] = {}
        for choice, written in enumerate(best):
            parser = AnswerParser(self.prompt)
            content, calls = parser.push(written.text)
            rest, more, called = parser.finish()
            steps.append(Delta(choice=choice, content=content + rest, tool_calls=calls + more, tokens=0))
            reasons[choice] = "length" if written.reason == "length" else "tool_calls" if called else "stop"
        return [*steps, ended(sequence, reasons, sum(len(written.tokens) for written in best))]


def ended(sequence: Sequence, reasons: dict[int, FinishReason], generated: int) -> Ended:
    prompt = len(sequence.tokens)
    return Ended(
        reasons=reasons,
        prompt_tokens=prompt,
        completion_tokens=generated,
        cached_tokens=max(0, prompt - sequence.prefilled),
    )


def error_of(failed: Failed) -> AiosError:
    return by_code().get(failed.code, CoreUnavailable)(failed.what, failed.mend)


def _logprob(rows: list[tuple[str, bytes, float]]) -> TokenLogprob:
    chosen, *rivals = (TokenLogprob(token=text, logprob=p, bytes=tuple(raw)) for text, raw, p in rows)
    return TokenLogprob(token=chosen.token, logprob=chosen.logprob, bytes=chosen.bytes, top=tuple(rivals))
