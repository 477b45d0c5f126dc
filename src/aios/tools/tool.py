"""What a tool is: what models are shown of it, what the kernel must know of it, and how it is run."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, overload

import msgspec

from aios.errors import ToolError
from aios.syscalls import SchedulingClass
from aios.syscalls.base import Record
from aios.syscalls.tools import Profile, Tool
from aios.tools import schema
from aios.tools.sandbox.profile import Outcome, Run


class Caller(Record, frozen=True):
    """Who calls: the agent's name, its own folder, which boxes may write, its process; and what an order asks:
    `kind` is what programs like its own are called, `weight` the share of its group. `key`: the call's
    idempotency key, "" if it has none."""

    agent: str
    folder: str
    pid: int = 0
    program: str = ""
    kind: str = ""
    group: str = "default"
    scheduling_class: SchedulingClass = "normal"
    nice: int = 0
    weight: float = 1.0
    key: str = ""

    @property
    def work(self) -> Path:
        return Path(self.folder)


class Boxed(Protocol):
    """Runs a program in the caller's own box."""

    async def __call__(self, caller: Caller, run: Run, profile: Profile) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What a running tool is given besides its arguments."""

    caller: Caller
    boxed: Boxed


Body = Callable[[Context, dict[str, Any]], Awaitable[Any]]
"""Runs the tool; the arguments have been checked. Raises ToolError; ValueError, LookupError, ArithmeticError,
TypeError and OSError are the caller's fault too."""
Keys = Callable[[Caller, Mapping[str, Any]], frozenset[str]]
"""Resources that a call must have for itself: two calls that share a key do not run at once."""


def no_keys(caller: Caller, arguments: Mapping[str, Any]) -> frozenset[str]:
    return frozenset()


def own_box(caller: Caller, arguments: Mapping[str, Any]) -> frozenset[str]:
    """For tools that run in the caller's box, which takes one run at a time."""
    return frozenset({f"box:{caller.agent}"})


@dataclass(frozen=True, slots=True)
class Bound:
    """A tool and what runs it."""

    tool: Tool
    body: Body
    keys: Keys = no_keys


@overload
def tool(function: Callable[..., Any], /) -> Bound: ...
@overload
def tool(*, name: str = "", keys: Keys = no_keys, **facts: Any) -> Callable[[Callable[..., Any]], Bound]: ...


def tool(
    function: Callable[..., Any] | None = None, /, *, name: str = "", keys: Keys = no_keys, **facts: Any
) -> Bound | Callable[[Callable[..., Any]], Bound]:
    """Make a tool of a typed Python function: `@tool` or `@tool(effect="pure", concurrency=2)`.

    `facts` are fields of `Tool`. An argument annotated with `Context` is given the context and is no argument
    of the tool's. A plain function must not block: it runs on the event loop; let one that does be `async` and
    use a thread. Raises TypeError for arguments without a type."""
    if function is None:
        return lambda function: bind(function, name=name, keys=keys, **facts)
    return bind(function)


def bind(
    function: Callable[..., Any], *, name: str = "", keys: Keys = no_keys,
    given: Mapping[str, Callable[[Context], Any]] = MappingProxyType({}), **facts: Any,
) -> Bound:  # fmt: skip
    """`function` as a tool; see `tool`. `given`: arguments that are made of the context instead."""
    name = name or getattr(function, "__name__", "tool")
    wanted = [n for n, kind in inspect.get_annotations(function, eval_str=True).items() if kind is Context]
    struct = schema.arguments(function, name, [*wanted, *given])

    async def body(context: Context, arguments: dict[str, Any]) -> Any:
        try:
            filled = msgspec.convert(arguments, struct, strict=False)  # to JSON Schema, 3.0 is an integer
        except msgspec.ValidationError as error:  # what it can't say
            raise ToolError(f"{name}: {error}.", "Correct that argument.") from error
        values = {field: getattr(filled, field) for field in struct.__struct_fields__}
        values |= {field: make(context) for field, make in given.items()}
        result = function(**values, **dict.fromkeys(wanted, context))
        return await result if inspect.isawaitable(result) else result

    described = Tool(
        name=name,
        description=schema.summary(function),
        parameters=schema.of(struct, inspect.getdoc(function) or ""),
        digest=digest_of(function),
        provider="python",
    )
    return Bound(msgspec.structs.replace(described, **facts), body, keys)


def digest_of(function: Callable[..., Any]) -> str:
    """SHA-256 of the function's source; of its byte code where there is none."""
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except OSError:
        return hashlib.sha256(function.__code__.co_code).hexdigest()
