"""What a box does for those who use it as they should; tests/probes.py is for the others."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from aios.errors import SandboxUnavailable, ToolError
from aios.syscalls.tools import Mount, Profile
from aios.tools.sandbox.box import run
from aios.tools.sandbox.bubblewrap import Bubblewrap
from aios.tools.sandbox.chain import examine, find
from aios.tools.sandbox.profile import Run, Strength
from aios.tools.sandbox.proxy import dial

pytestmark = pytest.mark.anyio
QUICK = Profile(wall_s=1.0, output_bytes=2000)


@pytest.fixture(scope="module")
def sandbox():
    try:
        return asyncio.run(find())
    except SandboxUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture
async def box(sandbox, tmp_path):
    box = await sandbox.open(tmp_path, QUICK)
    yield box
    await box.close()


async def test_programs_and_python_with_files_in_and_out(box, tmp_path):
    (tmp_path / "in.txt").write_text("3 4")
    os.chmod(tmp_path / "in.txt", 0o644)
    code = "a, b = open('in.txt').read().split()\nopen('out.txt', 'w').write(a + b)\nint(a) * int(b)"
    first = await box.run(Run(code=code))
    assert (first.status, first.stdout, first.fresh) == (0, b"12\n", True)
    assert (tmp_path / "out.txt").read_text() == "34"
    second = await box.run(Run(argv=("sh", "-c", "cat - out.txt; echo no >&2; exit 3"), stdin=b"in "))
    assert (second.status, second.stdout, second.stderr, second.fresh) == (3, b"in 34", b"no\n", False)
    assert not second.ok


async def test_a_session_keeps_its_names_through_errors_and_other_runs(box):
    assert (await box.run(Run(code="x = [1]", session=True))).ok
    wrong = await box.run(Run(code="x.append(1 / 0)", session=True))
    assert wrong.status == 1
    assert b"x.append(1 / 0)" in wrong.stderr
    assert (await box.run(Run(code="'x' in globals()"))).stdout == b"False\n"
    late = await box.run(Run(code="x.append(2); import time; time.sleep(9)", session=True))
    assert late.reason == "wall"
    after = await box.run(Run(code="x", session=True))
    assert (after.stdout, after.fresh) == (b"[1, 2]\n", False)


async def test_a_session_that_ended_is_told_of(box):
    await box.run(Run(code="x = 1", session=True))
    assert (await box.run(Run(code="import os; os._exit(5)", session=True))).status == 5
    again = await box.run(Run(code="'x' in globals()", session=True))
    assert (again.stdout, again.fresh) == (b"False\n", True)


async def test_sessions_that_end_leave_nothing_open_in_the_box(box):
    for _ in range(50):
        assert (await box.run(Run(code="import os; os._exit(5)", session=True))).status == 5
    assert (await box.run(Run(code="open('f', 'w').fileno()"))).stdout == b"3\n"
    assert not box.closed


async def test_long_output_is_cut_and_said_to_be(box):
    outcome = await box.run(Run(code="print('x' * 5000)"))
    assert (len(outcome.stdout), outcome.reason) == (2000, "output")


@pytest.mark.parametrize(("code", "status"), [("import sys; sys.exit(4)", 4), ("exit('why')", 1), ("x = (", 1)])
async def test_how_code_ends(box, code, status):
    assert (await box.run(Run(code=code))).status == status


async def test_a_cancelled_run_ends_with_everything_in_it(sandbox, tmp_path):
    box = await sandbox.open(tmp_path, Profile())
    beat = "import os\nos.fork()\nwhile True: open('beat', 'a').write('x')"
    running = asyncio.ensure_future(box.run(Run(code=beat)))
    while not (tmp_path / "beat").exists():
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert box.closed
    await asyncio.sleep(0.05)
    size = (tmp_path / "beat").stat().st_size
    await asyncio.sleep(0.05)
    assert (tmp_path / "beat").stat().st_size == size


async def test_a_killed_kernel_leaves_nothing_running(sandbox, tmp_path):
    kernel = """
import asyncio, sys
from pathlib import Path
from aios.tools.sandbox.chain import find
from aios.syscalls.tools import Profile
from aios.tools.sandbox.profile import Run
async def main():
    box = await (await find()).open(Path(sys.argv[1]), Profile())
    # The box's own watcher is stopped, where the kernel lets it be (Landlock forbids it from 6.12 on).
    stop = "import os, signal\\ntry:\\n    if os.fork(): os.kill(os.getppid(), signal.SIGSTOP)\\n"
    beat = "except PermissionError: pass\\nwhile True: open('beat', 'a').write('x')"
    await box.run(Run(code=stop + beat))
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", kernel, str(tmp_path))
    while not (tmp_path / "beat").exists():
        assert process.returncode is None
        await asyncio.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await asyncio.sleep(0.1)
    size = (tmp_path / "beat").stat().st_size
    await asyncio.sleep(0.05)
    assert (tmp_path / "beat").stat().st_size == size


async def test_a_folder_can_be_made_readable_and_stays_unwritable(sandbox, tmp_path):
    shown, work = tmp_path / "shown", tmp_path / "work"
    shown.mkdir(mode=0o755)
    work.mkdir()
    (shown / "f").write_text("data")
    (shown / "f").chmod(0o644)
    if sandbox.name != "bubblewrap":
        pytest.skip("only bubblewrap shows a folder under another name")
    profile = Profile(readable=(Mount(host=str(shown), inside="/data"),), env={"COLOUR": "blue"})
    code = "import os\nprint(open('/data/f').read(), os.environ['COLOUR'])\nopen('/data/g', 'w')"
    outcome = await run(sandbox, Run(code=code), work, profile)
    assert outcome.stdout == b"data blue\n"
    assert b"Read-only file system" in outcome.stderr


async def test_a_box_reaches_the_hosts_it_is_allowed_and_no_others(sandbox, tmp_path):
    if sandbox.name != "bubblewrap":
        pytest.skip("only bubblewrap gives a box a way out")

    async def serve(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async def dial(host, port):
        dialled.append((host, port))
        return await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])

    asked, dialled = [], []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    code = f"""
import socket, urllib.request
def fetch(url):
    try: return urllib.request.urlopen(url, timeout=5).read()
    except OSError as error: return str(error)
for url in ("http://good.example/a?b", "http://evil.example/", "http://good.example:22/", "https://evil.example/"):
    print(fetch(url))
tunnel = socket.create_connection(("127.0.0.1", 3128))
tunnel.sendall(b"CONNECT sub.good.example:443 HTTP/1.1\\r\\n\\r\\n")
print(tunnel.recv(99)); tunnel.sendall(b"hi\\r\\n\\r\\n"); print(tunnel.recv(99)[:15])
try: print("ESCAPED", socket.create_connection(("127.0.0.1", {port}), 1))
except OSError: print("held")
"""
    profile = Profile(hosts=("good.example", "*.good.example"))
    box = await Bubblewrap(sandbox._binary, dial).open(tmp_path, profile)
    try:
        for session in (False, True, True):
            outcome = await box.run(Run(code=code, session=session))
            assert outcome.stdout.decode().splitlines() == [
                "b'hello'", "HTTP Error 403: Forbidden", "HTTP Error 403: Forbidden",
                "<urlopen error Tunnel connection failed: 403 Forbidden>",
                "b'HTTP/1.1 200 Connection established\\r\\n\\r\\n'", "b'HTTP/1.1 200 OK'", "held",
            ], outcome  # fmt: skip
    finally:
        await box.close()
        server.close()
    assert dialled == [("good.example", 80), ("sub.good.example", 443)] * 3
    assert asked[0].startswith(b"GET /a?b HTTP/1.1\r\n")
    assert b"Connection: close" in asked[0]


async def test_a_proxy_connects_to_nothing_on_this_machine():
    for host in ("localhost", "127.0.0.1", "::1", "10.0.0.1", "169.254.169.254"):
        with pytest.raises(ToolError, match="not on the internet"):
            await dial(host, 80)


class Broken:
    name = "broken"

    async def strength(self) -> Strength:
        return Strength(name="broken", usable=False, lacks=("a wall",), mend="Build one.")

    async def open(self, work: Path, profile: Profile):
        raise AssertionError("never used")


async def test_without_any_sandbox_it_is_refused_with_the_reason_and_the_mend():
    with pytest.raises(SandboxUnavailable, match=r"broken: a wall.*Build one"):
        await find([Broken(), Broken()])


async def test_the_strongest_that_works_is_used(sandbox):
    assert await find([Broken(), sandbox]) is sandbox
    assert sandbox.name == next(strength.name for strength in await examine() if strength.usable)
