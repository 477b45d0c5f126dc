"""Runs inside a box: a child for one program or piece of Python, and one that is a session of Python.

Standard library alone, as `inside.py`, whose zygote makes them.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import resource
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from itertools import pairwise
from typing import Any, BinaryIO

TICK_S = 0.1
GRACE_S = 1.0


class Child:
    """A forked process. Its streams are files without a name, so that nobody must pump them."""

    def __init__(
        self,
        do: Callable[[], int],
        become: Callable[[], None],
        streams: str,
        stdin: bytes = b"",
        keep: tuple[int, ...] = (),
    ) -> None:
        self.ended = False
        self._out, self._err = nameless(streams), nameless(streams)
        source = nameless(streams, stdin)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                for to, file in enumerate((source, self._out, self._err)):
                    os.dup2(file.fileno(), to)
                for low, high in pairwise((2, *sorted(keep), resource.getrlimit(resource.RLIMIT_NOFILE)[0])):
                    os.closerange(low + 1, high)  # the zygote's own
                become()
                leave(do)
        finally:
            source.close()
        self._exited = os.pidfd_open(self.pid)

    def watch(self, until: float, cap: int) -> tuple[int, str]:
        """Wait until the run is over, or over a limit: (exit status, reason)."""
        poll = select.poll()
        poll.register(self._done(), select.POLLIN)
        while not poll.poll(max(0.0, min(TICK_S, until - time.monotonic())) * 1000):
            if time.monotonic() >= until:
                return self._stop(poll), "wall"
            if max(os.fstat(file.fileno()).st_size for file in (self._out, self._err)) > cap:
                return self.kill(), "output"
        return self._finish(), ""

    def output(self, cap: int) -> tuple[bytes, bytes]:
        """What it wrote, which is forgotten."""
        found: list[bytes] = []
        for file in (self._out, self._err):
            found.append(os.pread(file.fileno(), cap + 1, 0))
            os.ftruncate(file.fileno(), 0)
        return found[0], found[1]

    def _done(self) -> int:
        """Readable once the run is over."""
        return self._exited

    def _finish(self) -> int:
        return self.kill()

    def _stop(self, poll: select.poll) -> int:
        return self.kill()

    def kill(self) -> int:
        kill(self.pid)
        return self.close()

    def close(self) -> int:
        """Take its exit status, for which it must have ended."""
        self.ended = True
        os.close(self._exited)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Session(Child):
    """A child that takes one piece of code after the other and keeps its globals. `ran`: the newest run was
    in it."""

    def __init__(self, become: Callable[[], None], streams: str) -> None:
        theirs, self._code = os.pipe()
        self._answer, done = os.pipe()
        super().__init__(lambda: self._loop(theirs, done), become, streams, keep=(theirs, done))
        os.close(theirs)
        os.close(done)

    def send(self, code: str, cpu_s: float) -> None:
        text = json.dumps([code, cpu_s]).encode()
        self.ran = True
        with os.fdopen(os.dup(self._code), "wb") as file:
            file.write(struct.pack(">I", len(text)) + text)

    def _loop(self, codes: int, done: int) -> int:
        names: dict[str, Any] = {"__name__": "__main__"}
        with os.fdopen(codes, "rb") as file:
            while head := file.read(4):
                code, cpu_s = json.loads(file.read(struct.unpack(">I", head)[0]))
                used = resource.getrusage(resource.RUSAGE_SELF)
                limit_cpu(cpu_s + used.ru_utime + used.ru_stime)
                status = execute(code, names)
                sys.stdout.flush()
                sys.stderr.flush()
                os.write(done, bytes([status & 255]))
        return 0

    def _done(self) -> int:
        return self._answer

    def _finish(self) -> int:
        answer = os.read(self._answer, 1)
        return answer[0] if answer else self.kill()

    def _stop(self, poll: select.poll) -> int:
        os.kill(self.pid, signal.SIGINT)  # the globals survive a KeyboardInterrupt
        return self._finish() if poll.poll(GRACE_S * 1000) else self.kill()

    def close(self) -> int:
        os.close(self._code)
        os.close(self._answer)
        return super().close()


def work(header: dict[str, Any], code: str) -> int:
    """In the child: the program or the Python code."""
    limit_cpu(header["cpu_s"])
    if header["argv"]:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # as a program expects them, not as Python sets them
        try:
            os.execvp(header["argv"][0], header["argv"])
        except OSError as error:
            sys.stderr.write(f"{header['argv'][0]}: {error.strerror}\n")
            return 127
    return execute(code, {"__name__": "__main__"})


def execute(code: str, names: dict[str, Any]) -> int:
    """Run Python as a notebook does: the value of a last expression is shown. Returns the exit status."""
    try:
        linecache.cache["<code>"] = (len(code), None, code.splitlines(keepends=True), "<code>")
        tree = ast.parse(code, "<code>")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "<code>", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<code>", "eval"), names)
            if value is not None:
                sys.stdout.write(f"{value!r}\n")
        return 0
    except SystemExit as ending:
        if isinstance(ending.code, str):
            sys.stderr.write(f"{ending.code}\n")
        return ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException as error:  # noqa: BLE001 - whatever the agent's code raised is its answer
        here = error.__traceback__
        traceback.print_exception(error.with_traceback(here.tb_next if here else None))
        return 1


def leave(do: Callable[[], int]) -> None:
    """In the child: do it and exit."""
    status = 1
    try:
        status = do()
        if threading := sys.modules.get("threading"):
            for thread in threading.enumerate():
                if not thread.daemon and thread is not threading.main_thread():
                    thread.join()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status & 255)


def nameless(folder: str, content: bytes = b"") -> BinaryIO:
    """An open file without a name, to be appended to, or read if it has content."""
    fd = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
    file = os.fdopen(fd, "r+b", buffering=0)
    while content:
        content = content[os.write(fd, content) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return file


def kill(pid: int) -> bool:
    """Whether there was anybody to kill; -1 is all but this process."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def limit_cpu(seconds: float) -> None:
    """The soft limit alone, so that a session can be given more for its next run. The host counts as well."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, resource.RLIM_INFINITY))
