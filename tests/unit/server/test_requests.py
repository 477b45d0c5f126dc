"""How OpenAI request bodies become syscalls."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from aios.errors import BadRequest
from aios.server.hints import Hints
from aios.server.requests import ChatRequest, CompletionRequest, EmbeddingRequest, parse
from aios.syscalls import Generate, Message, Sampling

ASK = [{"role": "user", "content": "hi"}]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object"}, "strict": True},
}


def chat(**fields: Any) -> Generate:
    request, extra = parse(msgspec.json.encode({"messages": ASK, **fields}), ChatRequest)
    return request.generate(extra, Hints())


def text(**fields: Any) -> list[Generate]:
    request, extra = parse(msgspec.json.encode(fields), CompletionRequest)
    return request.generate(extra, Hints())


def test_the_least_request_gets_the_defaults_of_the_api() -> None:
    assert chat() == Generate(messages=(Message(role="user", content="hi"),), stream=False)
    assert chat(stream=True) == Generate(messages=(Message(role="user", content="hi"),))


def test_parameters_that_are_not_known_are_kept_for_the_core() -> None:
    call = chat(
        store=True, metadata={"a": "b"}, chat_template_kwargs={"x": [1]}, service_tier=None, stream=False
    )
    assert call.extra == {"store": True, "metadata": {"a": "b"}, "chat_template_kwargs": {"x": [1]}}


def test_every_known_parameter_may_be_null() -> None:
    nulls = {name: None for name in ChatRequest.__struct_fields__ if name != "messages"}
    assert chat(**nulls) == chat()


def test_sampling() -> None:
    call = chat(
        temperature=0, top_p=0.5, top_k=40, min_p=0.1, presence_penalty=1, frequency_penalty=-1,
        repetition_penalty=1.1, seed=7, logit_bias={"42": -100},
    )  # fmt: skip
    assert call.sampling == Sampling(
        temperature=0, top_p=0.5, top_k=40, min_p=0.1, presence_penalty=1, frequency_penalty=-1,
        repetition_penalty=1.1, seed=7, logit_bias={42: -100},
    )  # fmt: skip
    assert chat(top_k=-1).sampling == Sampling()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 6),
        ({}, None),
    ],
)
def test_either_name_of_the_token_limit(fields: dict[str, int], expected: int | None) -> None:
    assert chat(**fields).max_tokens == expected


def test_stop_is_a_string_or_a_list() -> None:
    assert chat(stop="\n").stop == ("\n",)
    assert chat(stop=["a", "", "b"]).stop == ("a", "b")


def test_messages_of_every_role() -> None:
    call = chat(
        messages=[
            {"role": "developer", "content": "be brief"},
            {
                "role": "user",
                "name": "ann",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "9"},
        ]
    )
    system, user, assistant, tool = call.messages
    assert system == Message(role="system", content="be brief")
    assert user == Message(role="user", name="ann", content="a\nb")
    assert assistant.content is None
    assert [(c.id, c.function.name, c.function.arguments) for c in assistant.tool_calls] == [
        ("c1", "f", '{"x":1}')
    ]
    assert tool == Message(role="tool", tool_call_id="c1", content="9")


def test_the_older_function_messages_become_tool_calls() -> None:
    call = chat(
        messages=[
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "9"},
        ],
        functions=[{"name": "f"}],
        function_call={"name": "f"},
    )
    asked, answered = call.messages
    assert asked.tool_calls[0].id == answered.tool_call_id
    assert (answered.role, call.tools[0].function.name, call.tool_choice) == ("tool", "f", "=f")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "weather"}}, "=weather"),
        (None, "auto"),
    ],
)
def test_tool_choice(choice: Any, expected: str) -> None:
    call = chat(tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False)
    assert call.tool_choice == expected
    assert call.tools[0].function.parameters == {"type": "object"}
    assert not call.parallel_tool_calls


def test_response_formats() -> None:
    schema = {"type": "object"}
    assert chat(response_format={"type": "text"}).response_format.type == "text"
    assert chat(response_format={"type": "json_object"}).response_format.type == "json_object"
    wrapped = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    for given in (wrapped, {"type": "json_object", "schema": schema}):
        made = chat(response_format=given).response_format
        assert (made.type, made.schema) == ("json_schema", schema)
    made = chat(grammar='root ::= "a"').response_format
    assert (made.type, made.grammar) == ("grammar", 'root ::= "a"')


def test_logprobs() -> None:
    assert chat(top_logprobs=3).logprobs is None
    assert chat(logprobs=True).logprobs == 0
    assert chat(logprobs=True, top_logprobs=3).logprobs == 3
    assert text(prompt="a", logprobs=2)[0].logprobs == 2


def test_what_the_kernel_adds_can_be_in_the_body() -> None:
    call = chat(
        priority=3,
        deadline_s=1.5,
        idempotency_key="k",
        agent_id="a",
        scheduling_class="batch",
        window="truncate",
    )
    assert (call.priority, call.deadline_s, call.idempotency_key, call.extra) == (3, 1.5, "k", {})
    assert (call.scheduling_class, call.window) == ("batch", "truncate")
    (one,) = text(prompt="a", scheduling_class="idle", policy="srpt")
    assert (one.scheduling_class, one.window, one.policy) == ("idle", None, "srpt")


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [(1, 2)]),
        ([[1], [2, 3]], [(1,), (2, 3)]),
    ],
)
def test_prompts_in_all_four_forms(prompt: Any, expected: list[Any]) -> None:
    assert [call.prompt for call in text(prompt=prompt)] == expected
    request, _ = parse(msgspec.json.encode({"input": prompt}), EmbeddingRequest)
    assert list(request.embed().inputs) == expected


def test_each_prompt_has_an_idempotency_key_of_its_own() -> None:
    assert [c.idempotency_key for c in text(prompt="a", idempotency_key="k")] == ["k"]
    assert [c.idempotency_key for c in text(prompt=["a", "b"], idempotency_key="k")] == ["k/0", "k/1"]
    assert [c.idempotency_key for c in text(prompt=["a", "b"])] == [None, None]


@pytest.mark.parametrize(
    ("fields", "by_core"),
    [({"prompt": "a"}, False), ({"prompt": [1]}, True), ({"prompt": "a", "logprobs": 1}, True)],
)
def test_an_echo_that_takes_the_vocabulary_is_left_to_the_core(fields: Any, by_core: bool) -> None:
    assert text(echo=True, **fields)[0].echo is by_core
    assert text(**fields)[0].echo is False


def test_text_completion_parameters() -> None:
    (call,) = text(prompt="a", max_tokens=0, stop="\n")
    assert (call.max_tokens, call.stop) == (0, ("\n",))
    assert text(prompt="a")[0].max_tokens == 16


IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "web_search", "function": {"name": "f"}}]}, "tools[0].type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "grammar"}}, "response_format.grammar"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stop": 3}, "stop"),
        ({"user": 3}, "user"),
    ],
)
def test_a_wrong_value_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as error:
        chat(**fields)
    assert error.value.param == param
    assert param in str(error.value)


@pytest.mark.parametrize("prompt", [[], [[]], ["a", 1], [1, "a"], [1, [2]]])
def test_prompts_that_are_empty_or_mixed_are_refused(prompt: Any) -> None:
    with pytest.raises(BadRequest) as error:
        text(prompt=prompt)
    assert error.value.param == "prompt"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', "not UTF-8"),
        (b'{"messages": [{"role": "user"}], "odd": "\xff"}', "not UTF-8"),
        (b'{"messages": [{"role": "user"}], "odd": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' * 100_000, "nested too deeply"),
        (b"[]", "object"),
        (b"{}", "messages"),
    ],
)
def test_a_body_that_is_no_request(body: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        parse(body, ChatRequest)
