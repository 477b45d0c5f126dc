"""What runs inside a box: it forks a child for each run and reports how that ended.

Given as text to a `python -I -S` (`host.py`), it imports the standard library, `confine.py` and `runs.py`
alone. Frames on standard input and output: 4 bytes length of a JSON header (big endian), the header, and two
blobs as long as its `sizes`. Forking a warm interpreter costs 2 ms where starting one costs 30.

The child may be anything, so the host trusts nothing here but for its speed: the limits that count are kept by
the host (`box.py`), the kernel (rlimits) and the namespaces.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from aios.tools.sandbox import forward
from aios.tools.sandbox.confine import (
    PR_SET_DUMPABLE,
    PR_SET_PDEATHSIG,
    PR_SET_SUBREAPER,
    Landlock,
    prctl,
    seccomp,
)
from aios.tools.sandbox.runs import Child, Session, kill, work

WARM = ("csv", "datetime", "decimal", "math", "pathlib", "random", "re", "sqlite3", "statistics", "threading")


class Zygote:
    """Serves the host until it hangs up. `landlock`: there is no process id namespace. `streams`: a folder for
    the standard streams of runs, `temporary`: those for temporary files. `proxy`: the socket of the host's
    proxy; "": there is no network."""

    def __init__(self, landlock: Landlock | None, streams: str, temporary: list[str], proxy: str = "") -> None:
        self._landlock, self._streams, self._temporary = landlock, streams, temporary
        self._proxy, self._near = proxy, forward.listener() if proxy else None
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
            if self._near:
                forward.start(self._near, self._proxy)
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
        else:
            with suppress(OSError):  # where there is Landlock too, the first process of the box is out of reach
                Landlock().protect_parent()

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
        todo, folders = list(self._temporary), list[str]()
        while todo:  # not by `os.walk`, which too many folders within folders end
            with suppress(OSError), os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                        folders.append(entry.path)
                        continue
                    with suppress(OSError):
                        os.unlink(entry.path)
        for folder in reversed(folders):
            with suppress(OSError):
                os.rmdir(folder)

    def _reply(self, header: dict[str, Any], out: bytes, err: bytes) -> None:
        text = json.dumps({**header, "sizes": [len(out), len(err)]}).encode()
        self._out.write(struct.pack(">I", len(text)) + text + out + err)
        self._out.flush()


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
    Zygote(landlock, config["streams"], config["temporary"], config.get("proxy", "")).serve()
    kill(-1)
