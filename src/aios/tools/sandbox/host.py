"""What both ways to isolate need of the host: a Python for the box, its own uid, its limits."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import zlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from aios.syscalls.tools import Profile
from aios.tools.sandbox.forward import PORT
from aios.tools.sandbox.watch import SPARE

MODULES = ("confine", "forward", "runs", "inside")
BOOT = """
import json, sys
modules, config = json.loads(sys.argv[1])
package = sys.modules["aios.tools.sandbox"] = type(sys)("aios.tools.sandbox")
for name, source in modules:
    module = sys.modules[name] = type(sys)(name)
    setattr(package, name.rpartition(".")[2], module)
    exec(compile(source, name, "exec"), module.__dict__)
module.main(config)
"""
FIRST_UID = 0x2AAA0000
UIDS = 1 << 16
SIGNALS = 1024
"""Signals that wait, and timers, which the kernel counts with them."""
SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")


def zygote(python: str, config: dict[str, Any], modules: Sequence[str] = MODULES) -> list[str]:
    """The command that calls `main` of the last of `modules` in a box."""
    folder = files("aios.tools.sandbox")
    sources = [
        (f"aios.tools.sandbox.{name}", folder.joinpath(f"{name}.py").read_text("utf-8")) for name in modules
    ]
    return [python, "-I", "-S", "-c", BOOT, json.dumps([sources, config])]


def python_prefix() -> Path:
    """Where the running Python is installed (not its virtual environment)."""
    return Path(sys.base_prefix).resolve()


def python_in(prefix: Path | str) -> str:
    return f"{prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"


def environment(profile: Profile, prefix: Path | str, home: str, temporary: str) -> dict[str, str]:
    """All variables of a box."""
    made = {
        "PATH": f"{prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": home, "TMPDIR": temporary, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    if profile.hosts:
        proxy = f"http://127.0.0.1:{PORT}"
        made |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy)
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        made["LD_LIBRARY_PATH"] = f"{prefix}/lib"
    return made | profile.env


def limits(profile: Profile, *, others: int = 0) -> dict[str, int]:
    """rlimits of every process in a box. `others`: processes outside it that count with them."""
    return {
        "RLIMIT_AS": profile.memory_mb << 20,
        "RLIMIT_FSIZE": profile.disk_mb << 20,
        "RLIMIT_NOFILE": profile.open_files,
        "RLIMIT_NPROC": profile.processes + SPARE + others,
        "RLIMIT_CORE": 0,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_SIGPENDING": SIGNALS,
    }


def own_uid(work: Path) -> int:
    """The uid of boxes over `work` (an absolute path), always the same; 0 if this process may not choose.

    A process of root's in a box would be root outside wherever the box has a hole."""
    return FIRST_UID + zlib.crc32(os.fsencode(work)) % UIDS if os.geteuid() == 0 else 0


def hand_over(work: Path, uid: int) -> None:
    """Make `uid` the owner of `work` and all in it, if it is not yet. Blocks; for a thread."""
    if not uid or work.stat().st_uid == uid:
        return
    for folder, folders, names in os.walk(work):
        for name in (*folders, *names):
            os.chown(os.path.join(folder, name), uid, uid, follow_symlinks=False)
    os.chown(work, uid, uid)


def drop(uid: int) -> list[str]:
    """The start of a command that goes on as `uid`."""
    # Not `user=` of subprocess, which uvloop does not have.
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all"] if uid else []
