"""ReAct: thought, action, observation, until the answer (Yao et al. 2023, section 2)."""

from __future__ import annotations

import json
from typing import Any, cast

import msgspec

from aios.sdk.agent import Agent, Outcome, Turn, added
from aios.sdk.tool import Tool
from aios.syscalls import Completion, Message, Usage

FINISH = "finish"
ROOT = "#/$defs/"

INSTRUCTIONS = """{system}

Work step by step. Each step is one JSON object:
{{"thought": "what to do next", "action": "name of a tool", "input": {{its arguments}}}}
After each step you are told what the tool returned. When you know the answer:
{{"thought": "why", "action": "finish", "input": {{"answer": "the answer"}}}}

Tools:
{tools}"""


class Step(msgspec.Struct):
    """What the model writes."""

    action: str
    thought: str = ""
    input: dict[str, Any] = {}


class ReAct(Agent):
    """Every step is constrained to a JSON object that names a tool and its arguments by the tool's own schema,
    so that even a very small model acts validly. The conversation only grows at its end: each prompt extends
    the one before, and its KV is reused.

    `max_turns` steps at most; `thought_length` limits each thought, characters."""

    def __init__(self, *args: Any, max_turns: int = 8, thought_length: int = 160, **options: Any) -> None:
        super().__init__(*args, **{"max_tokens": 200, "temperature": 0.0, **options})
        self.max_turns = max_turns
        self._thought = {"type": "string", "maxLength": thought_length}

    async def work(self, task: str) -> Outcome:
        messages = [
            Message(role="system", content=self.instructions()),
            Message(role="user", content=task),
        ]
        turns: list[Turn] = []
        usage = Usage()
        answer = ""
        for number in range(1, self.max_turns + 1):
            self.watch("llm", Turn(number=number))
            completion = await self.chat(messages, response_format=self.form())
            usage = added(usage, completion.usage)
            text = completion.choices[0].content or ""
            messages.append(Message(role="assistant", content=text))
            turn = await self._act(number, text, completion)
            turns.append(turn)
            self.watch("turn", turn)
            if turn.action == FINISH:
                answer = turn.input
                break
            messages.append(Message(role="user", content=f"Observation: {turn.observation}"))
        self.watch("done", turns[-1])
        return Outcome(answer=answer, turns=tuple(turns), messages=tuple(messages), usage=usage)

    def instructions(self) -> str:
        """The system message."""
        return INSTRUCTIONS.format(system=self.system, tools="\n".join(map(_line, self.tools.values())))

    def form(self) -> dict[str, Any]:
        """The response format of a step, as in the OpenAI API."""
        answer: dict[str, Any] = {
            "type": "object",
            "properties": {"answer": {"type": "string", "maxLength": 200}},
            "required": ["answer"],
            "additionalProperties": False,
        }
        kinds = {**{name: tool.parameters for name, tool in self.tools.items()}, FINISH: answer}
        shared: dict[str, Any] = {}
        steps = [self._step(name, _lifted(schema, f"{name}.", shared)) for name, schema in kinds.items()]
        schema = {"anyOf": steps, **({"$defs": shared} if shared else {})}
        return {"type": "json_schema", "json_schema": {"name": "step", "schema": schema}}

    def _step(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"thought": self._thought, "action": {"const": name}, "input": schema},
            "required": ["thought", "action", "input"],
            "additionalProperties": False,
        }

    async def _act(self, number: int, text: str, completion: Completion) -> Turn:
        """Read a step and do what it says."""
        try:
            step = msgspec.json.decode(text, type=Step)
        except msgspec.MsgspecError:
            mend = 'Error: answer with one JSON object with "thought", "action" and "input".'
            return Turn(number=number, thought=text, observation=mend, usage=completion.usage)
        if step.action == FINISH:
            answer = step.input.get("answer", "")
            return Turn(
                number=number, thought=step.thought, action=FINISH, input=str(answer), usage=completion.usage
            )
        given = json.dumps(step.input)
        turn = Turn(
            number=number, thought=step.thought, action=step.action, input=given, usage=completion.usage
        )
        self.watch("tool", turn)
        observation = await self.use(step.action, given)
        return msgspec.structs.replace(turn, observation=observation)


def _lifted(schema: Any, prefix: str, shared: dict[str, Any]) -> Any:
    """`schema` as a part of a larger one: its definitions move to `shared` under `prefix`, for a reference
    counts from the root of the whole."""
    if isinstance(schema, list):
        return [_lifted(item, prefix, shared) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    here = dict(cast("dict[str, Any]", schema))
    for name, definition in here.pop("$defs", {}).items():
        shared[prefix + name] = _lifted(definition, prefix, shared)
    return {
        key: f"{ROOT}{prefix}{value.removeprefix(ROOT)}" if key == "$ref" else _lifted(value, prefix, shared)
        for key, value in here.items()
    }


def _line(tool: Tool) -> str:
    arguments = {name: spec.get("type", "any") for name, spec in tool.parameters["properties"].items()}
    return f"- {tool.name} {json.dumps(arguments)}: {tool.description}"
