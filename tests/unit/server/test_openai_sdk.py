"""The official OpenAI client against the server: the strictest reader of the wire format that there is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import openai
import pytest

from aios.errors import LimitExceeded
from aios.server.serve import listening
from aios.syscalls import Delta, FunctionCall, TokenLogprob, ToolCall, ToolCallDelta

pytestmark = pytest.mark.anyio

ASK: list[Any] = [{"role": "user", "content": "hi"}]
TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture
async def sdk(stand: Any) -> AsyncGenerator[openai.AsyncOpenAI]:
    async with (
        listening(stand.kernel, port=0) as listener,
        openai.AsyncOpenAI(base_url=f"{listener.url}/v1", api_key="sk-none", max_retries=0, timeout=10) as sdk,
    ):
        yield sdk


async def test_chat(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(model="tiny", messages=ASK, max_completion_tokens=9, store=False)
    assert answer.choices[0].message.content == "Hello world"
    assert answer.usage is not None
    assert (answer.usage.total_tokens, answer.usage.prompt_tokens_details.cached_tokens) == (9, 4)


async def test_a_stream_with_usage(sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        model="tiny", messages=ASK, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert [c.choices[0].delta.content for c in chunks[:-1]] == ["Hello", " world", None]
    assert chunks[-1].usage.total_tokens == 9


async def test_tools_whole_and_streamed(stand: Any, sdk: openai.AsyncOpenAI) -> None:
    stand.kernel.tool_calls = (ToolCall(id="c1", function=FunctionCall(name="weather", arguments='{"a":1}')),)
    stand.kernel.script = [
        Delta(tool_calls=(ToolCallDelta(index=0, id="c1", name="weather"),)),
        Delta(tool_calls=(ToolCallDelta(index=0, arguments='{"a"'),)),
        Delta(tool_calls=(ToolCallDelta(index=0, arguments=":1}"),)),
    ]
    answer = await sdk.chat.completions.create(model="tiny", messages=ASK, tools=[TOOL])
    async with sdk.chat.completions.stream(model="tiny", messages=ASK, tools=[TOOL]) as stream:
        final = (await stream.get_final_completion()).choices[0]

    for choice in (answer.choices[0], final):
        (call,) = choice.message.tool_calls
        assert (call.id, call.function.name, call.function.arguments) == ("c1", "weather", '{"a":1}')
        assert choice.finish_reason == "tool_calls"


async def test_logprobs(stand: Any, sdk: openai.AsyncOpenAI) -> None:
    rival = TokenLogprob(token="Yo", logprob=-1.5, bytes=(89, 111))
    chosen = TokenLogprob(token="Hi", logprob=-0.5, bytes=(72, 105), top=(rival,))
    stand.kernel.script = [Delta(content="Hi", logprobs=(chosen,))]
    answer = await sdk.chat.completions.create(model="tiny", messages=ASK, logprobs=True, top_logprobs=1)
    (token,) = answer.choices[0].logprobs.content
    assert (token.token, token.logprob, token.top_logprobs[0].token) == ("Hi", -0.5, "Yo")
    text = await sdk.completions.create(model="tiny", prompt="a", logprobs=1)
    assert text.choices[0].logprobs.top_logprobs == [{"Yo": -1.5}]


async def test_embeddings_which_it_asks_for_as_base64(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.embeddings.create(model="tiny", input=["a", "b"])
    assert [d.embedding for d in answer.data] == [[0.0, 0.5], [1.0, 0.5]]


async def test_models(sdk: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in sdk.models.list()] == ["tiny"]
    assert (await sdk.models.retrieve("tiny")).owned_by == "main"


async def test_errors_become_its_errors(stand: Any, sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Known: tiny"):
        await sdk.models.retrieve("none")
    with pytest.raises(openai.BadRequestError) as bad:
        await sdk.chat.completions.create(model="tiny", messages=ASK, temperature="hot")  # type: ignore
    assert (bad.value.param, bad.value.code) == ("temperature", "invalid_request")
    stand.kernel.script = [LimitExceeded("No tokens left.", retry_after=3)]
    with pytest.raises(openai.RateLimitError) as limited:
        await sdk.chat.completions.create(model="tiny", messages=ASK, stream=True)
    assert limited.value.response.headers["retry-after"] == "3"
    stand.kernel.script = [Delta(content="a"), LimitExceeded("No tokens left.")]
    with pytest.raises(openai.APIError, match="No tokens left"):
        async for _ in await sdk.chat.completions.create(model="tiny", messages=ASK, stream=True):
            pass
