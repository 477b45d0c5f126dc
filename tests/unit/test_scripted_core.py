"""The core without a model: what tests of everything above it rely on."""

import asyncio
import json
from contextlib import aclosing

import pytest

from aios import plugins
from aios.config import CoreSettings
from aios.cores.core import Ended, Seat, Sequence, Yielded
from aios.cores.scripted import Script, ScriptedCore, least
from aios.errors import BadRequest, CoreError, CoreUnavailable
from aios.events import EventBus
from aios.syscalls import Delta, Embed, FunctionCall, FunctionSpec, Generate, Message, ResponseFormat, ToolSpec

pytestmark = pytest.mark.anyio

CITY = ToolSpec(
    function=FunctionSpec(
        name="weather",
        parameters={
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        },
    )
)


async def started(script: Script | None = None, **settings) -> ScriptedCore:
    core = ScriptedCore(CoreSettings(name="s", kind="scripted", **settings), EventBus(), script=script)
    async with asyncio.TaskGroup() as tasks:
        await core.start(tasks)
    return core


def ask(text: str, **fields) -> Generate:
    return Generate(messages=(Message(role="user", content=text),), **fields)


async def sequences(core: ScriptedCore, call: Generate) -> list[Sequence]:
    return await core.prepare(call, 1, "default")


async def answer(core: ScriptedCore, call: Generate) -> tuple[list[Delta], Ended]:
    (sequence,) = await sequences(core, call)
    *deltas, ended = [step async for step in core.run(sequence, Seat(0))]
    return deltas, ended


async def test_it_echoes_one_delta_a_word():
    deltas, ended = await answer(await started(), ask("How are  you?\n"))
    assert [d.content for d in deltas] == ["How", " are", "  you?", "\n"]
    assert ended == Ended(reasons={0: "stop"}, prompt_tokens=4, completion_tokens=4)


async def test_interrupted_anywhere_the_answer_is_the_same():
    core = await started()
    for leave_after in range(1, 4):
        (sequence,) = await sequences(core, ask("one two three four"))
        text, stays = "", 0
        while True:
            stays += 1
            async with aclosing(core.run(sequence, Seat(stays))) as steps:
                async for step in steps:
                    if isinstance(step, Delta):
                        text += step.content
                        if len(sequence.generated) % leave_after == 0:
                            core.interrupt(sequence)
            if isinstance(step, Ended):
                break
            assert step == Yielded()
        assert text == "one two three four"
        assert stays > 1
        assert step.completion_tokens == 4


async def test_max_tokens_and_stop():
    core = await started()
    deltas, ended = await answer(core, ask("one two three", max_tokens=2))
    assert ("".join(d.content for d in deltas), ended.reasons) == ("one two", {0: "length"})
    deltas, ended = await answer(core, ask("Thought: x\nObservation: y", stop=("\nObs", "zz")))
    assert ("".join(d.content for d in deltas), ended.reasons) == ("Thought: x", {0: "stop"})


async def test_a_required_tool_is_called_with_arguments_its_schema_allows():
    deltas, ended = await answer(await started(), ask("?", tools=(CITY,), tool_choice="=weather"))
    first = deltas[0].tool_calls[0]
    assert first.name == "weather"
    assert first.id
    assert ended.reasons == {0: "tool_calls"}
    text = "".join(piece.arguments for delta in deltas for piece in delta.tool_calls)
    assert json.loads(text) == {"city": "Oslo", "days": 1}


async def test_a_script_answers_each_choice_with_text_calls_or_an_error():
    answers = ["a b", (FunctionCall(name="weather"),), CoreError("It broke.")]
    core = await started(lambda call, choice: answers[choice])
    text, calls, error = await sequences(core, ask("?", n=3))
    assert [s.content async for s in core.run(text, Seat(0)) if isinstance(s, Delta)] == ["a", " b"]
    assert [s.choice async for s in core.run(calls, Seat(1)) if isinstance(s, Delta)] == [1]
    with pytest.raises(CoreError, match="It broke"):
        await anext(core.run(error, Seat(2)))


async def test_json_is_what_its_schema_allows():
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    call = ask("?", response_format=ResponseFormat(type="json_schema", schema=schema))
    deltas, _ = await answer(await started(), call)
    assert json.loads("".join(d.content for d in deltas)) == {"ok": False}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "array", "items": {"type": "string", "minLength": 2}, "minItems": 2}, ["xx", "xx"]),
        ({"type": ["null", "string"]}, None),
        ({"anyOf": [{"const": 7}, {"type": "string"}]}, 7),
        ({"type": "number", "minimum": 0.5}, 0.5),
    ],
)
def test_least(schema: dict, value: object):
    assert least(schema) == value


@pytest.mark.parametrize(
    "call",
    [
        Generate(),
        ask("?", n=0),
        ask("?", tool_choice="required"),
        ask("?", tools=(CITY,), tool_choice="=other"),
        ask("?", tool_choice="maybe"),
        ask("?", response_format=ResponseFormat(type="regex", grammar="a+")),
    ],
)
async def test_what_can_not_run_is_refused_when_prepared(call: Generate):
    with pytest.raises(BadRequest):
        await sequences(await started(), call)


async def test_two_sequences_in_one_slot_are_a_mistake_that_shows():
    core = await started()
    one, two = await sequences(core, ask("a b", n=2))
    async with aclosing(core.run(one, Seat(0))) as steps:
        await anext(steps)
        with pytest.raises(CoreError, match="taken"):
            await anext(core.run(two, Seat(0)))
    await anext(core.run(two, Seat(0)))


async def test_the_pace_is_kept_on_the_clock_it_was_given():
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    settings = CoreSettings(name="s", kind="scripted", tokens_per_s=4)
    core = ScriptedCore(settings, EventBus(), sleep=sleep)
    async with asyncio.TaskGroup() as tasks:
        await core.start(tasks)
    await answer(core, ask("a b c"))
    assert pauses == [0.25] * 3


async def test_closing_ends_what_runs():
    core = await started()
    (sequence,) = await sequences(core, ask("a b"))
    steps = core.run(sequence, Seat(0))
    await anext(steps)
    await core.close()
    with pytest.raises(CoreUnavailable):
        await anext(steps)


async def test_embeddings_have_length_one_and_know_shared_words():
    core = await started()
    result = await core.embed(Embed(inputs=("red apple", "red apple pie", "blue sky", "")))
    apple, pie, sky, _ = result.vectors

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert all(dot(v, v) == pytest.approx(1) for v in result.vectors)
    assert dot(apple, pie) > dot(apple, sky)
    assert result.usage.prompt_tokens == 7


def test_it_is_registered():
    assert plugins.load(plugins.CORES, "scripted") is ScriptedCore
