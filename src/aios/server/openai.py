"""`/v1`: the OpenAI API over the kernel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from aios.errors import UnknownModel
from aios.server import answers, body, sse
from aios.server.answers import ChatStream, TextStream
from aios.server.auth import Gate
from aios.server.endpoint import Endpoint
from aios.server.hints import hints_of
from aios.server.requests import ChatRequest, CompletionRequest, EmbeddingRequest, parse
from aios.syscalls import Completion, Delta, Embeddings, Generate

if TYPE_CHECKING:
    from aios.kernel.kernel import Kernel, ModelInfo


class OpenAI:
    """Handlers of `/v1`. They hold nothing between requests."""

    def __init__(self, kernel: Kernel, gate: Gate) -> None:
        self._kernel = kernel
        self._gate = gate
        self._limit = int(kernel.settings.server.max_body_mb * 1e6)
        self._created = int(time.time())

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("POST", "/v1/chat/completions", self.chat, ChatRequest, answers.ChatCompletion),
            Endpoint("POST", "/v1/completions", self.completions, CompletionRequest, answers.TextCompletion),
            Endpoint("POST", "/v1/embeddings", self.embeddings, EmbeddingRequest, answers.EmbeddingList),
            Endpoint("GET", "/v1/models", self.models, None, answers.ModelList),
            Endpoint("GET", "/v1/models/{model:path}", self.model, None, answers.Model),
        )

    async def chat(self, request: Request) -> Response:
        """Answer a conversation; with `stream`, as server-sent events of ChatChunk, one a token."""
        known = self._gate.credentials(request)
        asked, extra = parse(await body.read(request, self._limit), ChatRequest)
        caller = self._gate.caller(request, known, asked.agent_id, asked.user)
        call = asked.generate(extra, hints_of(request.headers))
        legacy = asked.legacy_functions()
        if asked.stream:
            chunks = ChatStream(self._model(call), legacy=legacy, usage=asked.wants_usage())
            return sse.EventStream(self._chat_frames(caller.pid, call, chunks))
        async with sse.Attendance(request.receive):
            done = _completion(await self._kernel.trap(caller.pid, call))
            return body.reply(answers.chat(done, legacy))
        return _nobody()

    async def completions(self, request: Request) -> Response:
        """Continue one or more texts; with `stream`, as server-sent events of TextCompletion."""
        known = self._gate.credentials(request)
        asked, extra = parse(await body.read(request, self._limit), CompletionRequest)
        caller = self._gate.caller(request, known, asked.agent_id, asked.user)
        calls = asked.generate(extra, hints_of(request.headers))
        echoes = [asked.echoed(call.prompt) for call in calls]
        if asked.stream:
            chunks = TextStream(self._model(calls[0]), usage=asked.wants_usage(), echoes=echoes)
            return sse.EventStream(self._text_frames(caller.pid, calls, chunks))
        async with sse.Attendance(request.receive):
            return body.reply(answers.text(await self._all(caller.pid, calls), echoes))
        return _nobody()

    async def embeddings(self, request: Request) -> Response:
        """Embed texts."""
        known = self._gate.credentials(request)
        asked, _ = parse(await body.read(request, self._limit), EmbeddingRequest)
        caller = self._gate.caller(request, known, asked.agent_id, asked.user)
        async with sse.Attendance(request.receive):
            result = await self._kernel.trap(caller.pid, asked.embed())
            assert isinstance(result, Embeddings)
            return body.reply(answers.embeddings(result, asked.encoding_format == "base64"))
        return _nobody()

    async def models(self, request: Request) -> Response:
        """List the models that the cores serve."""
        self._gate.credentials(request)
        return body.reply(answers.ModelList(data=[self._describe(m) for m in self._kernel.models()]))

    async def model(self, request: Request) -> Response:
        """Describe one model."""
        self._gate.credentials(request)
        name: str = request.path_params["model"]
        models = self._kernel.models()
        for model in models:
            if model.id == name:
                return body.reply(self._describe(model))
        known = ", ".join(model.id for model in models)
        raise UnknownModel(f"No core serves a model {name!r}.", f"Known: {known}.", param="model")

    async def _chat_frames(self, pid: int, call: Generate, chunks: ChatStream) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._kernel.stream(pid, call)) as steps:
            async for step in steps:
                if isinstance(step, Delta):
                    yield sse.data(chunks.delta(step))
                else:
                    for chunk in chunks.end(step):
                        yield sse.data(chunk)
        yield sse.DONE

    async def _text_frames(
        self, pid: int, calls: Sequence[Generate], chunks: TextStream
    ) -> AsyncGenerator[bytes, None]:
        for call in calls:
            async with aclosing(self._kernel.stream(pid, call)) as steps:
                async for step in steps:
                    if isinstance(step, Delta):
                        yield sse.data(chunks.delta(step))
                    else:
                        for chunk in chunks.end(step):
                            yield sse.data(chunk)
        yield sse.DONE

    async def _all(self, pid: int, calls: Sequence[Generate]) -> list[Completion]:
        """Run all at once, in order; the first error of any cancels the rest."""
        if len(calls) == 1:
            return [_completion(await self._kernel.trap(pid, calls[0]))]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._kernel.trap(pid, call)) for call in calls]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [_completion(task.result()) for task in tasks]

    def _model(self, call: Generate) -> str:
        """The name that chunks carry before the kernel has said it."""
        if call.model:
            return call.model
        models = self._kernel.models()
        return models[0].id if models else ""

    def _describe(self, model: ModelInfo) -> answers.Model:
        return answers.Model(
            id=model.id,
            created=self._created,
            owned_by=model.core,
            kind=model.kind,
            max_model_len=model.window,
            embeddings=model.embeddings,
        )


def _completion(result: object) -> Completion:
    assert isinstance(result, Completion)
    return result


def _nobody() -> Response:
    """The answer to a client that is gone."""
    return Response(status_code=499)
