"""A box: the host's end of one isolated zygote, and the Protocol of what makes boxes."""

from __future__ import annotations

import asyncio
import struct
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from aios.errors import SandboxUnavailable
from aios.syscalls.tools import Profile
from aios.tools.sandbox.profile import Outcome, Reason, Run, Strength
from aios.tools.sandbox.proxy import Proxy
from aios.tools.sandbox.watch import Watch

TICK_S = 0.05
START_S = 20.0
GRACE_S = 1.5
"""How much later than the zygote the host ends a run."""
HEADER = 4096
STREAMS = "/run/streams"
MEMORY = "/tmp", "/dev/shm", STREAMS


class Sandbox(Protocol):
    """A way to isolate."""

    name: str

    async def strength(self) -> Strength:
        """Whether it can be used here (it is tried, which takes some 100 ms), and what it holds."""
        ...

    async def open(self, work: Path, profile: Profile) -> Box:
        """A new box over the folder `work`, which it may write. Raises SandboxUnavailable."""
        ...


async def run(sandbox: Sandbox, run: Run, work: Path, profile: Profile) -> Outcome:
    """One run in a box of its own."""
    box = await sandbox.open(work, profile)
    try:
        return await box.run(run)
    finally:
        await box.close()


class Box:
    """One agent's box. It takes one run at a time; cancelling a run ends the box, and with it everything that
    runs in it. A box that ended (`closed`) is not used again."""

    memory: tuple[str, ...] = ()
    """Folders in memory that it may write."""

    def __init__(self, process: Process, work: Path, profile: Profile, proxy: Proxy | None = None) -> None:
        self._process, self._profile, self._proxy = process, profile, proxy
        assert process.stdin is not None
        assert process.stdout is not None
        self._out, self._in = process.stdin, process.stdout
        self._watch = Watch(process.pid, work, profile, self.memory)
        self._used = False
        self.closed = False

    async def run(self, run: Run) -> Outcome:
        """Run it within the limits of the box."""
        began, fresh, self._used = time.monotonic(), not self._used, True
        self._watch.begin(len(run.stdin))
        try:
            self._send(run)
            reply, out, err = await self._receive(self._profile.wall_s + GRACE_S)
            reason: Reason = reply.reason
            if self._watch.folder_due and not reason:
                reason = await asyncio.to_thread(self._watch.folder)
        except _OverLimit as over:
            await self.close()
            return Outcome(status=-9, reason=over.reason, seconds=time.monotonic() - began, fresh=fresh)
        except BaseException:
            await asyncio.shield(self.close())
            raise
        seconds, cap = time.monotonic() - began, self._profile.output_bytes
        if not reason and max(len(out), len(err)) > cap:
            reason = "output"
        return Outcome(
            status=reply.status, stdout=out[:cap], stderr=err[:cap], reason=reason, seconds=seconds,
            fresh=fresh or (run.session and reply.fresh),
        )  # fmt: skip

    async def close(self) -> None:
        """End everything in it."""
        self.closed = True
        self._out.close()
        if self._process.returncode is None:
            await self._end()
        await self._process.wait()
        if self._proxy is not None:
            proxy, self._proxy = self._proxy, None
            await proxy.close()

    async def _end(self) -> None:
        _signal(self._process.terminate)
        try:
            async with asyncio.timeout(GRACE_S):
                await self._process.wait()
        except TimeoutError:
            _signal(self._process.kill)

    async def ready(self) -> None:
        """Wait until it has started. Raises SandboxUnavailable with what it complained of."""
        try:
            await self._receive(START_S)
        except _OverLimit as over:
            await self.close()
            assert self._process.stderr is not None
            said = (await self._process.stderr.read()).decode(errors="replace").strip()[-500:]
            raise SandboxUnavailable(
                f"The box did not start ({said or over.reason}).", "See what `aios doctor` says of the sandbox."
            ) from over
        except BaseException:
            await asyncio.shield(self.close())
            raise

    def _send(self, run: Run) -> None:
        code = run.code.encode()
        header = {
            "argv": run.argv, "session": run.session, "cpu_s": self._profile.cpu_s,
            "wall_s": self._profile.wall_s, "output_bytes": self._profile.output_bytes,
            "sizes": [len(code), len(run.stdin)],
        }  # fmt: skip
        text = msgspec.json.encode(header)
        self._out.write(struct.pack(">I", len(text)) + text + code + run.stdin)

    async def _receive(self, wall_s: float) -> tuple[_Reply, bytes, bytes]:
        """One frame, while watching the limits. What is in it is not trusted."""
        until = time.monotonic() + wall_s
        try:
            size = struct.unpack(">I", await self._read(4, until, 4))[0]
            reply = msgspec.json.decode(await self._read(size, until, HEADER), type=_Reply)
            out, err = [await self._read(n, until, self._profile.output_bytes + 1) for n in reply.sizes]
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, RecursionError) as error:
            raise _OverLimit("lost") from error
        return reply, out, err

    async def _read(self, size: int, until: float, most: int) -> bytes:
        if size > most:
            raise ValueError(size)
        while True:
            try:
                async with asyncio.timeout(TICK_S):
                    return await self._in.readexactly(size)
            except TimeoutError:
                reason = self._watch.processes()
                if not reason and self._watch.folder_due:
                    reason = await asyncio.to_thread(self._watch.folder)
                if not reason and time.monotonic() > until:
                    reason = "wall"
                if reason:
                    raise _OverLimit(reason) from None


class _Reply(msgspec.Struct):
    """What a zygote says of a run. `sizes`: bytes of both outputs, which follow."""

    status: int
    sizes: tuple[int, int]
    reason: Literal["", "wall", "processes", "output"] = ""
    fresh: bool = False


class _OverLimit(Exception):
    def __init__(self, reason: Reason) -> None:
        self.reason: Reason = reason


class HardBox(Box):
    """A box whose processes end with the one that the host started, and that has file systems of its own."""

    memory = MEMORY

    async def _end(self) -> None:
        _signal(self._process.kill)


def _signal(send: Callable[[], None]) -> None:
    with suppress(ProcessLookupError):
        send()


async def start(
    kind: type[Box], argv: Sequence[str], fds: Sequence[int], work: Path, profile: Profile,
    proxy: Proxy | None = None,
) -> Box:  # fmt: skip
    """Start a zygote as a box, whose `proxy` ends with it, and wait until it is ready. Raises
    SandboxUnavailable."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=PIPE, stdout=PIPE, stderr=PIPE, pass_fds=fds, cwd="/", env={}
        )
    except OSError as error:
        if proxy is not None:
            await proxy.close()
        raise SandboxUnavailable(f"{argv[0]} can't be started: {error}.", "See `aios doctor`.") from error
    box = kind(process, work, profile, proxy)
    await box.ready()
    return box
