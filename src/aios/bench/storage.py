"""How fast the store is: against plain files that are written, synced and renamed."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aios.storage.manager import StorageManager

WRITERS = 64


async def measure(folder: Path | None = None, *, scale: float = 1.0) -> dict[str, float]:
    """Numbers by name: `*_per_s` are calls, `*_mb_per_s` megabytes (10^6 bytes) of content; `plain_*` is the
    baseline, one file after another. Random contents, so compression gains nothing."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        draw, home = random.Random(1), Path(name)
        small = [draw.randbytes(2_000) for _ in range(int(1_000 * scale))]
        large = draw.randbytes(int(50_000_000 * scale))
        found = await asyncio.to_thread(_plain, home / "plain", small, large)
        async with StorageManager(home / "store") as storage:
            found |= await _store(storage, small, large)
        return found | await _edits(draw, home / "edits")


def _plain(folder: Path, small: list[bytes], large: bytes) -> dict[str, float]:
    folder.mkdir()

    def write(name: str, data: bytes) -> None:
        path = folder / name
        with open(path.with_suffix(".new"), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path.with_suffix(".new"), path)
        handle = os.open(folder, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)

    start = time.perf_counter()
    for number, data in enumerate(small):
        write(str(number), data)
    wrote = time.perf_counter()
    write("large", large)
    done = time.perf_counter()
    return {
        "plain_small_writes_per_s": len(small) / (wrote - start),
        "plain_write_mb_per_s": _mb(large, done - wrote),
    }


async def _store(storage: StorageManager, small: list[bytes], large: bytes) -> dict[str, float]:
    files = storage.files

    async def alone() -> None:
        for number, data in enumerate(small[: len(small) // 4]):
            await files.write("alone", f"/{number}", data)

    async def together() -> None:
        async def writer(first: int) -> None:
            for number in range(first, len(small), WRITERS):
                await files.write(f"agent{first}", f"/{number}", small[number])

        await asyncio.gather(*map(writer, range(WRITERS)))

    async def read_small() -> None:
        for number in range(len(small) // 4):
            await files.read("alone", f"/{number}")

    return {
        "small_writes_per_s": len(small) // 4 / await _timed(alone),
        f"small_writes_of_{WRITERS}_per_s": len(small) / await _timed(together),
        "small_reads_per_s": len(small) // 4 / await _timed(read_small),
        "write_mb_per_s": _mb(large, await _timed(lambda: files.write("ann", "/large", large))),
        "write_again_mb_per_s": _mb(large, await _timed(lambda: files.write("bob", "/large", large))),
        "read_mb_per_s": _mb(large, await _timed(lambda: files.read("ann", "/large"))),
        "append_to_large_per_s": 1 / await _timed(lambda: files.append("ann", "/large", b"one line\n")),
    }


async def _edits(draw: random.Random, home: Path) -> dict[str, float]:
    """A text of 250 kB edited a hundred times: what its versions would need as files, for what they need."""
    words = [f"{draw.randrange(10**6):x}" for _ in range(40_000)]
    total = 0
    async with StorageManager(home) as storage:
        for _ in range(100):
            words[draw.randrange(len(words))] = f"{draw.randrange(10**9):x}"
            data = " ".join(words).encode()
            total += len(data)
            await storage.files.write("cyd", "/text", data)
        used = (await storage.usage("cyd")).used
    stored = await asyncio.to_thread(lambda: (home / "storage.db").stat().st_size)
    return {"edits_deduplicated": total / used, "edits_on_disk": total / stored}


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await call()
    return time.perf_counter() - start


def _mb(data: bytes, seconds: float) -> float:
    return len(data) / 1e6 / seconds
