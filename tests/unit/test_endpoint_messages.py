"""What an endpoint is sent, and what is made of what it says. Pure."""

import msgspec
import pytest

from aios.cores.core import Ended
from aios.cores.refusal import complaint, refusal
from aios.cores.reply import Reader, Reply
from aios.cores.request import body_of, path_of
from aios.errors import BadRequest, ContextOverflow, CoreRateLimited, CoreRefused, CoreUnavailable, UnknownModel
from aios.syscalls import (
    Delta,
    FunctionCall,
    FunctionSpec,
    Generate,
    Message,
    ResponseFormat,
    Sampling,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    ToolSpec,
)

USER = Message(role="user", content="Hi")
TOOL = ToolSpec(function=FunctionSpec(name="add", description="Adds.", parameters={"type": "object"}))
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


def test_a_plain_chat_sends_nothing_it_need_not():
    call = Generate(messages=(USER,))
    assert path_of(call) == "chat/completions"
    assert body_of(call, "m") == {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **STREAMED}


def test_every_field_of_a_chat_is_sent():
    call = Generate(
        messages=(
            USER,
            Message(role="assistant", tool_calls=(ToolCall(id="c1", function=FunctionCall(name="add")),)),
            Message(role="tool", content="3", tool_call_id="c1", name="add"),
        ),
        tools=(TOOL,),
        tool_choice="=add",
        parallel_tool_calls=False,
        response_format=ResponseFormat(type="json_schema", schema={"type": "object"}),
        sampling=Sampling(temperature=0.0, top_p=0.5, top_k=40, seed=7, logit_bias={5: -1.0}),
        max_tokens=9,
        stop=("X",),
        n=2,
        logprobs=3,
        extra={"user": "u", "stream": False},
    )
    assert body_of(call, "m") == {
        "model": "m",
        "messages": [
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "content": "3", "name": "add", "tool_call_id": "c1"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}},
        },
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 40,
        "seed": 7,
        "logit_bias": {"5": -1.0},
        "max_tokens": 9,
        "stop": ("X",),
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "user": "u",
        **STREAMED,
    }


def test_an_answer_wanted_in_one_piece_is_not_streamed():
    body = body_of(Generate(messages=(USER,), stream=False), "m")
    assert body["stream"] is False
    assert "stream_options" not in body


def test_a_text_completion_has_its_own_path_and_form():
    call = Generate(prompt=(1, 2), logprobs=2, echo=True, max_tokens=0)
    assert path_of(call) == "completions"
    assert body_of(call, "m") == {
        "model": "m", "prompt": (1, 2), "logprobs": 2, "echo": True, "max_tokens": 0, **STREAMED,
    }  # fmt: skip


def test_a_grammar_has_no_common_form():
    with pytest.raises(BadRequest, match="endpoint's own parameter"):
        body_of(Generate(messages=(USER,), response_format=ResponseFormat(type="regex", grammar="a")), "m")


def read(*replies: dict, choices: int = 1, whole: bool = False) -> tuple[list[Delta], Ended | None]:
    reader = Reader(choices)
    deltas = [d for reply in replies for d in reader.read(msgspec.convert(reply, Reply), whole=whole)]
    return deltas, reader.end() if reader.complete else None


def choice(index: int = 0, finish: str | None = None, **delta) -> dict:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def test_each_chunk_that_says_something_is_a_delta():
    deltas, ended = read(
        choice(role="assistant", content=""),
        choice(content="Hel"),
        choice(content="lo"),
        choice(finish="length"),
        {
            "choices": None,
            "usage": {
                "prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4},
            },
        },
    )  # fmt: skip
    assert deltas == [Delta(content="Hel"), Delta(content="lo")]
    assert ended == Ended(reasons={0: "length"}, prompt_tokens=5, completion_tokens=2, cached_tokens=4)


def test_without_usage_the_deltas_are_counted():
    _, ended = read(choice(content="a"), choice(reasoning_content="hm"), choice(content="b", finish="stop"))
    assert ended == Ended(reasons={0: "stop"}, completion_tokens=3)


def test_choices_come_mixed_and_all_must_end():
    deltas, ended = read(choice(1, content="b"), choice(0, content="a", finish="stop"), choices=2)
    assert [(d.choice, d.content) for d in deltas] == [(1, "b"), (0, "a")]
    assert ended is None


def test_tool_calls_come_in_pieces_and_are_the_reason_whatever_the_endpoint_says():
    deltas, ended = read(
        choice(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "add", "arguments": ""}}]),
        choice(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]),
        choice(finish="stop"),
    )
    assert [piece for delta in deltas for piece in delta.tool_calls] == [
        ToolCallDelta(index=0, id="c1", name="add"),
        ToolCallDelta(index=0, arguments="{}"),
    ]
    assert ended
    assert ended.reasons == {0: "tool_calls"}


def test_logprobs_of_chat_and_of_text():
    rival = TokenLogprob(token="é", logprob=-2.0, bytes=(0xC3, 0xA9))
    chosen = TokenLogprob(token="a", logprob=-1.0, bytes=(97,), top=(rival,))
    wire = {
        "token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": [{"token": "é", "logprob": -2.0}],
    }  # fmt: skip
    chat = {"choices": [{"delta": {"content": "a"}, "logprobs": {"content": [wire]}}]}
    text = {
        "choices": [
            {
                "text": "a",
                "logprobs": {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"é": -2.0}]},
            }
        ]
    }
    for reply in (chat, text):
        assert read(reply)[0] == [Delta(content="a", logprobs=(chosen,))]


def test_an_answer_in_one_piece_is_one_delta_a_choice():
    deltas, ended = read(
        {
            "choices": [
                {"index": i, "message": {"content": text}, "finish_reason": "stop"}
                for i, text in enumerate(["a b c", "d"])
            ],
            "usage": {"prompt_tokens": 1, "completion_tokens": 4},
        },
        choices=2,
        whole=True,
    )
    assert [(d.choice, d.content, d.tokens) for d in deltas] == [(0, "a b c", 4), (1, "d", 0)]
    assert ended == Ended(reasons={0: "stop", 1: "stop"}, prompt_tokens=1, completion_tokens=4)


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (400, b'{"error": {"message": "No.", "param": "top_p"}}', CoreRefused, "400: No."),
        (400, b'{"error": {"message": "?", "code": "context_length_exceeded"}}', ContextOverflow, "400"),
        (400, b'{"error": {"message": "?", "type": "exceed_context_size_error"}}', ContextOverflow, "400"),
        (400, b'{"message": "maximum context length is 9", "code": 400}', ContextOverflow, "9"),
        (404, b'{"error": {"message": "The model `x` does not exist."}}', UnknownModel, "`x`"),
        (404, b"404 page not found", CoreRefused, "base_url"),
        (401, b'{"error": "bad key"}', CoreRefused, "api_key_env"),
        (422, b'{"detail": [{"msg": "field required"}]}', CoreRefused, "field required"),
        (429, b"", CoreRateLimited, "no reason"),
        (501, b'{"error": {"message": "No embeddings"}}', CoreRefused, "No embeddings"),
        (500, b"\xff\xfe", CoreUnavailable, "500"),
        (503, b'{"error": {"message": "Loading model", "code": 503}}', CoreUnavailable, "Loading model"),
    ],
)
def test_an_endpoints_complaint_becomes_a_typed_error(status: int, body: bytes, kind: type, says: str):
    error = refusal(status, complaint(body), None, "far")
    assert isinstance(error, kind)
    assert says in str(error)


def test_an_endpoints_message_is_cut():
    assert len(str(refusal(400, complaint(b"x" * 100_000), None, "far"))) < 1000
