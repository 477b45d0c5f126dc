"""The embedded core: llama.cpp in a worker process, seen from the kernel.

The kernel side renders and parses chat, owns the parking memory, and restarts the worker when it dies: the
sequences that ran there yield with `core_lost` and go on from their tokens. Everything native is in the worker.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import secrets
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import msgspec

from aios.config import CoreSettings
from aios.cores.core import Branch, Capabilities, ContextSpec, Seat, Sequence, Step
from aios.cores.llama import grammar
from aios.cores.llama.arena import Arena
from aios.cores.llama.chat import ChatFormat, Prompt
from aios.cores.llama.keeper import LlamaKeeper, fingerprint
from aios.cores.llama.link import WorkerLost
from aios.cores.llama.messages import (
    BeamDone,
    BeamStep,
    Damaged,
    Done,
    EmbedTexts,
    Failed,
    FromWorker,
    Left,
    Moved,
    Options,
    Ready,
    Seated,
    Stop,
    Token,
    TokenIds,
    Tokenize,
    Tokens,
    ToWorker,
    Vectors,
)
from aios.cores.llama.parking import ParkingMemory
from aios.cores.llama.progress import Mail, Progress, Sampled, Searched, error_of
from aios.cores.llama.supervisor import Supervisor
from aios.cores.llama.toolcalls import AnswerParser
from aios.cores.ram import Promise, Ram
from aios.errors import AiosError, BadRequest, ConfigError, ContextOverflow, CoreUnavailable
from aios.events import EventBus
from aios.models.store import ModelStore
from aios.syscalls import Embed, Embeddings, Generate, Usage

log = logging.getLogger(__name__)

PARKING_MB = 1024.0
"""Parking memory where the settings say nothing."""
Reply = TokenIds | Vectors | Moved


class LlamaCore:
    """One GGUF model on this machine. `[[cores]] kind = "llama"`. `ram`: shared with the other cores."""

    def __init__(
        self,
        settings: CoreSettings,
        bus: EventBus,
        ram: Ram | None = None,
        *,
        store: ModelStore | None = None,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._path = (store or ModelStore()).resolve(settings.model)
        self._ram = ram or Ram()
        self._free: int | None = None
        """Bytes there were for model, slots and parking memory when it started."""
        asked = settings.kv_ram_mb
        self._parking = ParkingMemory(int((PARKING_MB if asked is None else asked) * 2**20))
        self._arena = Arena(self._parking.fd, self._parking.size)
        self._keeper: LlamaKeeper | None = None
        self._format: ChatFormat | None = None
        # A sequence may go on in another core: its number must be nobody else's there.
        self._ids = itertools.count(secrets.randbits(60))
        self._mailboxes: dict[int, asyncio.Queue[Mail]] = {}
        self._requests: dict[int, asyncio.Future[Reply]] = {}
        self._worker = Supervisor(
            settings.name,
            self._options,
            bus,
            max_restarts=settings.max_restarts,
            deliver=self._deliver,
            lost=self._tell_all,
        )

    # -- what it is --------------------------------------------------------------------------------

    @property
    def models(self) -> tuple[str, ...]:
        return (self._settings.model if not self._settings.model.endswith(".gguf") else self._path.stem,)

    @property
    def epoch(self) -> int:
        return self._worker.epoch

    @property
    def capacity(self) -> int:
        return self._settings.slots

    @property
    def capabilities(self) -> Capabilities:
        ready = self._worker.ready
        settings = self._settings
        return Capabilities(
            window=ready.context,
            interruptible=True,
            embeddings=True,
            contexts=ContextSpec(
                bytes_base=ready.extent_base,
                bytes_per_token=ready.extent_per_token,
                ram_bytes=self._parking.size,
                align=settings.prefill_chunk if settings.deterministic else 1,
                truncatable=ready.info.truncatable,
                prefill_s=ready.prefill_s,
                keeper=self._keeper,
            ),
        )

    @property
    def end_tokens(self) -> list[int]:
        """Ids of the tokens with which the model ends a text."""
        return self._worker.ready.info.end_tokens

    @property
    def worker_pid(self) -> int:
        return self._worker.pid

    @property
    def promised(self) -> int:
        """Bytes of RAM that it may take: weights, KV of the slots, work space, parking memory."""
        return self._worker.ready.taken + self._parking.size

    # -- life --------------------------------------------------------------------------------------

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        self._free = free = await asyncio.to_thread(self._ram.free, str(self._path))
        await self._worker.start(tasks)
        try:
            self._fit(free)
        except ConfigError:
            await self._worker.close()
            raise
        weights = self._worker.ready.info.size_bytes if self._worker.ready.taken else 0
        self._ram.promise(self.name, Promise(self.promised - weights, str(self._path), weights))
        mark = await asyncio.to_thread(fingerprint, self._path, self._settings)
        self._keeper = LlamaKeeper(mark, self._arena, self._ask)
        info = self._worker.ready.info
        self._format = ChatFormat(
            info.chat_template, bos=info.bos, eos=info.eos, model_name=self.models[0], control=info.control
        )
        if self._format.note:
            log.warning("%s", self._format.note)

    def _fit(self, free: int | None) -> None:
        """Hold the parking memory against what was `free` before the worker took its part. Raises
        ConfigError."""
        if free is None:
            return
        room, before = max(0, free - self._worker.ready.taken), self._parking.size
        self._parking.fit(room, asked=self._settings.kv_ram_mb is not None)
        if self._parking.size < before:
            log.warning(
                "core %s: %.0f MB are free beside the model and its slots: %.0f MB of RAM for parked contexts "
                "instead of %.0f", self.name, room / 2**20, self._parking.size / 2**20, before / 2**20,
            )  # fmt: skip

    async def close(self) -> None:
        await self._worker.close()
        self._ram.release(self.name)
        self._arena.close()
        self._parking.close()

    def _options(self) -> Options:
        settings = self._settings
        return Options(
            model=str(self._path),
            slots=settings.slots,
            context=settings.context,
            threads=settings.threads or len(os.sched_getaffinity(0)),
            gpu_layers=settings.gpu_layers,
            exact=settings.exact,
            deterministic=settings.deterministic,
            prefill_chunk=settings.prefill_chunk,
            arena_fd=self._parking.fd,
            arena_bytes=self._parking.size,
            free=self._free,
        )

    # -- what the worker says ----------------------------------------------------------------------

    def _tell_all(self, error: AiosError) -> None:
        for mailbox in self._mailboxes.values():
            mailbox.put_nowait(error)
        for future in self._requests.values():
            if not future.done():
                future.set_exception(error)

    def _deliver(self, message: FromWorker) -> None:
        match message:
            case Tokens(tokens=tokens):
                for token in tokens:
                    if mailbox := self._mailboxes.get(token.id):
                        mailbox.put_nowait(token)
            case Seated() | BeamStep() | BeamDone() | Done() | Left():
                if self._keeper and isinstance(message, Seated):
                    self._keeper.took(message.id, message.reads)
                if mailbox := self._mailboxes.get(message.id):
                    mailbox.put_nowait(message)
            case Failed():
                if mailbox := self._mailboxes.get(message.id):
                    mailbox.put_nowait(message)
                elif (future := self._requests.get(message.id)) and not future.done():
                    future.set_exception(error_of(message))
            case Damaged(path=path, why=why):
                log.warning("core %s can't use the swap file %s: %s", self.name, path, why)
                if self._keeper:
                    self._keeper.report(Path(path), why)
            case TokenIds() | Vectors() | Moved():
                if (future := self._requests.get(message.request)) and not future.done():
                    future.set_result(message)
            case Ready():
                pass

    # -- calls -------------------------------------------------------------------------------------

    async def prepare(self, call: Generate, pid: int, group: str) -> list[Sequence]:
        if self._format is None:
            raise CoreUnavailable(f"Core {self.name} is not started.", "Await `start()` first.")
        prompt = self._format.render(call)
        if prompt.grammar:
            await asyncio.to_thread(grammar.validate, prompt.grammar)
        tokens = await self._tokens(prompt, call)
        room = self._worker.ready.context - len(tokens)
        if room < 1:
            raise ContextOverflow(
                f"The prompt has {len(tokens)} tokens; the window of {self.models[0]} is "
                f"{self._worker.ready.context}.",
                "Shorten the conversation, or raise `context` of the core.",
                param="messages",
                tokens=len(tokens),
            )
        most, bias = min(call.max_tokens or room, room), self._bias(call)
        if call.sampling.num_beams > 1:
            return [self._searched(call, pid, group, tokens, prompt, most, bias)]
        seed = secrets.randbits(63) if call.sampling.seed is None else call.sampling.seed
        sampling = msgspec.structs.replace(call.sampling, logit_bias=bias)
        return [
            Sequence(
                id=next(self._ids), call=call, pid=pid, group=group, choice=choice, tokens=tokens,
                state=Sampled(prompt, AnswerParser(prompt), (seed + choice) % 2**63, most, sampling),
            )
            for choice in range(call.n)
        ]  # fmt: skip

    def _searched(
        self, call: Generate, pid: int, group: str, tokens: list[int], prompt: Prompt, most: int,
        bias: dict[int, float],
    ) -> Sequence:  # fmt: skip
        beams, slots = call.sampling.num_beams, self._settings.slots
        if beams > slots:
            mend = f"Ask for at most {slots}, or raise `slots` of the core."
            raise BadRequest(
                f"{beams} beams need {beams} slots; the core has {slots}.", mend, param="num_beams"
            )
        if call.n > beams:
            raise BadRequest("`n` is more than `num_beams`.", "Search with more beams.", param="n")
        if prompt.grammar or call.logprobs is not None:
            mend = "Leave out num_beams, or the tools, the format or the logprobs."
            raise BadRequest("Beam search takes no grammar and no logprobs.", mend, param="num_beams")
        return Sequence(
            id=next(self._ids), call=call, pid=pid, group=group, tokens=tokens, width=beams,
            branches=[Branch()], state=Searched(prompt, most, bias, call.sampling.length_penalty),
        )  # fmt: skip

    async def run(self, sequence: Sequence, seat: Seat) -> AsyncGenerator[Step, None]:
        progress: Progress = sequence.state
        await self._worker.wait()
        mailbox: asyncio.Queue[Mail] = asyncio.Queue()
        self._mailboxes[sequence.id] = mailbox
        over = False
        try:
            self._worker.send(progress.start(sequence, seat))
            while not over:
                mail = await mailbox.get()
                over = not isinstance(mail, Seated | Token | BeamStep)
                for step in progress.steps(sequence, mail):
                    yield step
        finally:
            del self._mailboxes[sequence.id]
            if not over:
                self._worker.send(Stop(id=sequence.id))

    def interrupt(self, sequence: Sequence) -> None:
        self._worker.send(Stop(id=sequence.id))

    async def embed(self, call: Embed) -> Embeddings:
        if call.dimensions is not None:
            raise BadRequest("This model's embeddings have one size only.", "Leave `dimensions` out.")
        inputs = [item if isinstance(item, str) else list(item) for item in call.inputs]
        answer = await self._ask(lambda request: EmbedTexts(request=request, inputs=inputs))
        if not isinstance(answer, Vectors):
            raise CoreUnavailable("The engine's worker answered another question.", "Report this.")
        vectors = tuple(tuple(vector) for vector in answer.vectors)
        return Embeddings(model=self.models[0], vectors=vectors, usage=Usage(prompt_tokens=answer.tokens))

    def _bias(self, call: Generate) -> dict[int, float]:
        """With `ignore_eos` (an extension that other engines have too) the model can't end its answer."""
        never = dict.fromkeys(self.end_tokens, float("-inf")) if call.extra.get("ignore_eos") else {}
        return {**call.sampling.logit_bias, **never}

    # -- the worker --------------------------------------------------------------------------------

    async def _tokens(self, prompt: Prompt, call: Generate) -> list[int]:
        if isinstance(call.prompt, tuple):
            vocabulary = self._worker.ready.info.n_vocab
            if any(not 0 <= token < vocabulary for token in call.prompt):
                mend = f"Use ids in 0…{vocabulary - 1}."
                raise BadRequest("`prompt` holds an id that is no token.", mend, param="prompt")
            return list(call.prompt)
        info = self._worker.ready.info
        bos = info.add_bos and not (info.bos and prompt.text.startswith(info.bos))
        parts = list(prompt.parts)
        answer = await self._ask(lambda i: Tokenize(request=i, parts=parts, special=True, bos=bos))
        return answer.ids if isinstance(answer, TokenIds) else []

    async def _ask(self, question: Callable[[int], ToWorker]) -> Reply:
        while True:
            await self._worker.wait()
            request = next(self._ids)
            self._requests[request] = asyncio.get_running_loop().create_future()
            try:
                self._worker.send(question(request))
                return await self._requests[request]
            except WorkerLost:
                continue  # asked the old worker: ask the new one
            except asyncio.CancelledError:
                self._worker.send(Stop(id=request))  # nobody wants the answer
                raise
            finally:
                del self._requests[request]
