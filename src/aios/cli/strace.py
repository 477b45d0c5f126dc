"""`aios strace`: a process's syscalls as they happen."""

from __future__ import annotations

import time
from pathlib import Path

import click

from aios.cli import render
from aios.cli.daemon import connect, json_option, state_option
from aios.events import (
    AnyEvent,
    ContextMoved,
    Dispatched,
    Finished,
    FirstToken,
    Interrupted,
    KernelChanged,
    Lost,
    ProcessChanged,
    Promoted,
    Queued,
    SyscallFinished,
    SyscallStarted,
    WindowChanged,
)


@click.command()
@click.argument("pid", type=int)
@json_option
@state_option
def strace(pid: int, as_json: bool, state_dir: Path | None) -> None:
    """Follow the syscalls of process PID with their timings, until Ctrl-C."""
    with connect(state_dir) as client:
        for event in client.events(pid):
            if as_json:
                import msgspec

                click.echo(msgspec.json.encode(event))
            else:
                click.echo(line(event))
            if isinstance(event, KernelChanged) and event.state == "closed":
                return


def line(event: AnyEvent) -> str:
    """One line for an event."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.t)) + f".{int(event.t * 1000) % 1000:03d}"
    return f"{clock} {f'#{event.call}' if event.call else '':>6} {_words(event)}"


def _words(event: AnyEvent) -> str:
    match event:
        case SyscallStarted():
            return f"{event.kind}({event.detail})"
        case SyscallFinished():
            tokens = (
                f"prompt {event.prompt_tokens} (cached {event.cached_tokens}), out {event.completion_tokens}"
            )
            result, took = event.error or "ok", render.seconds(event.seconds)
            return f"{event.kind} = {result}  {took}, queued {render.seconds(event.queue_s)}, {tokens}"
        case Queued():
            return f"  queued on {event.core}, {event.waiting} waiting"
        case Dispatched():
            return (
                f"  slot {event.slot} of {event.core} after {render.seconds(event.waited_s)}, "
                f"{event.cached} of {event.tokens} tokens have their KV"
            )
        case FirstToken():
            return f"  restored after {event.generated} tokens" if event.generated else "  first token"
        case Interrupted():
            return f"  interrupted ({event.why}) after {event.generated} tokens"
        case Finished():
            return f"  left slot {event.slot}: {event.reason}, {event.generated} tokens"
        case ContextMoved():
            return (
                f"  context {event.context}: {event.where}, {event.tokens} tokens, {render.size(event.bytes)}"
            )
        case WindowChanged(refused=True):
            tokens = f"{event.tokens} tokens, " if event.tokens else ""
            return f"  window of {event.window} outgrown ({event.policy}): {tokens}refused"
        case WindowChanged():
            return (
                f"  window of {event.window} outgrown ({event.policy}): {event.left_out} messages left out, "
                f"{event.kept} kept, {event.tokens} tokens"
            )
        case Promoted():
            return f"  waited {render.seconds(event.waited_s)}: raised ({event.raised})"
        case ProcessChanged():
            return f"process {event.state} {event.reason}"
        case Lost():
            return f"({event.count} events lost)"
        case _:
            return str(event)
