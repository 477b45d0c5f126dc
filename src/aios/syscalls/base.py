"""What all syscalls are made of."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar, get_args

import msgspec

SchedulingClass = Literal["interactive", "normal", "batch", "idle"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Whole = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
"""A number that JSON and the stores can hold."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all messages: immutable, keyword-only, unset fields left out on the wire."""


class Call(Record, Generic[R_co], frozen=True, tag_field="call"):
    """Base of all syscalls. `R_co` is what it is answered by; on the wire `call` says which it is."""


class Trap(Protocol):
    """Makes syscalls in the name of one process."""

    async def __call__(self, call: Call[R], /) -> R: ...


def answer_of(call: type[Call[Any]]) -> Any:
    """The type that a kind of syscall is answered by: `Completion` for `Generate`."""
    (base,) = [b for b in getattr(call, "__orig_bases__", ()) if getattr(b, "__origin__", None) is Call]
    return get_args(base)[0]


def kind(call: Call[Any]) -> str:
    """The syscall's kind, `llm.generate` for a Generate: the tag it has on the wire."""
    return str(type(call).__struct_config__.tag)
