import json

import httpx
import pytest

from aios.errors import (
    AiosError,
    BadRequest,
    ConfigError,
    Conflict,
    ContextOverflow,
    CoreProtocolError,
    CoreUnavailable,
    LimitExceeded,
)
from aios.sdk.client import AsyncClient, Client
from aios.syscalls import Completion, Message, PlanStep, ProcessInfo, ToolSpec

pytestmark = pytest.mark.anyio

ANSWER = {
    "id": "chatcmpl-1",
    "model": "m",
    "created": 7,
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}},
    "timings": {"queue_s": 0.5, "prompt_ms": 12.0},
}


class Endpoint:
    """Answers requests from a list and remembers them."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0)

    def body(self, index: int = 0) -> dict:
        return json.loads(self.requests[index].content)


def client(endpoint: Endpoint, **options) -> Client:
    return Client("http://k:1/v1", transport=httpx.MockTransport(endpoint), **options)


def error(status: int, code: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": "it is so", "code": code}}, headers=headers)


def test_a_chat_goes_out_as_openai_and_comes_back_as_the_kernels_own_types():
    endpoint = Endpoint(httpx.Response(200, json=ANSWER))
    spec = ToolSpec.__struct_fields__ and {"type": "function", "function": {"name": "f"}}
    done = client(endpoint, agent="a", api_key="k").chat(
        [Message(role="user", content="hi"), {"role": "user", "content": "there"}], tools=[spec], seed=None
    )
    assert isinstance(done, Completion)
    assert done.choices[0].tool_calls[0].function.name == "f"
    assert (done.usage.cached_tokens, done.timings.queue_s) == (3, 0.5)
    sent, headers = endpoint.body(), endpoint.requests[0].headers
    assert sent["messages"] == [{"role": "user", "content": "hi"}, {"role": "user", "content": "there"}]
    assert "seed" not in sent
    assert (headers["x-agent-id"], headers["authorization"]) == ("a", "Bearer k")
    assert endpoint.requests[0].url.path == "/v1/chat/completions"


def test_errors_come_back_as_the_class_the_kernel_raised():
    with pytest.raises(ContextOverflow, match="it is so"):
        client(Endpoint(error(400, "context_length_exceeded"))).chat([])
    with pytest.raises(AiosError, match="plain text"):
        client(Endpoint(httpx.Response(500, text="plain text"))).chat([])
    with pytest.raises(CoreProtocolError):
        client(Endpoint(httpx.Response(200, text="<html>"))).chat([])


def test_what_is_sent_again_carries_the_same_idempotency_key(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    endpoint = Endpoint(
        error(429, "core_rate_limited", **{"retry-after": "7"}),
        error(503, "draining"),
        httpx.Response(200, json=ANSWER),
    )
    client(endpoint).chat([])
    assert len({endpoint.body(i)["idempotency_key"] for i in range(3)}) == 1
    assert waits == [7.0, 1.0]


def test_a_call_with_an_effect_is_not_sent_twice(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda s: None)
    endpoint = Endpoint(error(503, "draining"))
    with pytest.raises(AiosError):
        client(endpoint).kill(3)
    assert len(endpoint.requests) == 1
    assert endpoint.body() == {"call": "process.signal", "pid": 3, "signal": "kill"}


def test_results_of_syscalls_are_told_apart_by_their_tag():
    info = {"type": "process", "pid": 3, "name": "x", "parent": 1, "group": "g", "state": "idle"}
    assert client(Endpoint(httpx.Response(200, json=info))).spawn("x") == ProcessInfo(
        pid=3, name="x", parent=1, group="g", state="idle"
    )


def test_a_fork_is_a_child_process_and_the_client_is_it():
    info = {"type": "process", "pid": 3, "name": "x", "parent": 2, "group": "g", "state": "idle"}
    endpoint = Endpoint(httpx.Response(200, json=info))
    parent = client(endpoint, agent="ann")
    with parent.fork("critic", nice=5) as child:
        assert (child.address.agent, child.address.url) == ("ann/critic", "http://k:1")
    assert endpoint.body()["name"] == "ann/critic"
    assert endpoint.body()["nice"] == 5
    with pytest.raises(BadRequest, match="no agent name"):
        Client("http://kernel").fork("critic")
    with client(Endpoint(httpx.Response(200, json=info)), api_key="aios-key").fork(
        "critic"
    ) as child:  # the key says whose child
        assert child.address.agent == "critic"


def test_a_plan_is_a_syscall():
    info = {"type": "process", "pid": 3, "name": "x", "parent": 2, "group": "g", "state": "idle"}
    endpoint = Endpoint(httpx.Response(200, json=info))
    client(endpoint).plan([PlanStep(name="a", tokens=7)])
    assert endpoint.body()["call"] == "process.plan"
    assert endpoint.body()["steps"][0]["tokens"] == 7


def test_retries_end():
    endpoint = Endpoint(*[error(429, "limit_exceeded")] * 3)
    with pytest.raises(LimitExceeded):
        client(endpoint, retries=0).chat([])
    assert len(endpoint.requests) == 1


async def test_streams_give_a_delta_a_chunk_and_notice_a_cut():
    def chunk(**delta) -> str:
        return "data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}) + "\n\n"

    whole = ": waiting\n\n" + chunk(role="assistant", content="") + chunk(content="a") + chunk(content="b")
    last = 'data: {"choices": [], "usage": {"prompt_tokens": 4}}\n\ndata: [DONE]\n\n'
    endpoint = Endpoint(httpx.Response(200, text=whole + last), httpx.Response(200, text=whole))
    async with AsyncClient("http://k", transport=httpx.MockTransport(endpoint)) as c:
        assert [d.content async for d in await c.chat([], stream=True)] == ["a", "b"]
        assert endpoint.body()["stream_options"] == {"include_usage": True}
        with pytest.raises(CoreProtocolError):
            [d async for d in await c.chat([], stream=True)]


def stream_of(*events: dict) -> httpx.Response:
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return httpx.Response(200, text=text + "data: [DONE]\n\n")


def test_a_stream_put_together_is_the_answer_in_one_piece():
    def piece(**delta) -> dict:
        return {"choices": [{"index": 0, "delta": delta}]}

    call = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": ""}}
    rest = [{"index": 0, "function": {"arguments": part}} for part in ('{"a"', ": 1}")]
    last = {**ANSWER, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    events = [piece(tool_calls=[call]), *(piece(tool_calls=[part]) for part in rest), last]
    with client(Endpoint(stream_of(*events))).chat([], stream=True) as answer:
        with pytest.raises(Conflict):
            _ = answer.completion
        assert [d.tool_calls[0].arguments for d in answer] == ["", '{"a"', ": 1}"]
        done = answer.completion
    assert done.choices[0].tool_calls[0].function.arguments == '{"a": 1}'
    assert (done.choices[0].finish_reason, done.usage.cached_tokens) == ("tool_calls", 3)
    assert (done.id, done.timings.queue_s) == ("chatcmpl-1", 0.5)


def test_logprobs_of_both_apis_are_read():
    chat = {"content": [{"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "b", "logprob": -2.0}]}]}
    text = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"b": -2.0}]}
    for told in (chat, text):
        body = {**ANSWER, "choices": [{"index": 0, "text": "a", "logprobs": told}]}
        (row,) = client(Endpoint(httpx.Response(200, json=body))).complete("x").choices[0].logprobs
        assert (row.token, row.logprob, row.top[0].token, row.top[0].logprob) == ("a", -1.0, "b", -2.0)


@pytest.mark.parametrize("url", ["http://", "ftp://host", "http://[::1", "http://a:b"])
def test_an_address_that_is_none_is_told_at_once(url: str):
    with pytest.raises(ConfigError, match="8420"):
        Client(url)


def test_an_address_may_be_short():
    assert Client("127.0.0.1:9000/v1/").address.url == "http://127.0.0.1:9000"


@pytest.mark.parametrize("name", ["Zoë", "a\nb"])
def test_a_name_that_fits_into_no_header_is_told_at_once(name: str):
    with pytest.raises(BadRequest, match="ASCII"):
        Client("http://k", agent=name)


async def test_an_error_inside_a_stream_is_raised():
    text = 'data: {"error": {"message": "gone", "code": "process_killed"}}\n\n'
    async with AsyncClient(
        "http://k", transport=httpx.MockTransport(Endpoint(httpx.Response(200, text=text)))
    ) as c:
        with pytest.raises(AiosError, match="gone"):
            [d async for d in await c.chat([], stream=True)]


def test_nobody_there_says_so():
    with pytest.raises(CoreUnavailable, match="aios serve"):
        Client("http://127.0.0.1:9", retries=0).models()
