"""From a plan to syscalls: each step is looked up in the tree as the steps before it will leave it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from aios.errors import BadRequest, Conflict, NotFound
from aios.sdk.plain import actions, grouping, history, plan, sharing
from aios.sdk.plain.actions import Action, Program, Summary
from aios.sdk.plain.kernel import Calls
from aios.sdk.plain.phrases import Selection, folder_named, matches, parse, place
from aios.sdk.plain.scene import Scene, joined, missing_above, name, parent, shared_folder
from aios.sdk.plain.select import ordered, select
from aios.sdk.plain.verbs import antecedent
from aios.sdk.plain.words import words
from aios.syscalls import storage

_RENAMES = re.compile(r"\b(?:rename|new name|name of|call (?:it|the|this))\b", re.I)
_INTO = re.compile(r"\b(?:in|inside|into|under|within) (?:the |my |our |folder )*([\w/-]+)", re.I)
_IN_IT = re.compile(r"\b(?:in|inside|into|within) (?:it|there|that|them)\b|\btherein\b", re.I)
_SAVES = re.compile(r"\b(?:save|write|put|store|keep|file)\b", re.I)
_NAME = r"(?<![\w/.-])[\w/-]+\.\w{1,8}(?!\w)"
_FILE_NAME = re.compile(_NAME)
_NAMES = re.compile(rf"{_NAME}(?:(?:\s*,\s*(?:and )?|\s+and\s+)(?:the )?{_NAME})+")
_TO_FILE = re.compile(
    rf"\b(?:in|into|to|as|at|under|named|called) (?:(?:a|the|new|file|named|called) )*({_NAME})"
)
_AND = re.compile(
    rf"\s*,\s*(?:and )?(?=(?:the|my|our)\b|{_NAME})|\s+and (?:one (?:for|of) )?(?=(?:the|my|our)\b|{_NAME})"
)
_OF = re.compile(r"\b(?:about|on|regarding|concerning|mention\w*|contain\w*|with|between)\b", re.I)
_SAYS = re.compile(
    r"[\"“'‘:]|\b(?:say\w*|text|words?|contents?|reads?|reading|writ\w+|put|replace|overwrite|jot|lines?|set"
    r"|contain\w*|with)\b", re.I,
)  # fmt: skip
_ENDS = re.compile(r"\b(?:by|into|to|and|as|for|but)\b|[,;:.?!](?:\s|$)", re.I)


class Compiler:
    """Makes one Program of one plan. It only reads; what it finds wrong is raised: NotFound (a phrase that
    means nothing here), Conflict (a place that is taken), BadRequest."""

    def __init__(self, kernel: Calls, scene: Scene, now: datetime) -> None:
        self.kernel, self.scene, self.now = kernel, scene, now
        self.actions: list[Action | Summary] = []
        self.before: list[str] | None = None
        """What the last step was about."""
        self.topic: tuple[str, ...] = ()
        """What that was about, in words."""
        self.text, self.paths = "", tuple[str, ...]()
        self.groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
        self.command, self.alone = "", True

    async def compile(self, given: plan.Plan, command: str) -> Program:
        """Raises AiosError."""
        steps = _merged(given.steps)
        self.command, self.alone = command, len(steps) == 1
        for step in steps:
            await self._step(step)
        return Program(tuple(self.actions), self.text, self.paths, self.groups)

    async def _step(self, step: plan.AnyStep) -> None:
        match step:
            case plan.Find() | plan.Count():
                await self._find(step.what, counted=isinstance(step, plan.Count))
            case plan.Folder():
                self._folders(step.to)
            case plan.Write():
                await self._write(step.to, step.text)
            case plan.Append():
                await self._append(step.to, step.text)
            case plan.Move() | plan.Copy():
                await self._move(step)
            case plan.Delete():
                await self._delete(step.what)
            case plan.Undelete() | plan.Rollback():
                await history.go_back(self, step)
            case plan.Share():
                await sharing.share(self, step)
            case plan.Unshare():
                await sharing.unshare(self, step.what)
            case plan.Shares():
                await sharing.tell(self)
            case plan.Group():
                await grouping.group(self, step)
            case plan.Summarise():
                await self._summarise(step.what, step.to)

    # -- what is meant -----------------------------------------------------------------------------

    def said(self, what: str, *, besides: Sequence[str] | None = None, timed: bool = True) -> Selection:
        """What `what` says. With `besides` (the command's other texts), what it does not say of times, tags,
        types and order is taken from the rest of the command, if the plan has this step alone."""
        if self.alone:  # of names in a row all are meant, however few of them the plan has
            rows = (row[0] for row in _NAMES.finditer(self.command))
            what = next((row for row in rows if what in _FILE_NAME.findall(row)), what)
        said = parse(what, self.scene, self.now, timed=timed)
        if besides is None or not self.alone or said.again:
            return said
        rest = self.command
        for text in besides:
            rest = rest.replace(text, " ") if text else rest
        whole = parse(rest, self.scene, self.now)
        return replace(
            said, period=said.period or whole.period, tags=said.tags or whole.tags,
            suffixes=said.suffixes or whole.suffixes, order=said.order or whole.order,
            count=said.count or whole.count,
        )  # fmt: skip

    async def files(self, said: Selection, *, folders: bool = False) -> list[str]:
        """Their paths. Raises NotFound."""
        if said.again and self.before:
            return self.before
        if said.only_ordered and self.before:
            there = [file for path in self.before if (file := self.scene.get(path))]
            return [file.path for file in ordered(said, there)]
        said = self._meant(said) if said.again else said
        self.topic = said.topic
        phrases = [part for part in _AND.split(said.text) if part]
        if len(phrases) == 1 or _OF.search(phrases[0]) or said.names:
            return await select(said, self.scene, self.kernel, folders=folders)
        each = [parse(phrase, self.scene, self.now, timed=said.period is not None) for phrase in phrases]
        found = [await select(one, self.scene, self.kernel, folders=folders) for one in each]
        return list(dict.fromkeys(path for paths in found for path in paths))

    def _meant(self, said: Selection) -> Selection:
        """What "them" or "the files" means in a plan's first step: what an earlier clause names, or what is
        said of the files behind the phrase. Raises NotFound."""
        phrase = antecedent(self.command)
        if not phrase:
            _, _, rest = self.command.partition(said.text)
            phrase = said.text + _ENDS.split(rest, maxsplit=1)[0]
        meant = self.said(phrase, besides=(phrase,))
        if meant.again:
            raise NotFound(f"{said.text!r} says of no file which it is.", "Name it.")
        return meant

    def add(self, action: Action | Summary) -> None:
        self.actions.append(action)

    # -- steps -------------------------------------------------------------------------------------

    async def _find(self, what: str, *, counted: bool) -> None:
        said = self.said(what, besides=())
        said = replace(said, many=said.many or counted)
        try:
            paths = await self.files(said)
        except NotFound:
            if not counted:
                raise
            paths = []
        self.before, self.paths = paths, tuple(paths)
        self.text = f"{len(paths)} file{'' if len(paths) == 1 else 's'}" if counted else "\n".join(paths)

    def _folders(self, to: str) -> None:
        """One folder, or several that are named in a row."""
        listed, _, above = to.partition(" in ") if " in " in to else (to, "", "")
        beside = place(above, self.scene) if above else self._beside(to)
        made: list[str] = []
        for each in re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+", listed):
            path = place(each, self.scene, beside=beside)
            if not path:
                raise BadRequest(f"{each!r} is no name of a folder.", "Say its name.")
            if self.scene.get(path):
                raise Conflict(f"There is {path} already.", "Choose another name.")
            self._make_folder(path)
            made.append(path)
        self.before = made

    def _beside(self, *texts: str) -> str:
        """The folder that the rest of the command speaks of; the one just made, if that is meant."""
        made = self.before or []
        if len(made) == 1 and self.scene.is_folder(made[0]) and _IN_IT.search(self.command):
            return made[0]
        rest = self.command
        for text in texts:
            rest = rest.replace(text, " ") if text else rest
        named = (folder_named(found[1], self.scene, loosely=True) for found in _INTO.finditer(rest))
        return next((folder for folder in named if folder), "/") if self.alone else "/"

    async def _write(self, to: str, text: str) -> None:
        text = text if _SAYS.search(self.command) else ""
        path = place(to, self.scene, beside=self._beside(to, text))
        if self.scene.is_folder(path):
            names = _FILE_NAME.findall(self.command.replace(text, " ") if text else self.command)
            if not names:
                raise BadRequest(f"{path} is a folder.", "Say the name of the file.")
            path = joined(path, name(names[0]))
        if "." not in name(path) and not self.scene.get(path):
            path = await self._known(to) or path
        there = self.scene.get(path)
        version = there.version if there and there.version else None
        if parent(path) != "/":
            self._make_folder(parent(path))
        self.add(actions.write(path, text, over=there is not None, expect=version if there else 0))
        self.scene.put(path)
        self.before = [path]

    async def _known(self, phrase: str) -> str:
        """The file whose name has all words of `phrase`; "" if there is none."""
        said = parse(phrase, self.scene, self.now, timed=False)
        try:
            (path,) = (await self.files(replace(said, many=False)))[:1] or [""]
        except NotFound:
            return ""
        own = words(path)
        return path if all(word in own for word in said.about) else ""

    async def _append(self, to: str, text: str) -> None:
        said = self.said(to)
        if said.unknown or place(to, self.scene) == "":
            await self._write(to, text)
            return
        for path in await self.files(replace(said, many=False)):
            starts = True
            there = self.scene.get(path)
            if there and there.size:
                last = await self.kernel.syscall(storage.ReadFile(path=path, offset=there.size - 1))
                starts = last.data.endswith(b"\n")
            self.add(actions.append(path, text, starts=starts))
            self.before = [path]

    async def _move(self, step: plan.Move | plan.Copy) -> None:
        said = self.said(step.what, besides=(step.what, step.to))
        paths = await self.files(said, folders=True)
        copies = isinstance(step, plan.Copy)
        one = paths[0] if len(paths) == 1 else ""
        aim = place(step.to, self.scene, beside=parent(one) if one and "." in name(step.to) else "/")
        if one and aim and not self.scene.is_folder(aim) and self._renames(one, aim):
            if "." not in name(aim) and "." in name(one):
                aim = joined(parent(one), f"{name(aim)}.{name(one).rpartition('.')[2]}")
            self._place(one, aim, copies=copies)
            self.before = [aim]
            return
        if not aim:
            aim = joined(shared_folder(paths), "-".join(self.topic) or "collected")
        self._make_folder(aim)
        self.before = [joined(aim, name(path)) for path in paths]
        for path, to in zip(paths, self.before, strict=True):
            if path != to:
                self._place(path, to, copies=copies)

    def _renames(self, path: str, aim: str) -> bool:
        """Whether `aim` is a new name, not a folder to be."""
        called = (
            rf"(?: as|(?<!folder)(?<!directory) (?:named|called)) [\"'“]?[\w/-]*{re.escape(name(aim))}(?!\w)"
        )
        said = _RENAMES.search(self.command) or re.search(called, self.command, re.I)
        return "." in name(aim) or said is not None

    def _place(self, path: str, to: str, *, copies: bool) -> None:
        if self.scene.get(to):
            raise Conflict(f"There is {to} already.", "Choose another name.")
        if parent(to) != "/":
            self._make_folder(parent(to))
        if copies:
            self.add(actions.copy(path, to))
            self.scene.put(to, self.scene.get(path))
        else:
            self.add(actions.move(path, to))
            self.scene.move(path, to)

    def _make_folder(self, path: str) -> None:
        if not self.scene.is_folder(path):
            for folder in (*missing_above(self.scene, path), path):
                self.add(actions.make_folder(folder))
            self.scene.make_folder(path)

    def into_folders(self, above: str, groups: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Move the files of each group into a folder of its name in `above`."""
        for label, paths in groups:
            folder = joined(above, label)
            for path in paths:
                self._place(path, joined(folder, name(path)), copies=False)

    async def _delete(self, what: str) -> None:
        paths = await self.files(self.said(what, besides=(what,)), folders=True)
        for path in paths:
            self.add(actions.delete(path))
            self.scene.remove(path)
        self.before = paths

    async def _summarise(self, what: str, to: str) -> None:
        said = self.said(what)
        named = [found[1] for found in _TO_FILE.finditer(self.command)]
        if any(each not in named for each in _FILE_NAME.findall(to)):
            to = ""
        if not to:
            named = [each for each in named if not matches(each, self.scene)]
            to = next((each for each in named if each in said.unknown or each not in what), "")
            said = self.said(what.replace(to, " ")) if to and to in said.unknown else said
        paths = await self.files(said)
        path = self._summary_place(to, paths) if to else ""
        self.add(actions.summary(tuple(paths), path, over=bool(path and self.scene.get(path))))
        if path:
            self.scene.put(path)
        self.before = [path] if path else paths

    def _summary_place(self, to: str, paths: Sequence[str]) -> str:
        """Where a summary goes; "" if `to` names no file and the command says nothing of saving."""
        aim = place(to, self.scene)
        if aim in paths:
            return ""
        if self.scene.is_folder(aim) and _SAVES.search(self.command):
            stem = name(paths[0]).rpartition(".")[0] if len(paths) == 1 else name(shared_folder(paths))
            return joined(aim, f"{stem or 'files'}-summary.md")
        return aim if "." in name(aim) else ""


def _merged(steps: Sequence[plan.AnyStep]) -> list[plan.AnyStep]:
    """Folders in a row become one step: where they go may be said once, at the end. A step that is said twice
    is done once."""
    merged: list[plan.AnyStep] = []
    for step in dict.fromkeys(steps):
        last = merged[-1] if merged else None
        if isinstance(step, plan.Folder) and isinstance(last, plan.Folder):
            merged[-1] = plan.Folder(f"{last.to}, {step.to}")
        else:
            merged.append(step)
    return merged
