"""`/v1` over HTTP: what a client of the OpenAI API sees."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from aios.errors import ContextOverflow, CoreUnavailable, LimitExceeded
from aios.syscalls import Delta, FunctionCall, Generate, TokenLogprob, ToolCall, ToolCallDelta

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
CALL = ToolCall(id="c1", function=FunctionCall(name="weather", arguments='{"city":"Rome"}'))
PIECES = [
    Delta(tool_calls=(ToolCallDelta(index=0, id="c1", name="weather"),)),
    Delta(tool_calls=(ToolCallDelta(index=0, arguments='{"city":'),)),
    Delta(tool_calls=(ToolCallDelta(index=0, arguments='"Rome"}'),)),
]
LOGPROB = TokenLogprob(
    token="Hi", logprob=-0.5, bytes=(72, 105), top=(TokenLogprob(token="Yo", logprob=-1.5, bytes=(89, 111)),)
)


def events(text: str) -> list[Any]:
    """The JSON of each `data:`, and whether the stream ended as it must."""
    *data, done = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]
    assert done == "[DONE]"
    return [json.loads(line) for line in data]


async def test_a_chat_completion(stand: Any) -> None:
    async with stand.client() as client:
        answer = (await client.post(CHAT, json=ASK)).json()

    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "tiny"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello world"},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    assert answer["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 4},
    }


async def test_a_stream_has_one_chunk_a_token(stand: Any) -> None:
    async with stand.client() as client:
        response = await client.post(CHAT, json={**ASK, "stream": True})

    assert response.headers["content-type"].startswith("text/event-stream")
    chunks = events(response.text)
    assert [c["choices"][0]["delta"] for c in chunks] == [
        {"role": "assistant", "content": "Hello"},
        {"content": " world"},
        {},
    ]
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None, None, "stop"]
    assert len({(c["id"], c["object"], c["created"], c["model"]) for c in chunks}) == 1
    assert not any("usage" in c for c in chunks)


async def test_the_usage_chunk_comes_when_asked_for(stand: Any) -> None:
    async with stand.client() as client:
        asked = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
        chunks = events((await client.post(CHAT, json=asked)).text)
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 9


async def test_several_choices(stand: Any) -> None:
    stand.kernel.script = [Delta(content="a"), Delta(choice=1, content="b"), Delta(content="c")]
    async with stand.client() as client:
        whole = (await client.post(CHAT, json={**ASK, "n": 2})).json()
        chunks = events((await client.post(CHAT, json={**ASK, "n": 2, "stream": True})).text)

    assert [(c["index"], c["message"]["content"]) for c in whole["choices"]] == [(0, "ac"), (1, "b")]
    choices = [c["choices"][0] for c in chunks]
    assert [c["index"] for c in choices] == [0, 1, 0, 0, 1]
    assert ["role" in c["delta"] for c in choices] == [True, True, False, False, False]
    assert [c["finish_reason"] for c in choices[-2:]] == ["stop", "stop"]


async def test_tool_calls(stand: Any) -> None:
    stand.kernel.script, stand.kernel.tool_calls = PIECES, (CALL,)
    async with stand.client() as client:
        (choice,) = (await client.post(CHAT, json=ASK)).json()["choices"]
        chunks = events((await client.post(CHAT, json={**ASK, "stream": True})).text)

    function = {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [{"id": "c1", "type": "function", "function": function}]
    assert choice["finish_reason"] == "tool_calls"
    deltas = [c["choices"][0]["delta"] for c in chunks]
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    assert deltas[0] == {"role": "assistant", "tool_calls": [first]}
    assert "".join(d["tool_calls"][0]["function"]["arguments"] for d in deltas[:3]) == '{"city":"Rome"}'
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_who_asks_with_functions_is_answered_with_a_function_call(stand: Any) -> None:
    stand.kernel.script, stand.kernel.tool_calls = PIECES, (CALL,)
    asked = {**ASK, "functions": [{"name": "weather"}]}
    async with stand.client() as client:
        (choice,) = (await client.post(CHAT, json=asked)).json()["choices"]
        chunks = events((await client.post(CHAT, json={**asked, "stream": True})).text)

    assert choice["message"]["function_call"] == {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert choice["finish_reason"] == "function_call"
    assert chunks[0]["choices"][0]["delta"]["function_call"] == {"name": "weather", "arguments": ""}
    assert chunks[-1]["choices"][0]["finish_reason"] == "function_call"


async def test_logprobs(stand: Any) -> None:
    stand.kernel.script = [Delta(content="Hi", logprobs=(LOGPROB,)), Delta(content="Hi", logprobs=(LOGPROB,))]
    async with stand.client() as client:
        (chosen,) = (await client.post(CHAT, json={**ASK, "logprobs": True})).json()["choices"]
        chunks = events((await client.post(CHAT, json={**ASK, "logprobs": True, "stream": True})).text)
        text = (await client.post("/v1/completions", json={"prompt": "a", "logprobs": 1})).json()
        asked = {"prompt": "a", "logprobs": 1, "stream": True}
        pieces = events((await client.post("/v1/completions", json=asked)).text)

    rival = {"token": "Yo", "logprob": -1.5, "bytes": [89, 111]}
    token = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": [rival]}
    assert chosen["logprobs"] == {"content": [token, token]}
    assert chunks[0]["choices"][0]["logprobs"] == {"content": [token]}
    assert text["choices"][0]["logprobs"] == {
        "tokens": ["Hi", "Hi"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"Yo": -1.5}, {"Yo": -1.5}],
        "text_offset": [0, 2],
    }
    assert [p["choices"][0]["logprobs"]["text_offset"] for p in pieces[:2]] == [[0], [2]]


async def test_a_stored_answer_is_streamed_whole(stand: Any) -> None:
    """A repeated idempotency key: the kernel has a Completion and no Deltas."""
    stand.kernel.script = []
    stored = stand.kernel.stream

    async def stream(pid: int, call: Generate) -> Any:
        stand.kernel.script = PIECES
        stand.kernel.tool_calls = (CALL,)
        async for step in stored(pid, call):
            if not isinstance(step, Delta):
                yield step

    stand.kernel.stream = stream
    async with stand.client() as client:
        chunks = events((await client.post(CHAT, json={**ASK, "stream": True})).text)
    (call,) = chunks[0]["choices"][0]["delta"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert (call["index"], chunks[0]["choices"][0]["delta"]["role"]) == (0, "assistant")


async def test_text_completions(stand: Any) -> None:
    async with stand.client() as client:
        one = (await client.post("/v1/completions", json={"prompt": "a"})).json()
        two = (await client.post("/v1/completions", json={"prompt": ["a", "b"]})).json()
        asked = {"prompt": ["a", "b"], "stream": True, "stream_options": {"include_usage": True}}
        chunks = events((await client.post("/v1/completions", json=asked)).text)

    assert one["object"] == "text_completion"
    assert one["choices"] == [{"index": 0, "text": "Hello world", "finish_reason": "stop", "logprobs": None}]
    assert [c["index"] for c in two["choices"]] == [0, 1]
    assert two["usage"]["total_tokens"] == 18
    choices = [c["choices"][0] for c in chunks[:-1]]
    assert [(c["index"], c["text"]) for c in choices] == [
        (0, "Hello"), (0, " world"), (0, ""), (1, "Hello"), (1, " world"), (1, ""),
    ]  # fmt: skip
    assert chunks[-1]["usage"]["total_tokens"] == 18


async def test_echo(stand: Any) -> None:
    asked = {"prompt": ["a: ", "b: "], "echo": True}
    async with stand.client() as client:
        whole = (await client.post("/v1/completions", json=asked)).json()
        chunks = events((await client.post("/v1/completions", json={**asked, "stream": True})).text)
    assert [c["text"] for c in whole["choices"]] == ["a: Hello world", "b: Hello world"]
    texts = [c["choices"][0]["text"] for c in chunks]
    assert texts == ["a: Hello", " world", "", "b: Hello", " world", ""]


async def test_one_bad_prompt_fails_the_request(stand: Any) -> None:
    stand.kernel.script = [ContextOverflow("Too long.", "Send less.")]
    async with stand.client() as client:
        response = await client.post("/v1/completions", json={"prompt": ["a", "b"]})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


async def test_embeddings_as_numbers_and_as_base64(stand: Any) -> None:
    async with stand.client() as client:
        asked = {"model": "tiny", "input": ["a", "b"]}
        plain = (await client.post("/v1/embeddings", json=asked)).json()
        packed = (await client.post("/v1/embeddings", json={**asked, "encoding_format": "base64"})).json()

    assert [(d["index"], d["embedding"]) for d in plain["data"]] == [(0, [0.0, 0.5]), (1, [1.0, 0.5])]
    assert [struct.unpack("<2f", base64.b64decode(d["embedding"])) for d in packed["data"]] == [
        (0.0, 0.5),
        (1.0, 0.5),
    ]
    assert plain["usage"]["prompt_tokens"] == 3


async def test_models(stand: Any) -> None:
    async with stand.client() as client:
        listed = (await client.get("/v1/models")).json()
        one = (await client.get("/v1/models/tiny")).json()
        missing = await client.get("/v1/models/org/none")
    assert listed["data"] == [one]
    assert (one["id"], one["object"], one["owned_by"], one["max_model_len"]) == ("tiny", "model", "main", 4096)
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"


async def test_headers_can_say_what_the_body_can(stand: Any) -> None:
    told = {"x_priority": "-2", "x_scheduling_class": "batch", "x_window": "summarize", "x_policy": "edf"}
    async with stand.client(idempotency_key="k", x_deadline="2.5", **told) as client:
        await client.post(CHAT, json={**ASK, "priority": 7})
    (_, call) = stand.kernel.made[-1]
    assert (call.idempotency_key, call.deadline_s) == ("k", 2.5)
    assert (call.priority, call.scheduling_class, call.window) == (-2, "batch", "summarize")
    assert call.policy == "edf"


async def test_a_header_that_says_0_or_no_is_stronger_than_the_body_too(stand: Any) -> None:
    async with stand.client(x_priority="0", x_blocks="false") as client:
        await client.post(CHAT, json={**ASK, "priority": 7, "blocks": True})
    (_, call) = stand.kernel.made[-1]
    assert (call.priority, call.blocks) == (0, False)


@pytest.mark.parametrize("name", ["X-Priority", "X-Scheduling-Class", "X-Window"])
async def test_a_header_of_a_wrong_value_is_named(stand: Any, name: str) -> None:
    async with stand.client(**{name.lower().replace("-", "_"): "urgent"}) as client:
        response = await client.post(CHAT, json=ASK)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == name


@pytest.mark.parametrize("deadline", ["soon", "0", "-1", "nan", "inf"])
async def test_a_deadline_that_is_none(stand: Any, deadline: str) -> None:
    async with stand.client(x_deadline=deadline) as client:
        response = await client.post(CHAT, json=ASK)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "X-Deadline"


@pytest.mark.parametrize("stream", [True, False])
async def test_an_error_before_the_first_token_has_its_own_status(stand: Any, stream: bool) -> None:
    stand.kernel.script = [LimitExceeded("No tokens left.", "Wait.", retry_after=1.2, param="max_tokens")]
    async with stand.client() as client:
        response = await client.post(CHAT, json={**ASK, "stream": stream})
    assert response.status_code == 429
    assert response.headers["retry-after"] == "2"
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "error": {
            "message": "No tokens left. Wait.",
            "type": "rate_limit_error",
            "param": "max_tokens",
            "code": "limit_exceeded",
        }
    }


async def test_an_error_after_it_ends_the_stream_with_the_error(stand: Any) -> None:
    stand.kernel.script = [Delta(content="Hel"), CoreUnavailable("The core is gone.")]
    async with stand.client() as client:
        response = await client.post(CHAT, json={**ASK, "stream": True})
    assert response.status_code == 200
    first, last = [json.loads(e.removeprefix("data: ")) for e in response.text.split("\n\n") if e]
    assert first["choices"][0]["delta"]["content"] == "Hel"
    assert last["error"]["code"] == "core_unavailable"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
    ],
)
async def test_unknown_paths_and_wrong_methods(
    stand: Any, method: str, path: str, status: int, code: str
) -> None:
    async with stand.client() as client:
        response = await client.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert path in response.json()["error"]["message"]


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_huge_body_is_refused(make_stand: Any, chunked: bool) -> None:
    async def pieces() -> Any:
        for _ in range(3):
            yield b" " * 500

    async with make_stand(max_body_mb=0.001).client() as client:
        response = await client.post(CHAT, content=pieces() if chunked else b" " * 1500)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "payload_too_large"


@pytest.mark.parametrize(
    "body", [b"\xff", b"{", b'{"messages": [{"role": "user", "content": "\xff"}]}', b"null"]
)
async def test_a_malformed_body_is_refused(stand: Any, body: bytes) -> None:
    async with stand.client() as client:
        response = await client.post(CHAT, content=body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_a_defect_of_ours_tells_nothing_of_itself(stand: Any) -> None:
    stand.kernel.models = lambda: 1 / 0
    async with stand.client() as client:
        response = await client.get("/v1/models")
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "division" not in response.text
