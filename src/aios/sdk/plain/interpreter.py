"""Plain language: a command becomes a plan (by a model, under a grammar), the plan a program of syscalls,
which is shown, asked for where it destroys, run, and can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from aios.errors import AiosError, BadRequest, NotFound
from aios.sdk.plain import prompt
from aios.sdk.plain.actions import Action, Program, Summary
from aios.sdk.plain.actions import write as write_action
from aios.sdk.plain.compiler import Compiler
from aios.sdk.plain.kernel import Calls, Chats
from aios.sdk.plain.plan import Plan, decoded, schema
from aios.sdk.plain.retrieval import shown
from aios.sdk.plain.scene import Scene
from aios.sdk.plain.summary import summarise
from aios.sdk.plain.undo import Done, History, changes, inverse, take_back
from aios.syscalls import Message, storage
from aios.syscalls.base import Call
from aios.syscalls.storage import StorageCall
from aios.syscalls.storage_records import ShareInfo, Stat

PLAN_TOKENS = 256
ROUNDS = 2
"""The plan, and once another one if that can't be done."""


class Prepared(msgspec.Struct, frozen=True):
    """What a command comes to, before anything is done. `rounds`: plans that were asked for."""

    command: str
    plan: Plan
    program: Program
    rounds: int = 1


class Outcome(msgspec.Struct, frozen=True):
    """What a command did, and its answer. `links`: tokens of the shares it made, by path."""

    text: str = ""
    paths: tuple[str, ...] = ()
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    links: dict[str, str] = {}
    done: tuple[str, ...] = ()


class PlainLanguage:
    """Understands commands over the root of the agent that `kernel` calls as. `now`: the time, with its zone.
    `eager`: the model is shown at once what of the tree is near the words, and not only when its first plan
    can't be done; `grammar`: plans can't be but valid, and their texts words of the command; else the model is
    free, and often wrong."""

    def __init__(
        self,
        kernel: Calls,
        chats: Chats,
        *,
        model: str = "",
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
        eager: bool = False,
        grammar: bool = True,
    ) -> None:
        self._kernel, self._chats, self._model, self._now = kernel, chats, model, now
        self._eager, self._grammar = eager, grammar
        self._history = History(kernel)

    async def prepare(self, command: str) -> Prepared:
        """Ask the model for a plan and find what it means; once more, with the error, if that can't be done.
        Nothing is changed. Raises BadRequest (no plan, twice), NotFound, Conflict, AiosError."""
        if not command.strip():
            raise BadRequest("There are no words.", 'Say what to do: aios do "list all csv files"')
        scene = await Scene.load(self._kernel)
        near = shown(command, scene)
        asked = prompt.messages(command, near if self._eager else "")
        for rounds in range(1, ROUNDS + 1):
            text = await self._answer(asked, command)
            try:
                plan = decoded(text)
                compiler = Compiler(self._kernel, await Scene.load(self._kernel), self._now())
                return Prepared(command, plan, await compiler.compile(plan, command), rounds)
            except AiosError as error:
                if rounds == ROUNDS:
                    raise
                asked = prompt.repair(asked, text, str(error), command, near)
        raise AssertionError

    async def run(self, prepared: Prepared) -> Outcome:
        """Do it all; if one call fails, what was done is taken back. Raises AiosError."""
        back: list[StorageCall] = []
        lost: list[str] = []
        links: dict[str, str] = {}
        program, text = prepared.program, prepared.program.text
        try:
            for action in program.actions:
                if isinstance(action, Summary):
                    text = await summarise(action.paths, self._kernel, self._chats, self._model)
                    if not action.to:
                        continue
                    action = await self._written(action.to, text)
                answer, undone = await self._do(action.call)
                if isinstance(answer, ShareInfo):
                    links[answer.path] = answer.token
                back += [undone] if undone else []
                lost += [] if undone else [action.line]
        except AiosError:
            await take_back(self._kernel, back[::-1])
            raise
        if back or lost:
            at = self._now().timestamp()
            await self._history.keep(
                Done(command=prepared.command, at=at, back=tuple(back[::-1]), lost=tuple(lost))
            )
        done = tuple(action.line for action in program.actions)
        return Outcome(text, program.paths, program.groups, links, done)

    async def undo(self) -> Done:
        """Take back the last command that changed something. Raises as `History.undo`."""
        return await self._history.undo()

    async def _answer(self, asked: list[Message], command: str) -> str:
        form = schema(command) if self._grammar else None
        options: dict[str, Any] = {"model": self._model, "temperature": 0.0, "max_tokens": PLAN_TOKENS}
        if form:
            options["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "plan", "schema": form},
            }
        completion = await self._chats.chat(asked, **options)
        return completion.choices[0].content or ""

    async def _written(self, path: str, text: str) -> Action:
        there = await self._stat(path)
        return write_action(path, text + "\n", over=there is not None, expect=there.version if there else 0)

    async def _do(self, call: Call[Any]) -> tuple[Any, StorageCall | None]:
        """Its answer, and the call that undoes it."""
        path = changes(call)
        before = await self._stat(path) if path else None
        answer = await self._kernel.syscall(call)
        return answer, inverse(call, before, answer)

    async def _stat(self, path: str) -> Stat | None:
        try:
            return await self._kernel.syscall(storage.StatFile(path=path))
        except NotFound:
            return None
