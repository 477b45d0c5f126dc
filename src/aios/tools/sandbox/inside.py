"""What runs inside a box: it forks a child for each run and reports how that ended.

Given as text to a `python -I -S` (`host.py`), it imports the standard library and `confine.py` alone. Frames on
standard input and output: 4 bytes length of a JSON header (big endian), the header, and two blobs as long as
its `sizes`. Forking a warm interpreter costs 2 ms where starting one costs 30.

The child may be anything, so the host trusts nothing here but for its speed: the limits that count are kept by
the host (`box.py`), the kernel (rlimits) and the namespaces.
"""

from __future__ import annotations

import ast
import gc
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
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from typing import Any, BinaryIO

from aios.tools.sandbox.confine import (
    PR_SET_DUMPABLE,
    PR_SET_PDEATHSIG,
    PR_SET_SUBREAPER,
    Landlock,
    prctl,
    seccomp,
)

WARM = ("csv", "datetime", "decimal", "math", "pathlib", "random", "re", "sqlite3", "statistics", "threading")
TICK_S = 0.1
GRACE_S = 1.0


class Zygote:
    """Serves the host until it hangs up. `landlock`: there is no process id namespace. `streams`: a folder for
    the standard streams of runs, `temporary`: those for temporary files."""

    def __init__(self, landlock: Landlock | None, streams: str, temporary: list[str]) -> None:
        self._landlock, self._streams, self._temporary = landlock, streams, temporary
        self._in, self._out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        self._session: Session | None = None

    def serve(self) -> None:
        self._reply({"status": 0}, b"", b"")
        warm: Iterable[str] = WARM
        while head := self._in.read(4):
            header = json.loads(self._in.read(struct.unpack(">I", head)[0]))
            code, stdin = (self._in.read(size) for size in header["sizes"])
            self._reply(*self._run(header, code.decode(), stdin))
            for name in warm:  # while the host is busy with the first answer
                __import__(name)
            warm = ()
            gc.freeze()

    def _run(self, header: dict[str, Any], code: str, stdin: bytes) -> tuple[dict[str, Any], bytes, bytes]:
        fresh = self._session is None
        try:
            if not header["session"]:
                run = Child(lambda: work(header, code), self._become, self._streams, stdin)
            else:
                run = self._session = self._session or Session(self._become, self._streams)
                run.send(code, header["cpu_s"])
        except OSError as error:  # what earlier runs left behind takes all there is
            self._sweep(all=True)
            return {"status": 1, "reason": "processes"}, b"", f"can't start: {error}\n".encode()
        status, reason = run.watch(time.monotonic() + header["wall_s"], header["output_bytes"])
        self._sweep()
        out, err = run.output(header["output_bytes"])
        return {"status": status, "reason": reason, "fresh": fresh}, out, err

    def _become(self) -> None:
        """In the child, before anything of the agent's."""
        os.setsid()
        prctl(PR_SET_DUMPABLE, 1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._landlock:
            self._landlock.protect_parent()
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def _sweep(self, *, all: bool = False) -> None:
        """Kill what the run left behind and reap it, but not (unless `all`) the session; where there is none,
        remove temporary files: they are shared by no runs but those of one session."""
        session, self._session = self._session, None
        if session and not session.ended:
            if not all and self._spare(session):
                self._session = session
            else:
                session.kill()
        if self._session is None:
            kill(-1)
        while (pid := exited()) is not None:
            if self._session and pid == self._session.pid:
                self._session.close()
                self._session = None
            else:
                os.waitpid(pid, 0)
        if self._session is None:
            self._clear()

    def _spare(self, session: Session) -> bool:
        """Kill all but the session; False if that can't be done."""
        ran, session.ran = session.ran, False
        if self._landlock:
            return ran  # nothing tells its children from it: they end with it
        return kill_all_but({1, os.getpid(), session.pid})

    def _clear(self) -> None:
        for folder in self._temporary:
            for path, folders, names in os.walk(folder, topdown=False):
                for name in names + folders:
                    with suppress(OSError):
                        whole = os.path.join(path, name)
                        (os.rmdir if name in folders and not os.path.islink(whole) else os.unlink)(whole)

    def _reply(self, header: dict[str, Any], out: bytes, err: bytes) -> None:
        text = json.dumps({**header, "sizes": [len(out), len(err)]}).encode()
        self._out.write(struct.pack(">I", len(text)) + text + out + err)
        self._out.flush()


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


def kill_all_but(kept: set[int]) -> bool:
    """Kill until nobody else is there; False if they come quicker than they go."""
    for _ in range(20):
        others = [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in kept]
        alive = [pid for pid in others if state(pid) not in "ZX"]
        if not alive:
            return True
        for pid in alive:
            kill(pid)
    return False


def state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def exited() -> int | None:
    """A child that ended and was not waited for."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def limit_cpu(seconds: float) -> None:
    """The soft limit alone, so that a session can be given more for its next run. The host counts as well."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, resource.RLIM_INFINITY))


def alone(config: dict[str, Any]) -> bool:
    """Whether "kill all" would stay within the box: asked before it may ever be said."""
    if "rules" not in config:
        return sum(name.isdigit() for name in os.listdir("/proc")) == 2  # the init of the box, and this
    try:
        os.kill(config["parent"], 0)
    except PermissionError:
        return True
    return False


def main(config: dict[str, Any]) -> None:
    """`limits`: rlimits by name. `rules` and `filter` (hex) are set where nothing outside sets them."""
    landlock: Landlock | None = None
    if "rules" in config:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != config["parent"]:
            return
        prctl(PR_SET_SUBREAPER, 1)
        landlock = Landlock()
        landlock.restrict([(path, writable) for path, writable in config["rules"]])
        seccomp(bytes.fromhex(config["filter"]))

        def end(*_: Any) -> None:
            kill(-1)
            os._exit(0)

        signal.signal(signal.SIGTERM, end)
    if not alone(config):
        raise SystemExit("The box would see, or could signal, processes of the host.")
    for name, most in config["limits"].items():
        resource.setrlimit(getattr(resource, name), (most, most))
    os.umask(0o077)
    os.makedirs(config["streams"], exist_ok=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    prctl(PR_SET_DUMPABLE, 0)  # the children share its uid: without this they could read and write it
    Zygote(landlock, config["streams"], config["temporary"]).serve()
    kill(-1)
