"""The second way: Landlock rules, a seccomp filter without sockets, rlimits, and as root a uid of its own."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import sys
import tempfile
from pathlib import Path

from aios.errors import AiosError, SandboxUnavailable
from aios.syscalls.tools import Profile
from aios.tools.sandbox import host
from aios.tools.sandbox.box import Box, start
from aios.tools.sandbox.filter import program
from aios.tools.sandbox.profile import Strength

ABI = 6
"""The first version with scopes: before it a box could signal whatever has its uid."""
CREATE_RULESET = 444
UNRELATED = 256
"""Processes of the same uid that may begin after a box: they count for its rlimit, so it is that much wider."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
TEMPORARY = ".tmp"


class Landlock:
    """Boxes for machines without user namespaces (Linux 6.12 or newer)."""

    name = "landlock"

    async def strength(self) -> Strength:
        mend = "Make bubblewrap usable, which isolates better."
        try:
            with tempfile.TemporaryDirectory(prefix="aios-box-") as folder:
                os.chmod(folder, 0o755)
                box = await self.open(Path(folder), Profile())
                await box.close()
        except AiosError as error:
            return Strength(name=self.name, usable=False, lacks=(error.what,), mend=error.mend)
        holds = ("files by Landlock rules", "no sockets", "no signals to others", "seccomp filter", "limits")
        lacks = (
            "namespaces: names and sizes of the host's files can be seen (not what is in them)",
            "a /tmp of its own: temporary files are in the work folder",
            "an exact limit of processes where it has the kernel's uid: they are counted 20 times a second",
            "an end of what a Python session leaves behind before the session's own end",
            "changing a file's mode, owner or times by its path (refused)",
        )
        return Strength(name=self.name, usable=True, holds=holds, lacks=lacks, mend=mend)

    async def open(self, work: Path, profile: Profile) -> Box:
        uid = host.own_uid(work)
        self._check(uid, work, profile)
        await asyncio.to_thread(host.hand_over, work, uid)
        return await start(Box, self._command(work, profile, uid), (), work, profile)

    def _check(self, uid: int, work: Path, profile: Profile) -> None:
        if (version := abi()) < ABI:
            what = f"Landlock ABI {version} is too old; it takes {ABI}." if version else "There is no Landlock."
            raise SandboxUnavailable(what, "Use Linux 6.12 or newer with landlock among its security modules.")
        if uid and shutil.which("setpriv") is None:
            raise SandboxUnavailable("There is no setpriv, so no uid can be dropped.", "Install util-linux.")
        prefix = host.python_prefix()
        for path in (prefix, *prefix.parents, *work.parents) if uid else ():
            if not path.stat().st_mode & 1:
                mend = "Run the kernel as a user of its own, or keep Python and the state folder outside it."
                raise SandboxUnavailable(f"Only its owner may enter {path}, a box may not.", mend)
        if profile.hosts:
            what = "Landlock can't give a box a way to some hosts alone."
            raise SandboxUnavailable(what, "Use bubblewrap, or allow it no hosts.")
        if any(mount.host != mount.inside for mount in profile.readable):
            raise SandboxUnavailable("Landlock can't show a folder under another name.", "Use bubblewrap.")

    def _command(self, work: Path, profile: Profile, uid: int) -> list[str]:
        prefix = host.python_prefix()
        temporary = f"{work}/{TEMPORARY}"
        readable = [str(prefix), "/usr", *host.SYSTEM_FOLDERS, *host.SYSTEM_FILES]
        readable += [mount.host for mount in profile.readable]
        try:
            seccomp = program(network_namespace=False)
        except (ImportError, RuntimeError) as error:
            mend = "Install the system library libseccomp (Debian: libseccomp2)."
            raise SandboxUnavailable(f"The seccomp filter can't be made: {error}.", mend) from error
        config = {
            "parent": os.getpid(),
            "rules": [*((p, False) for p in readable), *((p, True) for p in (str(work), *DEVICES))],
            "filter": seccomp.hex(),
            "streams": temporary,
            "temporary": [temporary],
            "limits": host.limits(profile, others=0 if uid else processes_of(os.getuid()) + UNRELATED),
        }
        made = host.environment(profile, prefix, str(work), temporary)
        variables = [f"{name}={value}" for name, value in made.items()]
        return [
            *host.drop(uid), "env", "-i", f"--chdir={work}", *variables,
            *host.zygote(host.python_in(prefix), config),
        ]  # fmt: skip


def abi() -> int:
    """Version of Landlock of this kernel; 0: it has none."""
    if sys.platform != "linux":
        return 0
    version = ctypes.c_ulong(1)  # the flag that asks for it
    found = ctypes.CDLL(None).syscall(ctypes.c_long(CREATE_RULESET), None, ctypes.c_ulong(0), version)
    return max(0, int(found))


def processes_of(uid: int) -> int:
    """Threads of this uid, which all count for its limit of processes."""
    count = 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and folder.stat().st_uid == uid:
                count += len(list((folder / "task").iterdir()))
        except OSError:
            continue  # it ended
    return count
