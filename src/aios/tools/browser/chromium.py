"""Where Chromium is, and the box that it runs in.

The box is that of other foreign programs (`sandbox/bubblewrap.py`): namespaces of its own, a seccomp filter, as
root a uid of its own, files in memory alone, and no network but the proxy, so that whatever a page does
(redirects, subresources, web sockets, WebRTC, names that resolve to this machine) ends at the list of allowed
hosts. Inside, Chromium makes its own sandbox around each page where the machine lets it.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
from asyncio.subprocess import DEVNULL, PIPE
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from aios.errors import SandboxUnavailable, ToolUnavailable
from aios.syscalls.tools import Profile
from aios.tools.sandbox import host
from aios.tools.sandbox.bubblewrap import (
    GROUP,
    PASSWD,
    PROXY,
    PYTHON,
    Bubblewrap,
    binaries,
    stage,
    system_mounts,
)
from aios.tools.sandbox.filter import program

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MODULES = ("forward", "become")
ETC = ("/etc/fonts", "/etc/ssl/certs", "/etc/chromium", "/etc/chromium.d", "/etc/nsswitch.conf")
TMP = str(512 << 20)
"""Bytes of each folder in memory: the profile is in one, what its processes share in the other."""
OWN_MB = 1024
"""Data of a process before it has a page: its heaps, mostly not yet used (measured: 700)."""
MEND = "pip install 'aios[browser]'"


def locate(path: str = "") -> Path:
    """The Chromium program: `path`, or the first in PATH. Raises ToolUnavailable if it or Playwright is not
    there."""
    if find_spec("playwright") is None:
        raise ToolUnavailable("The browser needs the extra 'browser' (Playwright).", f"{MEND}.")
    found = shutil.which(path) if path else next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        what = f"There is no program {path!r}." if path else "There is no Chromium."
        mend = "Install one (Debian: apt-get install chromium), or set path of [tools.browser]."
        raise ToolUnavailable(what, mend)
    return Path(found)


async def examine(path: str = "") -> str:
    """For `aios doctor`: what would be used. Raises ToolUnavailable if it can't."""
    program = await asyncio.to_thread(locate, path)
    await bubblewrap()
    asked = await asyncio.create_subprocess_exec(program, "--version", stdout=PIPE, stderr=DEVNULL)
    said = (await asked.communicate())[0].decode("utf-8", "replace").strip()
    if asked.returncode:
        raise ToolUnavailable(f"{program} does not run (status {asked.returncode}).", "Install it again.")
    return f"{said} ({program}), Playwright {version('playwright')}, in a box of bubblewrap"


async def bubblewrap() -> Path:
    """The bubblewrap that works here. Raises SandboxUnavailable: there is no browser without a box."""
    why = "There is no bubblewrap"
    for binary in binaries():
        strength = await Bubblewrap(binary).strength()
        if strength.usable:
            return binary
        why = " ".join(strength.lacks)
    raise SandboxUnavailable(
        f"The browser needs bubblewrap: {why}.", "See what `aios doctor` says of the sandbox."
    )


def write_launcher(
    folder: Path, chromium: Path, binary: Path, proxy: Path, uid: int, memory_mb: int, *, nested: bool
) -> Path:  # fmt: skip
    """A program in `folder` that starts Chromium in a box, with the arguments that it is given. Blocks.

    `memory_mb`: what one process may have of data, beside its own. `nested`: Chromium makes its own sandbox in
    it. File descriptors 3 and 4, by which Playwright speaks to
    Chromium, are left as they are; 5 to 7 hold contents for bubblewrap; `pid` in `folder` will hold its
    number."""
    contents = {"filter": program(network_namespace=True, nested=nested), "passwd": PASSWD, "group": GROUP}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    quoted = {name: shlex.quote(str(folder / name)) for name in (*contents, "pid")}
    command = shlex.join(_command(chromium, binary, proxy, uid, memory_mb, nested))
    launcher = folder / "chromium"
    launcher.write_text(
        f"#!/bin/sh\necho $$ > {quoted['pid']}\n"
        f'exec {command} "$@" 5< {quoted["filter"]} 6< {quoted["passwd"]} 7< {quoted["group"]}\n'
    )
    launcher.chmod(0o700)
    return launcher


def _command(
    chromium: Path, binary: Path, proxy: Path, uid: int, memory_mb: int, nested: bool
) -> list[str]:  # fmt: skip
    prefix = host.python_prefix()
    inside = prefix if prefix.is_relative_to("/usr") else Path(PYTHON)
    home = chromium.resolve().parent
    reach = {"python": prefix, "proxy": proxy.parent}
    if foreign := not home.is_relative_to("/usr"):
        reach["chromium"] = home
    if uid:
        outer, inner, reach = stage(binary, reach)
        outer += ["--", *host.drop(uid), inner]
    else:
        outer = [str(binary)]
    mounts = [*system_mounts(), "--ro-bind-data", "6", "/etc/passwd", "--ro-bind-data", "7", "/etc/group"]
    for path in ETC:
        mounts += ["--ro-bind-try", path, path]
    if inside != prefix:
        mounts += ["--ro-bind", str(reach["python"]), PYTHON]
    if foreign:
        mounts += ["--ro-bind", str(reach["chromium"]), str(home)]
    mounts += ["--proc", "/proc", "--dev", "/dev", "--ro-bind", str(reach["proxy"]), PROXY]
    for path in ("/dev/shm", "/tmp"):
        mounts += ["--size", TMP, "--perms", "1777", "--tmpfs", path]
    mounts += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
    for name, value in host.environment(Profile(), inside, "/tmp", "/tmp").items():
        mounts += ["--setenv", name, value]
    program = str(chromium if not foreign else home / chromium.resolve().name)
    # All together are looked at each second: until then it is this that holds one of them.
    limits = {"RLIMIT_DATA": (memory_mb + OWN_MB) << 20}
    config = {"command": [program], "proxy": f"{PROXY}/{proxy.name}", "limits": limits}
    return [
        *outer, "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
        "--unshare-cgroup-try", *(() if nested else ("--disable-userns",)), "--die-with-parent",
        "--new-session", "--clearenv", "--hostname", "box", "--uid", "1000", "--gid", "1000", "--cap-drop",
        "ALL", "--seccomp", "5", *mounts, "--",
        *host.zygote(host.python_in(inside), config, MODULES),
    ]  # fmt: skip


def pid_of(folder: Path) -> int:
    """The process that the launcher in `folder` became; 0: it has not run."""
    try:
        return int((folder / "pid").read_text())
    except (OSError, ValueError):
        return 0


def own_uid(folder: Path) -> int:
    """As whom it runs; 0: as this process. Raises SandboxUnavailable."""
    uid = host.own_uid(folder)
    if uid and shutil.which("setpriv") is None:
        raise SandboxUnavailable("There is no setpriv, so no uid can be dropped.", "Install util-linux.")
    return uid
