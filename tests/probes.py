"""Ways out of a box, and ways to use more than it was given.

Each `Probe` is Python that runs in a box: it prints ESCAPED if it got what it must not, and HELD at its end.
`python -m tests.probes WAY FOLDER` runs all of them in one kind of box and prints the outcomes as JSON, so that
another uid than that of the tests can do it.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyseccomp

from aios.syscalls.tools import Profile
from aios.tools.sandbox.box import Sandbox
from aios.tools.sandbox.bubblewrap import Bubblewrap, binaries
from aios.tools.sandbox.landlock import Landlock
from aios.tools.sandbox.profile import Run

PROFILE = Profile(
    wall_s=2.0, cpu_s=0.6, memory_mb=128, processes=16, open_files=64, disk_mb=8, files=300, tmp_mb=4,
    output_bytes=100_000,
)  # fmt: skip
CALLS = (  # noqa: SIM905
    "ptrace process_vm_readv mount umount2 pivot_root chroot unshare setns keyctl add_key bpf io_uring_setup "
    "perf_event_open userfaultfd clock_settime settimeofday reboot init_module kexec_load swapon sethostname "
    "memfd_create memfd_secret shmget open_by_handle_at name_to_handle_at clone3 landlock_create_ruleset "
    "pidfd_getfd pidfd_send_signal rt_sigqueueinfo semget semctl semop msgget msgctl msgsnd fsopen open_tree "
    "move_mount syslog acct quotactl kcmp process_madvise timer_create timer_settime fanotify_init"
).split()
PRELUDE = """
import ctypes, json, os, resource, signal, socket, subprocess, sys, time
FACTS = json.loads({facts!r}); NR = json.loads({numbers!r})
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(NR[name]), *plain)
    return result if result >= 0 else -ctypes.get_errno()
def status():
    if FACTS['way'] == 'landlock': return "NoNewPrivs:\\t1 CapEff:\\t" + '0' * 16  # there is no /proc
    return open('/proc/self/status').read()
def escaped(what): print("ESCAPED", what, flush=True)
def must_fail(work, *arguments):
    try: escaped(work(*arguments))
    except (OSError, subprocess.SubprocessError, ValueError): pass
def must_refuse(name, *arguments):
    result = call(name, *arguments)
    if result not in (-1, -38): escaped(f"{{name}}: {{result}}")  # EPERM, ENOSYS: the filter
"""


@dataclass(frozen=True)
class Probe:
    """`ends`: for what reason the box must end it ("": it runs to its end, within its limits). `outside`: it
    escapes when it runs without a box, and does no harm."""

    code: str
    ends: tuple[str, ...] = ("",)
    outside: bool = False


PROBES = {
    # -- reading
    "read the shadow file": Probe("must_fail(lambda: open('/etc/shadow').read())", outside=True),
    "read root's home": Probe("must_fail(os.listdir, '/root')", outside=True),
    "read the homes": Probe("must_fail(os.listdir, '/home')", outside=True),
    "read a secret in the host's tmp": Probe("must_fail(lambda: open(FACTS['secret']).read())", outside=True),
    "read another agent's folder": Probe("must_fail(lambda: open(FACTS['other'] + '/f').read())", outside=True),
    "list another agent's folder": Probe("must_fail(os.listdir, FACTS['other'])", outside=True),
    "secrets in the environment": Probe("'AIOS_PROBE' in os.environ and escaped('env')", outside=True),
    "LD_PRELOAD leaks in": Probe("'LD_PRELOAD' in os.environ and escaped('env')", outside=True),
    "environment of the host's processes": Probe(
        "path = f\"/proc/{FACTS['host']}/environ\"\n"
        "must_fail(lambda: FACTS['marker'] in open(path).read() or os.stat('/none'))",
        outside=True,
    ),
    "command lines of the host": Probe(
        "must_fail(lambda: 'sleep' in open(f\"/proc/{FACTS['host']}/cmdline\").read() or os.stat('/none'))",
        outside=True,
    ),
    "memory of the parent": Probe("must_fail(lambda: open(f'/proc/{os.getppid()}/mem', 'rb'))"),
    "descriptors of the parent": Probe("must_fail(os.listdir, f'/proc/{os.getppid()}/fd')"),
    "process_vm_readv of the parent": Probe("must_refuse('process_vm_readv', os.getppid(), 0, 0, 0, 0, 0)"),
    "descriptors that were left open": Probe(
        "for fd in range(3, 64): must_fail(lambda: os.fstat(fd) and os.readlink(f'/proc/self/fd/{fd}') "
        "if not os.path.realpath(f'/proc/self/fd/{fd}').startswith('/proc') else os.stat('/none'))"
    ),
    "memory and descriptors of the box's first process": Probe(
        "if call('landlock_create_ruleset', 0, 0, 1) >= 6:\n"  # which is what holds this
        "    for name in ('mem', 'maps', 'environ'): must_fail(lambda: open(f'/proc/1/{name}', 'rb'))\n"
        "    for fd in range(9): must_fail(lambda: open(f'/proc/1/fd/{fd}', 'wb'))"
    ),
    "messages of the kernel": Probe("must_refuse('syslog', 3, ctypes.create_string_buffer(99), 99)"),
    "handle of a host file": Probe("must_refuse('name_to_handle_at', -100, b'/', 0, 0, 0)"),
    # -- writing
    "write to /etc": Probe("must_fail(lambda: open('/etc/aios-probe', 'w'))"),
    "write to /usr": Probe("must_fail(lambda: open('/usr/aios-probe', 'w'))"),
    "write to Python itself": Probe("must_fail(lambda: open(json.__file__, 'a'))"),
    "write to the root folder": Probe("must_fail(lambda: open('/aios-probe', 'w'))"),
    "write to another agent's folder": Probe("must_fail(lambda: open(FACTS['other'] + '/g', 'w'))"),
    "overwrite the host's secret": Probe("must_fail(lambda: open(FACTS['secret'], 'a'))"),
    "symlink out of the work folder": Probe(
        "os.symlink('/etc/shadow', 'link'); must_fail(lambda: open('link').read())\n"
        "os.symlink(FACTS['other'], 'dir'); must_fail(os.listdir, 'dir')"
    ),
    "hard link from outside": Probe(
        "must_fail(os.link, FACTS['secret'], 'hard'); must_fail(os.link, '/etc/passwd', 'p')"
    ),
    "dot-dot out of the work folder": Probe(
        "must_fail(lambda: open('../' * 9 + 'etc/shadow').read())", outside=True
    ),
    "change the mode of a host file": Probe("must_fail(os.chmod, FACTS['secret'], 0o777)"),
    "sysctl": Probe("must_fail(lambda: open('/proc/sys/kernel/hostname', 'wb', 0).write(b'x'))"),
    "sysrq": Probe("must_fail(lambda: open('/proc/sysrq-trigger', 'w'))"),
    "the running Python through /proc": Probe("must_fail(lambda: open('/proc/self/exe', 'r+b'))"),
    "core pattern": Probe("must_fail(lambda: open('/proc/sys/kernel/core_pattern', 'wb', 0).write(b'|/x'))"),
    "sysfs": Probe(
        "for path in ('kernel/profiling', 'kernel/mm/ksm/run', 'power/state', 'fs/cgroup/release_agent'):\n"
        "    must_fail(lambda: open('/sys/' + path, 'wb', 0).write(b'1'))"
    ),
    "cgroup of its own": Probe("must_fail(os.mkdir, '/sys/fs/cgroup/aios-probe')"),
    # -- devices
    "mknod of a disk": Probe("must_fail(os.mknod, 'disk', 0o060600, os.makedev(254, 0))"),
    "read kernel memory": Probe(
        "must_fail(lambda: open('/dev/mem', 'rb')); must_fail(lambda: open('/dev/kmsg'))"
    ),
    "devices that matter": Probe(
        "for name in ('vda', 'sda', 'kvm', 'fuse', 'net/tun', 'vsock'):\n"
        "    must_fail(lambda: open('/dev/' + name, 'rb'))"
    ),
    "fill /dev": Probe("must_fail(lambda: open('/dev/file', 'w').write('x'))"),
    "TIOCSTI": Probe(
        "import fcntl, pty\n"
        "must_fail(lambda: fcntl.ioctl(pty.openpty()[1], 0x5412, b'x'))\n"
        "must_fail(lambda: fcntl.ioctl(pty.openpty()[1], 0x5412 | 1 << 40, b'x'))"
    ),
    "controlling terminal": Probe("must_fail(lambda: open('/dev/tty').read(1))"),
    # -- other processes
    "signal a host process": Probe("must_fail(os.kill, FACTS['host'], 9)"),
    "ptrace": Probe("must_refuse('ptrace', 16, os.getppid(), 0, 0); must_refuse('ptrace', 0, 0, 0, 0)"),
    "kill everything": Probe("os.kill(-1, 9)", ends=("", "lost")),
    "kill the parent": Probe("must_fail(os.kill, os.getppid(), 0) if FACTS['way'] == 'landlock' else 0"),
    "stop the parent": Probe(
        "if FACTS['way'] != 'landlock': os.kill(os.getppid(), signal.SIGSTOP); time.sleep(60)",
        ends=("", "wall"),
    ),
    "pidfd_getfd": Probe(
        "for pid in (os.getpid(), os.getppid()): must_refuse('pidfd_getfd', os.pidfd_open(pid), 0, 0)"
    ),
    "raise the priority": Probe("must_fail(os.nice, -5)"),
    "signal a host process by other calls": Probe(
        "must_fail(lambda: signal.pidfd_send_signal(os.pidfd_open(FACTS['host']), 9))\n"
        "r = call('rt_sigqueueinfo', FACTS['host'], 9, ctypes.create_string_buffer(128)); r < 0 or escaped(r)"
    ),
    "compare and advise other processes": Probe(
        "must_refuse('kcmp', os.getpid(), os.getppid(), 0, 0, 0); must_refuse('process_madvise', 0, 0, 0, 0, 0)"
    ),
    "real-time priority": Probe(
        "must_fail(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1))\n"
        "must_fail(os.setpriority, os.PRIO_PROCESS, 0, -20)"
    ),
    "spared when memory runs out": Probe(
        "must_fail(lambda: open('/proc/self/oom_score_adj', 'wb', 0).write(b'-1000'))"
    ),
    # -- rights
    "setuid 0": Probe("must_fail(os.setuid, 0); must_fail(os.setresuid, 0, 0, 0)"),
    "setgroups": Probe("must_fail(os.setgroups, [0])"),
    "setuid program": Probe(
        "for name in ('su', 'sudo', 'mount', 'passwd', 'chsh'):\n"
        "    path = '/usr/bin/' + name\n"
        "    if os.path.exists(path):\n"
        "        pid = os.posix_spawn(path, [name, '-h'], {}, file_actions=[])\n"
        "        os.waitpid(pid, 0)\n"
        "'NoNewPrivs:\\t1' in status() or escaped('new privileges')"
    ),
    "capabilities": Probe("'CapEff:\\t0000000000000000' in status() or escaped('capabilities')"),
    "nested user namespace": Probe(
        "must_refuse('unshare', 0x10000000)\n"
        "must_fail(lambda: subprocess.run(['unshare', '-Ur', 'true'], check=True, stderr=subprocess.DEVNULL))"
    ),
    "clone into a namespace": Probe(
        "r = call('clone3', 0, 0); r in (-38,) or escaped(r)\n"
        "try: r = libc.clone(0, 0, 0x10000000, 0)\nexcept OSError: r = -1\nr == -1 or escaped(r)"
    ),
    "setns": Probe("must_refuse('setns', 0, 0)"),
    "mount": Probe(
        "must_refuse('mount', b'none', b'/work', b'tmpfs', 0, 0); must_refuse('umount2', b'/proc', 2)"
    ),
    "chroot": Probe("must_fail(os.chroot, '.'); must_refuse('pivot_root', b'.', b'.')"),
    "mount by the newer calls": Probe(
        "must_refuse('fsopen', b'tmpfs', 0); must_refuse('open_tree', -100, b'/', 1)\n"
        "must_refuse('move_mount', 0, b'', 0, b'', 0)"
    ),
    "ulimit raise": Probe(
        "for name in ('AS', 'FSIZE', 'NOFILE', 'NPROC', 'CORE'):\n"
        "    kind = getattr(resource, 'RLIMIT_' + name); hard = resource.getrlimit(kind)[1]\n"
        "    hard == -1 and escaped(name)\n"
        "    must_fail(resource.setrlimit, kind, (hard + 1, hard + 1))"
    ),
    "open by handle": Probe("must_refuse('open_by_handle_at', 0, 0, 0)"),
    # -- the kernel
    "keyctl": Probe(
        "must_refuse('keyctl', 0, -3, 0, 0, 0); must_refuse('add_key', b'user', b'x', b'y', 1, -3)"
    ),
    "bpf": Probe("must_refuse('bpf', 0, 0, 0)"),
    "io_uring": Probe("must_refuse('io_uring_setup', 1, ctypes.create_string_buffer(120))"),
    "perf_event_open": Probe("must_refuse('perf_event_open', 0, 0, -1, -1, 0)"),
    "userfaultfd": Probe("must_refuse('userfaultfd', 0)"),
    "set the clock": Probe(
        "must_fail(time.clock_settime, time.CLOCK_REALTIME, 0.0); must_refuse('settimeofday', 0, 0)"
    ),
    "reboot": Probe("must_refuse('reboot', 0xfee1dead, 672274793, 0, 0)"),  # disables Ctrl-Alt-Del: harmless
    "kernel module": Probe("must_refuse('init_module', 0, 0, b''); must_refuse('kexec_load', 0, 0, 0, 0)"),
    "swap": Probe("must_refuse('swapon', b'/work/swap', 0)"),
    "host name": Probe("must_fail(socket.sethostname, 'owned')"),
    "memory outside all limits": Probe(
        "must_refuse('memfd_create', b'x', 0); must_refuse('shmget', 0, 1 << 20, 0o1600)"
    ),
    "semaphores and messages of System V": Probe(
        "must_refuse('semget', 7, 1, 0o1600); must_refuse('msgget', 7, 0o1600)\n"
        "must_refuse('semctl', 0, 0, 3)\n"
        "must_refuse('msgctl', 0, 12, 0); must_refuse('msgsnd', 0, 0, 0, 0); must_refuse('semop', 0, 0, 0)"
    ),
    "a program without a file": Probe("must_fail(os.memfd_create, 'x'); must_refuse('memfd_secret', 0)"),
    "watch the host's files": Probe("must_refuse('fanotify_init', 0, 0)"),
    "accounting and quotas": Probe("must_refuse('acct', b'/work/acct'); must_refuse('quotactl', 0, 0, 0, 0)"),
    # -- network
    "tcp to the host": Probe(
        "must_fail(socket.create_connection, ('127.0.0.1', FACTS['tcp']), 1)", outside=True
    ),
    "tcp to the internet": Probe("must_fail(socket.create_connection, ('1.1.1.1', 53), 1)"),
    "udp to the host": Probe(
        "try:\n"
        "    s = socket.socket(type=socket.SOCK_DGRAM)\n"
        "    s.sendto(b'ESCAPE', ('127.0.0.1', FACTS['udp']))\n"  # the host looks at what arrives
        "except OSError: pass"
    ),
    "name resolution": Probe("must_fail(socket.getaddrinfo, 'example.org', 80)"),
    "unix socket of the host": Probe(
        "must_fail(lambda: socket.socket(socket.AF_UNIX).connect(FACTS['unix']) or 'connected')", outside=True
    ),
    "abstract socket of the host": Probe(
        "must_fail(lambda: socket.socket(socket.AF_UNIX).connect(FACTS['abstract']) or 'connected')",
        outside=True,
    ),
    "raw socket": Probe(
        "must_fail(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)\n"
        "must_fail(socket.socket, socket.AF_PACKET, 3, 3)"
    ),
    "netlink, vsock and crypto sockets": Probe(
        "for f in (16, 40, 38, 44): must_fail(socket.socket, f, socket.SOCK_DGRAM)"
    ),
    # -- exhaustion
    "fork bomb": Probe(
        "try:\n    while True: os.fork()\nexcept OSError: time.sleep(0.2)",
        ends=("", "wall", "processes", "memory", "cpu"),
    ),
    "many threads": Probe(
        "import threading\n"
        "try:\n    for _ in range(200): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
        "    escaped('200 threads')\nexcept (RuntimeError, MemoryError): pass"
    ),
    "memory bomb": Probe("try:\n    x = bytearray(1 << 30); escaped('1 GiB')\nexcept MemoryError: pass"),
    "memory bomb of many": Probe(
        "for _ in range(5):\n"
        "    if os.fork() == 0: x = bytearray(b'x') * (60 << 20); time.sleep(60)\n"
        "time.sleep(60)",
        ends=("memory",),
    ),
    "shared memory bomb": Probe(
        "import mmap\n"
        "try:\n    m = mmap.mmap(-1, 1 << 30); escaped('1 GiB')\nexcept (OSError, ValueError): pass"
    ),
    "one big file": Probe(
        "must_fail(lambda: open('big', 'wb').write(bytes(64 << 20)))\n"
        "print('x' * 9000, flush=True); time.sleep(0.3)  # what it prints does not count with its files"
    ),
    "many files": Probe(
        "n = 0\nwhile True:\n    open(f'f{n}', 'wb').write(bytes(1 << 20)); n += 1; time.sleep(0.001)",
        ends=("disk", ""),
    ),
    "many empty files": Probe(
        "n = 0\nwhile True:\n    open(f'f{n}', 'wb').close(); n += 1; time.sleep(0.001)", ends=("disk",)
    ),
    "files without a name": Probe(
        "kept, total = [], 0\n"
        "try:\n"
        "    for n in range(48):\n"
        "        kept.append(open(f'f{n}', 'wb')); os.unlink(f'f{n}'); time.sleep(0.005)\n"
        "        os.posix_fallocate(kept[-1].fileno(), 0, 7 << 20); total += 7 << 20\n"
        "except OSError: pass\n"
        "total > 200 << 20 and escaped(f'{total} bytes')",
        ends=("disk", ""),
    ),
    "files in folders too deep to see": Probe(
        "total = 0\n"
        "for _ in range(40): os.mkdir('d' * 200); os.chdir('d' * 200)\n"
        "try:\n"
        "    for n in range(200):\n"
        "        total += open(str(n), 'wb').write(bytes(1 << 20)); time.sleep(0.001)\n"
        "except OSError: pass\n"
        "total > 100 << 20 and escaped(f'{total} bytes')",
        ends=("disk", ""),
    ),
    "folders within folders": Probe(
        "for folder in (os.environ['TMPDIR'], '.'):\n"
        "    os.chdir(folder)\n"
        "    try:\n        for _ in range(2000): os.mkdir('d'); os.chdir('d')\n"
        "    except OSError: pass\n",
        ends=("disk", ""),
    ),
    "many empty files in memory": Probe(
        "n = 0\n"
        "try:\n"
        "    while n < 9000: open(f\"{os.environ['TMPDIR']}/{n}\", 'wb').close(); n += 1\n"
        "    time.sleep(1); escaped(f'{n} files')\n"
        "except OSError: pass",
        ends=("disk", ""),
    ),
    "fill /tmp": Probe(
        "def fill(folder):\n"
        "    total = 0\n"
        "    try:\n"
        "        for n in range(40): total += open(f'{folder}/{n}', 'wb').write(bytes(1 << 20))\n"
        "    except OSError: pass\n"
        "    return total\n"
        "for folder in ('/tmp', '/dev/shm'):\n"
        "    if fill(folder) > 5 << 20: escaped(folder)"
    ),
    "use all descriptors": Probe(
        "try:\n    files = [open('/dev/null') for _ in range(1000)]\n"
        "    escaped('1000 files')\nexcept OSError: pass"
    ),
    "many timers": Probe(
        "made = ctypes.c_int()\n"
        "n = sum(call('timer_create', 1, 0, ctypes.byref(made)) == 0 for _ in range(20000))\n"
        "n > 5000 and escaped(f'{n} timers')"
    ),
    "a file that unpacks without end": Probe(
        "import gzip\nopen('bomb.gz', 'wb').write(gzip.compress(bytes(1 << 20)) * 400)\n"
        "try: escaped(len(gzip.open('bomb.gz').read()))\nexcept MemoryError: pass\n"
        "try:\n    with gzip.open('bomb.gz') as f, open('out', 'wb') as out:\n"
        "        while data := f.read(1 << 20): out.write(data)\n"
        "    escaped('400 MiB')\n"
        "except OSError: pass",
        ends=("", "disk", "cpu", "memory"),
    ),
    "processor loop": Probe("while True: pass", ends=("", "cpu", "wall")),
    "processor loop of many": Probe("for _ in range(3): os.fork()\nwhile True: pass", ends=("cpu", "wall")),
    "sleep": Probe("time.sleep(60)", ends=("wall",)),
    "output flood": Probe("while True: os.write(1, b'x' * 65536)", ends=("output",)),
    "error flood": Probe("while True: os.write(2, b'x' * 65536)", ends=("output",)),
    "recursion": Probe(
        "import sys; sys.setrecursionlimit(10**9)\ndef f(): return f() + 1\nf()", ends=("", "memory", "cpu")
    ),
    "a daemon that stays": Probe(
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        while True: open('beat', 'a').write('x'); time.sleep(0.01)\n"
        "    os._exit(0)\n"
        "time.sleep(0.1)"
    ),
}


def numbers() -> dict[str, int]:
    architecture = pyseccomp.system_arch()
    return {name: pyseccomp.resolve_syscall(architecture, name) for name in CALLS}


def source(probe: Probe, facts: dict) -> str:
    prelude = PRELUDE.format(facts=json.dumps(facts), numbers=json.dumps(numbers()))
    return f"{prelude}\n{probe.code}\nprint('HELD', flush=True)\n"


@contextlib.contextmanager
def host(folder: Path, way: str) -> Iterator[dict]:
    """Things on the host that a box must not reach."""
    folder.mkdir(exist_ok=True)
    secret, other = folder / "secret", folder / "other"
    secret.write_text("PLANTED")
    other.mkdir(exist_ok=True)
    (other / "f").write_text("PLANTED")
    marker = "AIOS_PROBE"
    with contextlib.ExitStack() as stack:
        sleeper = subprocess.Popen(["sleep", "600"], env={marker: "PLANTED", "LD_PRELOAD": ""})
        stack.callback(sleeper.wait)
        stack.callback(sleeper.kill)
        tcp, udp = (
            stack.enter_context(socket.socket()),
            stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)),
        )
        unix, abstract = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
        name = f"\0aios-probe-{os.getpid()}-{way}"
        for server, address in ((tcp, ("127.0.0.1", 0)), (unix, str(folder / "unix")), (abstract, name)):
            server.bind(address)
            server.listen(50)
        udp.bind(("127.0.0.1", 0))
        yield {
            "way": way, "secret": str(secret), "other": str(other), "host": sleeper.pid, "marker": marker,
            "tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1], "unix": str(folder / "unix"),
            "abstract": name,
        }  # fmt: skip
        if sleeper.poll() is not None or secret.read_text() != "PLANTED":
            raise AssertionError("a probe reached the host")
        udp.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            raise AssertionError(f"a probe sent {udp.recv(100)} to the host")


def used(folder: Path) -> int:
    """Bytes of all files in it, however deep they are."""
    told = subprocess.run(["du", "-s", "-B1", folder], stdout=subprocess.PIPE, check=True, text=True)
    return int(told.stdout.split()[0])


def remove(folder: Path) -> None:
    """The work folders in it; Python's own way to remove folders fails at those that are too deep."""
    subprocess.run(["rm", "-rf", *folder.glob("work*")], check=True)


def sandbox_of(way: str) -> Sandbox:
    return Bubblewrap(binaries()[0]) if way == "bubblewrap" else Landlock()


async def attempt(
    sandbox: Sandbox, folder: Path, names: Iterable[str] = tuple(PROBES), profile: Profile = PROFILE
) -> dict[str, dict]:
    """Those probes, each in a fresh work folder; boxes are used again as long as they live."""
    outcomes: dict[str, dict] = {}
    os.environ.update(AIOS_PROBE="PLANTED", LD_PRELOAD="")
    with host(folder, sandbox.name) as facts:
        box = None
        for name in names:
            probe = PROBES[name]
            if box is None or box.closed or probe.ends != ("",):
                if box:
                    await box.close()
                work = folder / f"work{len(outcomes)}"
                work.mkdir()
                box = await sandbox.open(work, profile)
            outcome = await box.run(Run(code=source(probe, facts)))
            again = None if box.closed else await box.run(Run(code="'STILL HERE'"))
            beats = (work / "beat").stat().st_size if (work / "beat").exists() else 0
            await asyncio.sleep(0.05 if beats else 0)
            later = (work / "beat").stat().st_size if beats else 0
            outcomes[name] = {
                "escaped": outcome.stdout.partition(b"ESCAPED")[2][:300].decode(errors="replace"),
                "held": b"HELD" in outcome.stdout, "err": outcome.stderr[-600:].decode(errors="replace"),
                "reason": outcome.reason, "status": outcome.status, "seconds": outcome.seconds,
                "size": len(outcome.stdout) + len(outcome.stderr), "beats": [beats, later],
                "disk": used(work),
                "again": again and (again.stdout.decode() or again.reason),
            }  # fmt: skip
        await box.close()
        await asyncio.to_thread(remove, folder)
    return outcomes


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(attempt(sandbox_of(sys.argv[1]), Path(sys.argv[2])))))
