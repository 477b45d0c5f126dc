import json

import msgspec
import pytest
from tests.words import accepts, grammar_factory

from aios.cores.llama import sources
from aios.sdk.agents.react import ReAct
from aios.sdk.tool import tool
from aios.syscalls import Choice, Completion, Usage

pytestmark = pytest.mark.anyio


@tool
def double(n: int) -> str:
    """Twice a number."""
    return str(2 * n)


class At(msgspec.Struct, forbid_unknown_fields=True):
    x: int
    y: int


class Part(msgspec.Struct, forbid_unknown_fields=True):
    colour: str


@tool
def place(at: At) -> str:
    """Put it there."""
    return f"{at.x},{at.y}"


@tool
def paint(parts: list[Part]) -> str:
    """Paint all parts."""
    return " ".join(part.colour for part in parts)


class Model:
    """Says what it is told to, and remembers what it was asked."""

    def __init__(self, *steps: str) -> None:
        self.steps = list(steps)
        self.asked: list[list] = []
        self.options: list[dict] = []

    async def chat(self, messages, **options) -> Completion:
        self.asked.append(list(messages))
        self.options.append(options)
        choice = Choice(content=self.steps.pop(0))
        return Completion(id="", model="", created=0, choices=(choice,), usage=Usage(prompt_tokens=3))


def step(action: str, **input) -> str:
    return json.dumps({"thought": "t", "action": action, "input": input})


async def test_it_acts_observes_and_finishes():
    model = Model(step("double", n=4), step("finish", answer="8"))
    phases = []
    agent = ReAct(model, tools=[double], watch=lambda phase, turn: phases.append((phase, turn.number)))
    outcome = await agent.work("twice four?")
    assert outcome.answer == "8"
    assert [t.observation for t in outcome.turns] == ["8", ""]
    assert outcome.usage.prompt_tokens == 6
    assert phases == [("llm", 1), ("tool", 1), ("turn", 1), ("llm", 2), ("turn", 2), ("done", 2)]


async def test_arguments_of_several_tools_may_be_structures():
    form = ReAct(Model(), tools=[place, paint]).form()["json_schema"]["schema"]
    factory = grammar_factory()

    def fits(action: str, **given) -> bool:
        return accepts(factory.make(sources.json_schema(form), 200), step(action, **given))

    assert fits("place", at={"x": 1, "y": 2})
    assert not fits("place", at={"colour": "red"})
    assert fits("paint", parts=[{"colour": "red"}])
    assert not fits("paint", parts=[{"x": 1}])


async def test_each_prompt_extends_the_one_before():
    model = Model(step("double", n=1), step("double", n=2), step("finish", answer="x"))
    await ReAct(model, tools=[double]).run("go")
    for earlier, later in zip(model.asked, model.asked[1:], strict=False):
        assert later[: len(earlier)] == earlier


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("no json", "one JSON object"),
        (step("nosuch"), "no tool 'nosuch'"),
        (step("double", n="many"), "n: integer"),
    ],
)
async def test_mistakes_come_back_as_observations(bad, says):
    model = Model(bad, step("finish", answer="ok"))
    outcome = await ReAct(model, tools=[double]).work("go")
    assert outcome.answer == "ok"
    assert says in outcome.turns[0].observation


async def test_it_gives_up_after_max_turns():
    outcome = await ReAct(Model(*[step("double", n=1)] * 3), tools=[double], max_turns=3).work("go")
    assert outcome.answer == ""
    assert len(outcome.turns) == 3


def test_the_form_of_a_step_names_each_tool_with_its_own_arguments():
    form = ReAct(Model(), tools=[double]).form()
    kinds = form["json_schema"]["schema"]["anyOf"]
    assert [k["properties"]["action"]["const"] for k in kinds] == ["double", "finish"]
    assert kinds[0]["properties"]["input"]["properties"]["n"]["type"] == "integer"
