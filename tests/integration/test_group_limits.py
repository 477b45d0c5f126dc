"""What calls of a kernel are booked with, to their groups and processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kernels import ask, settings, spawn

from aios.config import parse
from aios.errors import ContextOverflow, LimitExceeded
from aios.kernel.kernel import Kernel
from aios.syscalls import Embed, GroupInfo, Limits

pytestmark = pytest.mark.anyio


async def test_embeddings_count_against_the_limits_of_their_group_and_process(tmp_path: Path) -> None:
    groups = [
        {"name": "poor", "spend": 8.0, "tokens_per_min": 1e-3},
        {"name": "short", "max_context": 10, "requests_per_min": 1.0},
    ]
    priced = {"price_prompt": 1e6, "price_completion": 1e9}  # 1 a token
    async with Kernel(settings(tmp_path, core=priced, groups=groups)) as kernel:

        def told(name: str) -> GroupInfo:
            return next(group for group in kernel.groups.list() if group.name == name)

        poor = kernel.processes.attach("poor", group="poor")
        await kernel.trap(poor, Embed(inputs=("one two three", (4, 5))))
        assert told("poor").spent == pytest.approx(5.0)  # as the core counted, not as was guessed
        assert told("poor").tokens_left == pytest.approx(-5, abs=0.1)
        with pytest.raises(LimitExceeded, match=r"may cost 4, and group 'poor' has 3 of its 8 left"):
            await kernel.trap(poor, Embed(inputs=((1, 2, 3, 4),)))
        short = kernel.processes.attach("short", group="short")
        for _ in range(3):  # what is refused is no request
            with pytest.raises(ContextOverflow, match="group 'short' may have 10"):
                await kernel.trap(short, Embed(inputs=("a", "long " * 10)))
        await kernel.trap(short, Embed(inputs=("one two", "three four", "five six", "seven eight")))
        small = await spawn(kernel, 1, "small", limits=Limits(tokens=4))
        with pytest.raises(LimitExceeded, match="may take 5 tokens"):
            await kernel.trap(small.pid, Embed(inputs=((1, 2, 3, 4, 5),)))
        await kernel.trap(small.pid, Embed(inputs=((1, 2, 3, 4),)))
        assert [group.calls for group in kernel.groups.list()] == [0, 0]


async def test_a_call_costs_what_it_costs_on_the_core_that_ended_it(tmp_path: Path) -> None:
    dead = {
        "name": "dead", "kind": "openai", "base_url": "http://127.0.0.1:9/v1", "models": ["parrot"],
        "retries": 0, "price_completion": 1e6,
    }  # fmt: skip
    parrot = {"name": "parrot", "kind": "scripted", "models": ["parrot"], "price_completion": 3e6}
    tables = {
        "state": {"dir": str(tmp_path)},
        "cores": [dead, parrot],
        "groups": [{"name": "g", "spend": 100.0}],
        "server": {"drain_s": 0},
    }
    async with Kernel(parse(tables)) as kernel:
        told = await ask(kernel, kernel.processes.attach("ann", group="g"), "one two", max_tokens=4)
        assert told.usage.completion_tokens > 0
        assert kernel.groups.list()[0].spent == pytest.approx(3.0 * told.usage.completion_tokens)
