"""A core behind any OpenAI-compatible endpoint: vLLM, SGLang, Ollama, llama-server, or a cloud.

It asks for a stream, so that every token is a step, unless the caller wants the answer in one piece: each event
of a stream costs both sides more than its token is worth. An endpoint that ignores the wish is understood.
The window bounds what is in flight, the rest waits in the scheduler, where it can be ordered. What goes wrong
before the first token is tried again; after it, tokens are out that can't be taken back, and the call fails,
unless the endpoint can go on after them.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from aios.config import CoreSettings
from aios.cores.breaker import Breaker
from aios.cores.core import Capabilities, Ended, Seat, Sequence, Step, Yielded
from aios.cores.endpoint import CutStream, Endpoint, Unreachable
from aios.cores.ram import Ram
from aios.cores.refusal import Overloaded
from aios.cores.reply import EmbeddingReply, ModelList, Reader, Reply
from aios.cores.request import NEWER_LIMIT, body_of, continuable, embedding_body, path_of, starts_anew
from aios.cores.retry import Backoff
from aios.cores.talk import Talk
from aios.cores.window import Window
from aios.errors import (
    AiosError,
    CoreProtocolError,
    CoreRateLimited,
    CoreRefused,
    CoreTimeout,
    CoreUnavailable,
)
from aios.events import CoreChanged, EventBus
from aios.syscalls import Embed, Embeddings, Generate, Usage

PROBE_S = 10.0
"""How long the endpoint may take to list its models."""


class OpenAICore:
    """`[[cores]] kind = "openai"`. `backoff` paces tries, `probes` the search for an endpoint that is gone. Of
    `ram` it takes none.

    Interrupts are by text (`Talk`), where the endpoint can go on with one. A `Generate` is one sequence,
    whatever its `n`."""

    def __init__(
        self,
        settings: CoreSettings,
        bus: EventBus,
        ram: Ram | None = None,
        *,
        env: Mapping[str, str] | None = None,
        backoff: Backoff | None = None,
        probes: Backoff | None = None,
    ) -> None:
        self.name = settings.name
        self.epoch = 0
        self._settings, self._bus = settings, bus
        self._endpoint = Endpoint(
            settings.name, settings.base_url, settings.api_key_env, settings.timeout_s,
            os.environ if env is None else env,
        )  # fmt: skip
        self._backoff = backoff or Backoff()
        self._breaker = Breaker(settings.name, bus, backoff=probes or Backoff(first_s=1.0, most_s=60.0))
        self._window = Window(settings.window)
        self._models = settings.models
        self._newer: set[str] = set()
        self._ids = itertools.count(1)
        self._watcher: asyncio.Task[None] | None = None
        self._closing = False

    # -- what it is --------------------------------------------------------------------------------

    @property
    def models(self) -> tuple[str, ...]:
        """The core's own name stands for its models as long as they are unknown."""
        return self._models or (self.name,)

    @property
    def capacity(self) -> int:
        return self._window.capacity

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(embeddings=True, interruptible=self._settings.continues)

    # -- life --------------------------------------------------------------------------------------

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """An endpoint that is down does not keep the kernel from starting: it is looked for from then on."""
        await self._endpoint.open()
        if reason := await self._probe():
            self._breaker.trip("lost", reason)
        else:
            self._bus.publish(CoreChanged(core=self.name, state="ready"))
        self._watcher = tasks.create_task(self._breaker.watch(self._probe), name=f"core {self.name}")

    async def close(self) -> None:
        self._closing = True
        if self._watcher:
            self._watcher.cancel()
        await self._endpoint.close()
        self._bus.publish(CoreChanged(core=self.name, state="closed"))

    async def _probe(self) -> str:
        """Why no call can be served; "" if the endpoint answers, whatever it says."""
        try:
            async with asyncio.timeout(PROBE_S):
                await self._learn()
        except TimeoutError:
            return f"it did not answer within {PROBE_S:g} s"
        except (CoreUnavailable, CoreTimeout) as error:
            return error.what.rstrip(".")
        except AiosError:
            return ""  # it is there; a call will be told what is wrong
        return ""

    async def _learn(self) -> None:
        """Ask for the models, unless the settings name them: then only see that something answers."""
        async with self._endpoint.request("GET", "models") as response:
            if not self._settings.models:
                listed = await self._endpoint.read(response, ModelList)
                self._models = tuple([model.id for model in listed.data])

    # -- calls -------------------------------------------------------------------------------------

    async def prepare(self, call: Generate, pid: int, group: str) -> list[Sequence]:
        body = body_of(call, await self._model(call.model))
        if body["model"] in self._newer and "max_tokens" in body:
            body[NEWER_LIMIT] = body.pop("max_tokens")
        cuts, piece = self._settings.continues and continuable(call), self._settings.piece_tokens
        talk = Talk(body, call.stop, cuts=cuts, piece=piece)
        return [Sequence(id=next(self._ids), call=call, pid=pid, group=group, state=talk)]

    async def run(self, sequence: Sequence, seat: Seat) -> AsyncGenerator[Step, None]:
        over, tries = False, 0
        talk: Talk = sequence.state
        talk.leave = False
        with self._window.inside():
            while not over:
                tries, pause = tries + 1, 0.0
                try:
                    async with (
                        self._window.place() as sent,
                        aclosing(self._steps(sequence.call, talk, sent)) as steps,
                    ):
                        async for step in steps:
                            over = isinstance(step, Ended | Yielded)
                            yield step
                    tries = 0
                except AiosError as error:
                    if talk.grown and (talk.full or not (talk.cuts and isinstance(error, CutStream))):
                        raise
                    pause = self._pause(error, tries, talk.body)
                await asyncio.sleep(pause)

    def interrupt(self, sequence: Sequence) -> None:
        """By text: the stream is closed, or the next piece not asked for, and what was said is kept. A call
        that can't be gone on with as if nothing had been runs to its end."""
        talk: Talk = sequence.state
        talk.leave = talk.cuts and (talk.piece > 0 or not starts_anew(sequence.call))

    async def embed(self, call: Embed) -> Embeddings:
        body = embedding_body(call, await self._model(call.model))
        reply = await self._embedded(body)
        if len(reply.data) != len(call.inputs):
            what = (
                f"The endpoint of core {self.name} made {len(reply.data)} vectors of {len(call.inputs)} texts."
            )
            raise CoreProtocolError(what, "Name a model that makes embeddings.")
        rows = sorted(reply.data, key=lambda row: row.index)
        return Embeddings(
            model=body["model"],
            vectors=tuple([_unit(row.embedding) for row in rows]),
            usage=Usage(prompt_tokens=reply.usage.prompt_tokens if reply.usage else 0),
        )

    async def _model(self, asked: str) -> str:
        """The name the endpoint knows the model by. Raises what keeps the models unknown."""
        if not self._models:
            self._breaker.check()
            await self._learn()
            if not self._models:
                raise CoreRefused(f"The endpoint of core {self.name} has no model.", "Load one there.")
        return asked if asked in self._models else self._models[0]

    async def _steps(self, call: Generate, talk: Talk, sent: float) -> AsyncGenerator[Step, None]:
        """One request, sent then (monotonic). Without a last step if the call goes on with another one. Raises
        AiosError."""
        reader = Reader(call.n)
        async with (
            self._post(path_of(call), talk.request(), sent) as response,
            aclosing(self._replies(response)) as replies,
        ):
            async for reply, whole in replies:
                for delta in reader.read(reply, whole=whole):
                    if talk.unfit(delta):
                        return
                    for shown in talk.heard(delta):
                        yield shown
                left = talk.leave and not talk.piece and talk.grown
                if left and not (reader.complete or talk.full):
                    yield Yielded()
                    return
        if not reader.complete:
            raise CutStream(f"The endpoint of core {self.name} ended in mid-answer.", "Send the call again.")
        ended = talk.ended(reader.end(), reader.counted)
        if ended:
            for shown in talk.rest():
                yield shown
            yield ended
        elif talk.leave:
            yield Yielded()

    async def _replies(self, response: aiohttp.ClientResponse) -> AsyncGenerator[tuple[Reply, bool], None]:
        """What the endpoint says, and whether it says it all at once."""
        if response.content_type == "application/json":
            yield await self._endpoint.read(response, Reply), True
            return
        async with aclosing(self._endpoint.events(response)) as replies:
            async for reply in replies:
                yield reply, False

    async def _embedded(self, body: dict[str, Any]) -> EmbeddingReply:
        tries = 0
        while True:
            tries += 1
            try:
                async with self._window.place() as sent, self._post("embeddings", body, sent) as response:
                    return await self._endpoint.read(response, EmbeddingReply)
            except AiosError as error:
                pause = self._pause(error, tries, body)
            await asyncio.sleep(pause)

    # -- what goes wrong ---------------------------------------------------------------------------

    @asynccontextmanager
    async def _post(
        self, path: str, body: dict[str, Any], sent: float
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The response to a request; window and breaker learn from how it went."""
        self._breaker.check()
        try:
            async with self._endpoint.request("POST", path, msgspec.json.encode(body)) as response:
                self._breaker.worked()
                self._window.succeeded()
                yield response
        except Unreachable as error:
            self._breaker.failed(error.what.rstrip("."))
            raise
        except (CoreRateLimited, Overloaded):
            self._breaker.worked()
            self._window.refused(sent)
            raise

    def _pause(self, error: AiosError, tries: int, body: dict[str, Any]) -> float:
        """Seconds until the next try after the `tries`-th failed. Raises if there is to be none."""
        if self._renamed_limit(error, body):
            return 0.0
        asked = error.retry_after
        pause = self._backoff.delay(tries, asked)
        again = isinstance(error, CoreUnavailable | CoreRateLimited | CutStream)
        if isinstance(error, CoreRateLimited):
            error.retry_after = pause
        if (
            self._closing
            or not again
            or tries > self._settings.retries
            or not self._breaker.closed
            or pause > self._backoff.patience_s
        ):
            if isinstance(error, CutStream):
                raise CoreUnavailable(error.what, error.mend) from error
            raise error
        if asked is not None or isinstance(error, CoreRateLimited):
            self._window.close_for(pause)
        return pause

    def _renamed_limit(self, error: AiosError, body: dict[str, Any]) -> bool:
        """Newer models of one cloud take `max_tokens` only by its other name, and say so."""
        renamed = error.param == "max_tokens" and NEWER_LIMIT in error.what and "max_tokens" in body
        if renamed:
            self._newer.add(body["model"])
            body[NEWER_LIMIT] = body.pop("max_tokens")
        return renamed


def _unit(vector: list[float]) -> tuple[float, ...]:
    """`vector` at length 1."""
    length = math.hypot(*vector)
    if length == 0.0 or abs(length - 1.0) < 1e-6:
        return tuple(vector)
    return tuple([x / length for x in vector])
