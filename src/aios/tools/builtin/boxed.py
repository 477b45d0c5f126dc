"""Tools that run in the caller's own box: code, programs, and whatever touches the files in its work folder.

A search pattern can take for ever, a database file can be a trap, and a link can lead out of the folder: in the
box all of that harms nobody. So these are scripts (`scripts/`) that read their arguments as JSON on standard
input and write their result as JSON on standard output.
"""

from __future__ import annotations

import json
import signal
from importlib.resources import files
from typing import Any, Literal

import msgspec

from aios.errors import ToolError, ToolTimeout
from aios.syscalls import Record
from aios.syscalls.tools import Flags, Profile
from aios.tools.sandbox.profile import Outcome, Run
from aios.tools.tool import Bound, Context, bind, own_box

START_S = 60.0
"""Besides the time of the run: a new box may have to wait for others."""
WHY = {
    "wall": "it took longer than {0.wall_s:g} s",
    "cpu": "it used more than {0.cpu_s:g} s of processor time",
    "memory": "it used more than {0.memory_mb} MiB of memory",
    "processes": "it started more than {0.processes} processes",
    "disk": "the work folder grew over {0.disk_mb} MiB or {0.files} files",
    "output": "it wrote more than {0.output_bytes} bytes of output",
    "lost": "it ended its own box",
}


class Ended(Record, frozen=True):
    """How a program ended. `stopped`: by which limit; `note`: what the caller should know."""

    status: int
    stdout: str = ""
    stderr: str = ""
    stopped: str = ""
    note: str = ""


class Condition(Record, frozen=True):
    column: str
    op: Literal["==", "!=", "<", "<=", ">", ">=", "contains", "in"]
    value: str | int | float | bool | list[str | int | float | bool | None] | None


class Aggregate(Record, frozen=True):
    op: Literal["count", "sum", "mean", "min", "max", "distinct"]
    column: str = ""


class BoxedTools:
    """They run within the limits of `profile`."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def tools(self) -> list[Bound]:
        """`python`, `shell`, `sql`, `text_search` and `table`."""
        facts: dict[str, Any] = {
            "keys": own_box, "profile": self._profile, "flags": Flags(reads_private=True),
            "timeout_s": self._profile.wall_s + START_S,
        }  # fmt: skip
        readers = [bind(function, effect="idempotent", **facts) for function in (self.text_search, self.table)]
        return [*(bind(function, **facts) for function in (self.python, self.shell, self.sql)), *readers]

    async def python(self, code: str, context: Context, session: bool = False) -> Ended:
        """Run Python code in a sandbox without network; the value of a last expression is shown. The current
        folder is yours: what is in it can be read, and what is written to it stays.

        code: Python source
        session: keep variables for the next call with session
        """
        outcome = await context.boxed(context.caller, Run(code=code, session=session), self._profile)
        return _ended(outcome, self._profile, session=session)

    async def shell(self, command: str, context: Context, stdin: str = "") -> Ended:
        """Run a shell command in a sandbox without network, in your own folder.

        command: for /bin/sh
        stdin: text for its standard input
        """
        run = Run(argv=("/bin/sh", "-c", command), stdin=stdin.encode())
        return _ended(await context.boxed(context.caller, run, self._profile), self._profile)

    async def text_search(
        self,
        pattern: str, context: Context, folder: str = ".", glob: str = "*", regex: bool = False,
        ignore_case: bool = True, limit: int = 100,
    ) -> dict[str, Any]:  # fmt: skip
        """Find lines with a text in the files of your folder.

        pattern: the text, or a regular expression if regex is true
        folder: where to look, below your folder
        glob: which files, such as *.md
        limit: most lines to return
        """
        arguments = {"pattern": pattern, "folder": folder, "glob": glob, "regex": regex,
                     "ignore_case": ignore_case, "limit": limit}  # fmt: skip
        return await self._script("search", arguments, context)

    async def sql(
        self,
        database: str, query: str, context: Context, parameters: list[str | int | float | None] | None = None,
        write: bool = False, limit: int = 200,
    ) -> dict[str, Any]:  # fmt: skip
        """Query an SQLite database file in your folder. It is opened read-only unless write is true.

        database: path of the file; with write it is made if it is missing
        query: one SQL statement, with ? for parameters
        limit: most rows to return
        """
        arguments = {"database": database, "query": query, "parameters": parameters or [], "write": write,
                     "limit": limit}  # fmt: skip
        return await self._script("query", arguments, context)

    async def table(
        self,
        file: str, context: Context, select: list[str] | None = None, where: list[Condition] | None = None,
        group_by: list[str] | None = None, aggregate: list[Aggregate] | None = None, order_by: str = "",
        descending: bool = False, limit: int = 100,
    ) -> dict[str, Any]:  # fmt: skip
        """Select, filter, group and aggregate the rows of a CSV, JSON or JSON lines file in your folder.

        file: path of the file
        select: columns to return; all if left out
        where: conditions that rows must all meet
        group_by: columns whose equal values make a group
        aggregate: what to compute of each group, or of all rows
        order_by: column of the result to sort by
        limit: most rows to return
        """
        arguments = {
            "file": file, "select": select or [], "where": msgspec.to_builtins(where or []),
            "group_by": group_by or [], "aggregate": msgspec.to_builtins(aggregate or []), "order_by": order_by,
            "descending": descending, "limit": limit,
        }  # fmt: skip
        return await self._script("table", arguments, context)

    async def _script(self, name: str, arguments: dict[str, Any], context: Context) -> dict[str, Any]:
        profile = self._profile
        code = files("aios.tools.builtin.scripts").joinpath(f"{name}.py").read_text("utf-8")
        run = Run(code=code, stdin=json.dumps(arguments).encode())
        outcome = await context.boxed(context.caller, run, profile)
        if outcome.reason:
            why = WHY[outcome.reason].format(profile)
            raise (ToolTimeout if outcome.reason in ("wall", "cpu") else ToolError)(
                f"It was stopped: {why}.", "Ask for less."
            )
        try:
            answer: dict[str, Any] = json.loads(outcome.stdout)
        except ValueError as error:
            raise ToolError(f"It failed: {_text(outcome.stderr)[-500:]}", "Try other arguments.") from error
        if "error" in answer:
            raise ToolError(answer["error"], answer["mend"])
        return answer


def _ended(outcome: Outcome, profile: Profile, *, session: bool = False) -> Ended:
    notes: list[str] = []
    if outcome.reason:
        notes.append(f"It was stopped: {WHY[outcome.reason].format(profile)}.")
    elif outcome.status < 0:
        notes.append(f"It was ended by {signal.Signals(-outcome.status).name}.")
    if session and outcome.fresh:
        notes.append("This session is new: it has no variables of earlier calls.")
    return Ended(
        status=outcome.status, stdout=_text(outcome.stdout), stderr=_text(outcome.stderr),
        stopped=outcome.reason, note=" ".join(notes),
    )  # fmt: skip


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
