"""The seccomp filter of a box: system calls that nothing an agent runs has need of.

A deny list, as in Flatpak (`flatpak-run.c`, setup_seccomp) and in what Docker's default profile leaves out:
ways into kernel code that namespaces do not cover, ways to other processes, and memory that no other limit
counts. The namespaces and the lost capabilities are the wall; this makes it thicker.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Sequence
from typing import Any

DENIED = """
ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd
mount umount2 pivot_root chroot move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick
mount_setattr unshare setns open_by_handle_at name_to_handle_at fanotify_init quotactl quotactl_fd
keyctl add_key request_key bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff
settimeofday clock_settime clock_adjtime adjtimex stime sethostname setdomainname acct syslog vhangup
iopl ioperm modify_ldt vm86 vm86old nfsservctl lookup_dcookie uselib ustat sysfs _sysctl
move_pages migrate_pages mbind set_mempolicy memfd_create memfd_secret
shmget shmat shmctl semget semctl semop semtimedop msgget msgctl msgsnd msgrcv mq_open
""".split()  # noqa: SIM905

UNPATHED = """
chmod fchmodat fchmodat2 chown lchown fchownat setxattr lsetxattr removexattr lremovexattr
setxattrat removexattrat file_setattr utime utimes futimesat
""".split()  # noqa: SIM905
"""Changes of a file by its path that Landlock does not control."""

NEWER = {"setxattrat": 463, "removexattrat": 466, "open_tree_attr": 467, "file_setattr": 469}
"""Numbers, the same on every architecture, of calls that an older libseccomp has no names of."""

NESTING = ("unshare", "chroot", "memfd_create")
NAMESPACES = 0x7E020080  # every CLONE_NEW* flag
FAMILIES = (1, 2, 10)  # unix, inet, inet6
HIGHEST_FAMILY = 10
TTY_COMMANDS = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX


def program(*, network_namespace: bool, nested: bool = False) -> bytes:
    """The filter as a BPF program for this machine. `network_namespace` False: the box shares the host's
    network, so that no socket may be made, and the host's files, so that none may be changed by its path.
    `nested`: it is for a browser, which makes boxes of its own for what it runs.

    Raises ImportError without `pyseccomp`, RuntimeError without the libseccomp library."""
    import pyseccomp as seccomp  # pyright: ignore[reportMissingTypeStubs]

    module: Any = seccomp
    rules = module.SyscallFilter(module.ALLOW)
    refuse, unknown = module.ERRNO(errno.EPERM), module.ERRNO(errno.ENOSYS)

    def deny(names: Sequence[str], *conditions: Any) -> None:
        for name in names:
            known = module.resolve_syscall(module.system_arch(), name) != -1  # as `vm86` is not on 64 bits
            if known or name in NEWER:
                rules.add_rule(refuse, name if known else NEWER[name], *conditions)

    deny([name for name in DENIED if not (nested and name in NESTING)])
    arg = module.Arg
    rules.add_rule(unknown, "clone3")  # its flags are behind a pointer; libc falls back to clone
    for bit in range(0 if nested else 32):
        if NAMESPACES >> bit & 1:
            deny(["clone"], arg(0, module.MASKED_EQ, 1 << bit, 1 << bit))
    for command in TTY_COMMANDS:
        deny(["ioctl"], arg(1, module.MASKED_EQ, 0xFFFFFFFF, command))
    if network_namespace:
        for family in set(range(HIGHEST_FAMILY)) - set(FAMILIES):
            deny(["socket"], arg(0, module.EQ, family))
        deny(["socket"], arg(0, module.GT, HIGHEST_FAMILY))
    else:
        deny(["socket", *UNPATHED])
        deny(["utimensat"], arg(1, module.NE, 0))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
