"""System calls by which a process in a box takes rights from itself. Standard library alone, as `inside.py`."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 36, 38


class Landlock:
    """Rules of the kernel for this process and all it starts (Landlock ABI 6 and newer)."""

    CREATE, ADD, RESTRICT = 444, 445, 446
    FILE_ACCESS = 0xFFFF  # ABI 5: execute … ioctl_dev
    READ = 0b1101  # execute, read a file, read a folder
    ONE_FILE = 0xC007  # what of all this applies to what is no folder
    TCP, SCOPES, SIGNALS = 0b11, 0b11, 0b10

    def __init__(self) -> None:
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall

    def restrict(self, rules: list[tuple[str, bool]]) -> None:
        """From now on only the paths of `rules` can be opened; those with True may be written too."""
        ruleset = self._create(self.FILE_ACCESS, self.TCP, self.SCOPES)
        for path, writable in rules:
            try:
                fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            access = self.FILE_ACCESS if writable else self.READ
            if not os.path.isdir(path):
                access &= self.ONE_FILE
            rule = struct.pack("=Qi", access, fd)
            self._call(self.ADD, ruleset, 1, rule, 0)
            os.close(fd)
        self._apply(ruleset)

    def protect_parent(self) -> None:
        """From now on only processes that begin here can be signalled."""
        self._apply(self._create(0, 0, self.SIGNALS))

    def _create(self, files: int, network: int, scopes: int) -> int:
        return self._call(self.CREATE, struct.pack("=QQQ", files, network, scopes), 24, 0)

    def _apply(self, ruleset: int) -> None:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        self._call(self.RESTRICT, ruleset, 0)
        os.close(ruleset)

    def _call(self, number: int, *arguments: Any) -> int:
        plain = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
        result = self._syscall(ctypes.c_long(number), *plain)
        if result < 0:
            raise OSError(ctypes.get_errno(), "Landlock")
        return result


def prctl(option: int, value: int, pointer: bytes | None = None) -> None:
    none = ctypes.c_ulong(0)
    if ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), pointer or none, none, none):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def seccomp(program: bytes) -> None:
    """Use a BPF program as filter (struct sock_fprog: its length in instructions of 8 bytes, and a pointer)."""
    code = ctypes.create_string_buffer(program)
    pointer = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    prctl(PR_SET_SECCOMP, 2, pointer)
