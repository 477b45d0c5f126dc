"""The engine by itself: xllamacpp's own server, in a process of its own, as the baseline.

`python -m aios.bench.native_server OPTIONS` (JSON) prints its address and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from aios.errors import CoreUnavailable


class NativeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in tokens. `exact`: separate KV streams and no flash attention, as our engine's default.
    `cache_ram_mb`: the engine's own prompt cache in RAM. `batch`: tokens that are computed together; 0 is the
    engine's default, with 1 a token's floats are the same in a prompt and in an answer."""

    model: str
    slots: int
    context: int
    threads: int
    exact: bool = True
    cache_ram_mb: int = 1024
    http_threads: int = 64
    batch: int = 0


@asynccontextmanager
async def native_server(options: NativeOptions) -> AsyncGenerator[str]:
    """Start the server; gives its base URL. Raises CoreUnavailable when it does not come up."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aios.bench.native_server", msgspec.json.encode(options).decode(),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 120)
        if not line:
            raise CoreUnavailable("The engine's own server did not start.", f"Can {options.model} be loaded?")
        yield json.loads(line)
    finally:
        process.kill()
        await process.wait()


def main() -> None:
    xllamacpp: Any = import_module("xllamacpp")  # it has no types
    options = msgspec.json.decode(sys.argv[1], type=NativeOptions)
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.context
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.n_threads_http = options.http_threads
    params.cache_ram_mib = options.cache_ram_mb
    params.kv_unified = not options.exact
    if options.exact:
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if options.batch:
        params.n_ubatch = options.batch
    params.fit_params = False
    params.ui = False
    params.verbosity = 0
    params.port = 0
    params.model_alias = {Path(options.model).stem}
    server = xllamacpp.Server(params)
    sys.stdout.write(json.dumps(server.listening_address) + "\n")
    sys.stdout.flush()
    threading.Thread(target=sys.stdin.read).start()  # ends with its parent
    threading.Event().wait()


if __name__ == "__main__":
    main()
