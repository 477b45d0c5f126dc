"""The kernel over a scripted core: many agents, signals, limits, cancellation, drain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest
from tests.kernels import ask, heard, say, settings, signal, spawn, until

from aios.config import CoreSettings, GroupSettings
from aios.cores.scripted import ScriptedCore
from aios.errors import (
    AiosError,
    BadRequest,
    Cancelled,
    Conflict,
    CoreError,
    DeadlineExceeded,
    Draining,
    Forbidden,
    LimitExceeded,
    NotFound,
    ProcessKilled,
    UnknownModel,
)
from aios.events import (
    CoreChanged,
    Event,
    EventBus,
    KernelChanged,
    ProcessChanged,
    SyscallFinished,
    SyscallStarted,
)
from aios.kernel.kernel import Kernel
from aios.kernel.process import KERNEL
from aios.syscalls import Completion, Delta, Embed, Embeddings, Exit, Limits, Nice, Ps, Spawn

pytestmark = pytest.mark.anyio

LONG = "word " * 500
SLOW = {"tokens_per_s": 200}


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncGenerator[Kernel]:
    async with Kernel(settings(tmp_path)) as kernel:
        yield kernel


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncGenerator[Kernel]:
    """One slot, and five milliseconds a word."""
    async with Kernel(settings(tmp_path, core={"slots": 1, **SLOW})) as kernel:
        yield kernel


def slots_taken(kernel: Kernel) -> int:
    return kernel.status().cores[0].running


async def events_until(kernel: Kernel, last: type[Event]) -> list[Event]:
    seen: list[Event] = []
    with kernel.bus.subscribe() as events:
        async for event in events:
            seen.append(event)
            if isinstance(event, last):
                break
    return seen


# -- answers --------------------------------------------------------------------------------------------


async def test_a_call_is_a_delta_a_token_and_then_the_whole_answer(kernel: Kernel) -> None:
    pid = kernel.processes.attach("ann")
    *deltas, done = await heard(kernel, pid, say("one two three"))
    assert [delta.content for delta in deltas if isinstance(delta, Delta)] == ["one", " two", " three"]
    assert isinstance(done, Completion)
    assert done.model == "parrot"
    assert done.choices[0].content == "one two three"
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (3, 3)


async def test_choices_are_generated_side_by_side_and_share_one_prompt(kernel: Kernel) -> None:
    done = await ask(kernel, kernel.processes.attach("ann"), "one two", n=3)
    assert [choice.content for choice in done.choices] == ["one two"] * 3
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (2, 6)


async def test_two_hundred_agents_at_once_each_get_their_own_answers(kernel: Kernel) -> None:
    async def agent(name: str) -> list[str | None]:
        pid = kernel.processes.attach(name)
        return [(await ask(kernel, pid, f"{name} turn {i}")).choices[0].content for i in range(5)]

    async with asyncio.TaskGroup() as agents:
        tasks = {name: agents.create_task(agent(name)) for name in (f"agent-{i}" for i in range(200))}
    for name, task in tasks.items():
        assert task.result() == [f"{name} turn {i}" for i in range(5)]
    infos = [info for info in kernel.processes.list() if info.pid != KERNEL]
    assert {(info.state, info.usage.calls, info.active_calls) for info in infos} == {("idle", 5, 0)}
    assert slots_taken(kernel) == 0


async def test_a_model_that_no_core_serves_is_refused_with_the_nearest_that_is(kernel: Kernel) -> None:
    with pytest.raises(UnknownModel, match="'parrot'"):
        await ask(kernel, kernel.processes.attach("ann"), "hi", model="parot")


async def test_each_call_goes_to_the_core_that_serves_its_model(tmp_path: Path) -> None:
    named = settings(tmp_path)
    second = CoreSettings(name="second", kind="scripted", models=("crow", "parrot"))
    async with Kernel(type(named)(state=named.state, cores=(*named.cores, second))) as kernel:
        assert [(model.id, model.core) for model in kernel.models()] == [("parrot", "main"), ("crow", "second")]
        pid = kernel.processes.attach("ann")
        assert (await ask(kernel, pid, "hi", model="crow")).model == "crow"
        assert (await ask(kernel, pid, "hi")).model == "parrot"


async def test_texts_are_embedded(kernel: Kernel) -> None:
    pid = kernel.processes.attach("ann")
    result = await kernel.trap(pid, Embed(inputs=("a b", "c")))
    assert isinstance(result, Embeddings)
    assert len(result.vectors) == 2
    assert kernel.processes.info(pid).usage.prompt_tokens == 3


async def test_a_bad_call_fails_before_the_first_token_and_leaves_nothing_behind(kernel: Kernel) -> None:
    pid = kernel.processes.attach("ann")
    with pytest.raises(BadRequest):
        await ask(kernel, pid, "hi", tool_choice="required")
    info = kernel.processes.info(pid)
    assert (info.state, info.active_calls, info.usage.failed_calls) == ("idle", 0, 1)


async def test_an_error_of_the_core_reaches_its_caller_typed(tmp_path: Path) -> None:
    def broken(call: object, choice: int) -> CoreError:
        return CoreError("The script is torn.", "Mend it.")

    config = settings(tmp_path)
    async with Kernel(config, cores=[ScriptedCore(config.cores[0], EventBus(), script=broken)]) as kernel:
        for fields in ({}, {"n": 3}, {"idempotency_key": "k"}):
            with pytest.raises(CoreError, match="torn"):
                await ask(kernel, kernel.processes.attach("ann"), "hi", **fields)
        assert slots_taken(kernel) == 0


async def test_what_happens_is_told_by_events(kernel: Kernel) -> None:
    pid = kernel.processes.attach("ann")
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(events_until(kernel, SyscallFinished))
        await asyncio.sleep(0)
        await ask(kernel, pid, "one two")
    seen = watching.result()
    started, finished = seen[0], seen[-1]
    assert isinstance(started, SyscallStarted)
    assert isinstance(finished, SyscallFinished)
    assert (started.kind, started.pid, started.call) == ("llm.generate", pid, finished.call)
    assert (finished.prompt_tokens, finished.completion_tokens, finished.error) == (2, 2, "")
    states = [event.state for event in seen if isinstance(event, ProcessChanged)]
    assert states == ["ready", "running", "idle"]


# -- the end of a call ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3])
async def test_closing_the_stream_frees_the_slots(slow: Kernel, n: int) -> None:
    pid = slow.processes.attach("ann")
    async with aclosing(slow.stream(pid, say(LONG, n=n))) as stream:
        await anext(stream)
        assert slow.processes.info(pid).state == "running"
    assert slow.processes.info(pid).state == "idle"
    assert (await ask(slow, pid, "next")).choices[0].content == "next"
    await until(lambda: slots_taken(slow) == 0)


async def test_cancelling_the_caller_frees_its_slot_or_its_place_in_the_queue(slow: Kernel) -> None:
    pid = slow.processes.attach("ann")
    calls = [asyncio.create_task(ask(slow, pid, LONG)) for _ in range(3)]
    await until(lambda: slow.status().cores[0].waiting == 2)
    for call in calls:
        call.cancel()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
    await until(lambda: slots_taken(slow) == 0)
    assert slow.status().cores[0].waiting == 0
    assert (await ask(slow, pid, "next")).choices[0].content == "next"


async def test_a_call_that_is_late_fails_and_frees_its_slot(slow: Kernel) -> None:
    pid = slow.processes.attach("ann")
    with pytest.raises(DeadlineExceeded):
        await ask(slow, pid, LONG, deadline_s=0.05)
    await until(lambda: slots_taken(slow) == 0)
    assert (await ask(slow, pid, "next", deadline_s=30)).choices[0].content == "next"


async def test_kill_ends_the_calls_of_a_process_and_of_its_children(slow: Kernel) -> None:
    parent = slow.processes.attach("parent")
    child = (await spawn(slow, parent, "child")).pid
    calls = [asyncio.create_task(ask(slow, pid, LONG)) for pid in (parent, child)]
    await until(lambda: slow.status().cores[0].waiting == 1)
    info = await signal(slow, parent, "kill", reason="enough")
    assert (info.state, info.reason) == ("killed", "enough")
    for call in calls:
        with pytest.raises(ProcessKilled, match="enough"):
            await call
    await until(lambda: slots_taken(slow) == 0)
    assert slow.processes.info(child).state == "killed"
    with pytest.raises(Conflict, match="killed"):
        await ask(slow, child, "hi")
    assert slow.processes.attach("parent") != parent


@pytest.mark.parametrize("n", [1, 2])
async def test_kill_frees_the_slot_even_if_the_reader_sleeps(slow: Kernel, n: int) -> None:
    pid = slow.processes.attach("ann")
    async with aclosing(slow.stream(pid, say(LONG, n=n))) as stream:
        await anext(stream)
        await signal(slow, pid, "kill")
        await until(lambda: slots_taken(slow) == 0)
        with pytest.raises(ProcessKilled):
            await anext(stream)


async def test_pause_takes_a_process_off_the_core_and_resume_goes_on_with_the_next_token(slow: Kernel) -> None:
    pid, other = slow.processes.attach("ann"), slow.processes.attach("bob")
    text = " ".join(map(str, range(40)))
    call = asyncio.create_task(ask(slow, pid, text))
    await until(lambda: slow.processes.info(pid).state == "running")
    assert (await signal(slow, pid, "pause")).state == "paused"
    await until(lambda: slots_taken(slow) == 0)
    late = asyncio.create_task(slow.trap(pid, Embed(inputs=("x",))))
    assert (await ask(slow, other, "mine now")).choices[0].content == "mine now"
    assert not call.done()
    assert not late.done()
    assert slow.processes.info(pid).state == "paused"
    await signal(slow, pid, "resume")
    assert (await call).choices[0].content == text
    await late
    assert slow.processes.info(pid).state == "idle"


async def test_a_process_is_ready_while_its_call_waits(slow: Kernel) -> None:
    first, second = slow.processes.attach("first"), slow.processes.attach("second")
    calls = [asyncio.create_task(ask(slow, pid, LONG)) for pid in (first, second)]
    await until(lambda: slow.processes.info(first).state == "running")
    waiting = slow.processes.info(second)
    assert (waiting.state, waiting.active_calls) == ("ready", 1)
    await until(lambda: slow.processes.info(second).waiting_s > 0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


# -- processes --------------------------------------------------------------------------------------------


async def test_a_process_may_signal_itself_and_its_descendants_only(kernel: Kernel) -> None:
    ann, bob = kernel.processes.attach("ann"), kernel.processes.attach("bob")
    child = (await spawn(kernel, ann, "child")).pid
    grandchild = (await spawn(kernel, child, "grandchild")).pid
    for pid in (bob, KERNEL):
        with pytest.raises(Forbidden):
            await signal(kernel, pid, "kill", by=child)
    with pytest.raises(Forbidden):
        await signal(kernel, ann, "pause", by=grandchild)
    assert (await signal(kernel, grandchild, "kill", by=ann)).state == "killed"
    admin = kernel.processes.attach("root", group="admin")
    assert (await kernel.trap(admin, Nice(pid=bob, nice=7))).nice == 7  # type: ignore[union-attr]
    with pytest.raises(NotFound):
        await signal(kernel, 999, "kill")


async def test_exit_ends_the_caller_and_lets_its_children_go_on(kernel: Kernel) -> None:
    ann = kernel.processes.attach("ann")
    child = (await spawn(kernel, ann, "child")).pid
    info = await kernel.trap(ann, Exit(status=3))
    assert (info.state, info.exit_status) == ("exited", 3)  # type: ignore[union-attr]
    assert (await ask(kernel, child, "alone")).choices[0].content == "alone"
    with pytest.raises(Conflict, match="exited"):
        await kernel.trap(ann, Exit())


async def test_ps_shows_a_caller_its_own_group_and_an_admin_all(kernel: Kernel) -> None:
    ann, eve = kernel.processes.attach("ann"), kernel.processes.attach("eve", group="other")
    pids = {p.pid for p in (await kernel.trap(ann, Ps())).processes}  # type: ignore[union-attr]
    assert pids == {ann}
    pids = {p.pid for p in (await kernel.trap(KERNEL, Ps())).processes}  # type: ignore[union-attr]
    assert pids == {KERNEL, ann, eve}


async def test_what_is_no_syscall_is_refused(kernel: Kernel) -> None:
    with pytest.raises(BadRequest):
        await kernel.trap(KERNEL, "reboot")  # type: ignore[arg-type]


# -- limits -----------------------------------------------------------------------------------------------


async def test_calls_and_tokens_of_a_process_are_limited(kernel: Kernel) -> None:
    pid = (await spawn(kernel, KERNEL, "ann", limits=Limits(calls=3, tokens=20))).pid
    await ask(kernel, pid, "one two", max_tokens=5)
    with pytest.raises(LimitExceeded, match=r"16 left|16 of its 20|max_tokens to at most 14"):
        await ask(kernel, pid, "one two", max_tokens=15)
    await ask(kernel, pid, "one two", max_tokens=14)
    await ask(kernel, pid, "x", max_tokens=1)
    with pytest.raises(LimitExceeded, match="3 calls"):
        await ask(kernel, pid, "x", max_tokens=1)
    assert (await kernel.trap(pid, Exit())).state == "exited"  # type: ignore[union-attr]


async def test_concurrency_of_a_process_makes_its_calls_wait_and_not_fail(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path, core={"slots": 4, **SLOW})) as kernel:
        pid = (await spawn(kernel, KERNEL, "ann", limits=Limits(concurrency=1))).pid
        calls = [asyncio.create_task(ask(kernel, pid, "one two three")) for _ in range(4)]
        most = 0
        while not all(call.done() for call in calls):
            most = max(most, slots_taken(kernel))
            await asyncio.sleep(0.001)
    assert most == 1
    assert [call.result().choices[0].content for call in calls] == ["one two three"] * 4


async def test_the_settings_limit_the_processes_that_callers_make(tmp_path: Path) -> None:
    limited = settings(tmp_path, processes={"limits": {"calls": 1}, "max_processes": 1})
    async with Kernel(limited) as kernel:
        pid = kernel.processes.attach("ann")
        await ask(kernel, pid, "hi")
        with pytest.raises(LimitExceeded, match="calls"):
            await ask(kernel, pid, "hi")
        with pytest.raises(LimitExceeded, match="max_processes"):
            kernel.processes.attach("bob")


async def test_a_call_that_is_cut_off_pays_for_what_it_used(slow: Kernel) -> None:
    pid = (await spawn(slow, KERNEL, "ann", limits=Limits(tokens=1000))).pid
    async with aclosing(slow.stream(pid, say("word " * 400, max_tokens=400))) as stream:
        await anext(stream)
    usage = slow.processes.info(pid).usage
    assert 0 < usage.completion_tokens < 400
    left = 1000 - usage.prompt_tokens - usage.completion_tokens
    with pytest.raises(LimitExceeded):
        await ask(slow, pid, "x", max_tokens=left)
    await ask(slow, pid, "x", max_tokens=left - 1)


# -- idempotency ------------------------------------------------------------------------------------------


async def test_the_same_key_gets_the_same_answer_and_another_request_a_conflict(kernel: Kernel) -> None:
    pid = kernel.processes.attach("ann")
    first = await ask(kernel, pid, "one two", idempotency_key="k", n=2)
    *deltas, again = await heard(kernel, pid, say("one two", idempotency_key="k", n=2))
    assert again == first
    for choice in (0, 1):
        told = [d.content for d in deltas if isinstance(d, Delta) and d.choice == choice]
        assert "".join(told) == "one two"
    assert kernel.processes.info(pid).usage.calls == 1
    with pytest.raises(Conflict):
        await ask(kernel, pid, "three", idempotency_key="k")
    other = kernel.processes.attach("bob")
    assert (await ask(kernel, other, "three", idempotency_key="k")).choices[0].content == "three"


async def test_a_call_that_runs_is_joined_and_goes_on_when_its_first_caller_hangs_up(slow: Kernel) -> None:
    pid = slow.processes.attach("ann")
    call = say("one two three four five six", idempotency_key="k")
    async with aclosing(slow.stream(pid, call)) as stream:
        await anext(stream)
        joined = asyncio.create_task(heard(slow, pid, call))
        await asyncio.sleep(0)
    *deltas, done = await joined
    assert isinstance(done, Completion)
    assert "".join(d.content for d in deltas if isinstance(d, Delta)) == done.choices[0].content
    assert slow.processes.info(pid).usage.calls == 1


async def test_a_keyed_call_that_nobody_waits_for_any_more_is_cancelled(slow: Kernel) -> None:
    pid = slow.processes.attach("ann")
    call = say(LONG, idempotency_key="k")
    async with aclosing(slow.stream(pid, call)) as stream:
        await anext(stream)
    await until(lambda: slots_taken(slow) == 0)
    short = await ask(slow, pid, "short", idempotency_key="k")  # the key is free again
    assert short.choices[0].content == "short"


async def test_a_keyed_spawn_makes_one_process_even_if_its_caller_hangs_up(kernel: Kernel) -> None:
    pid = kernel.processes.attach("ann")
    call = Spawn(name="child", idempotency_key="k")
    gone = asyncio.create_task(kernel.trap(pid, call))
    await asyncio.sleep(0.001)
    gone.cancel()
    made = await asyncio.gather(*(kernel.trap(pid, call) for _ in range(5)))
    assert len({info.pid for info in made}) == 1  # type: ignore[union-attr]
    with pytest.raises(Conflict):
        await kernel.trap(pid, Spawn(name="other", idempotency_key="k"))


# -- life -------------------------------------------------------------------------------------------------


async def test_drain_refuses_new_calls_and_lets_running_ones_end(tmp_path: Path) -> None:
    patient = settings(tmp_path, core=SLOW, server={"drain_s": 30})
    async with Kernel(patient) as kernel:
        pid = kernel.processes.attach("ann")
        running = asyncio.create_task(ask(kernel, pid, "one two three four"))
        await until(lambda: slots_taken(kernel) == 1)
        kernel.drain()
        assert kernel.draining
        for refused in (say("hi"), say("hi", idempotency_key="k"), Spawn(name="child")):
            with pytest.raises(Draining):
                await kernel.trap(pid, refused)
    assert (await running).choices[0].content == "one two three four"
    assert kernel.status().state == "closed"


async def test_calls_that_outlast_the_drain_are_cancelled(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path, core={"slots": 1, **SLOW}, server={"drain_s": 0.05})) as kernel:
        pid = kernel.processes.attach("ann")
        kinds = ({}, {"idempotency_key": "k"}, {"n": 2})
        calls = [asyncio.create_task(ask(kernel, pid, LONG, **fields)) for fields in kinds]
        await until(lambda: kernel.status().active_calls == 3)
    for call in calls:
        with pytest.raises(Cancelled):
            await call


async def test_a_core_that_does_not_start_fails_the_kernel_and_leaves_nothing_behind(tmp_path: Path) -> None:
    class Broken(ScriptedCore):
        closed = False

        async def start(self, tasks: asyncio.TaskGroup) -> None:
            raise CoreError("No such engine.", "Install it.")

        async def close(self) -> None:
            Broken.closed = True

    config = settings(tmp_path)
    before = asyncio.all_tasks()
    with pytest.raises(CoreError, match="engine"):
        async with Kernel(config, cores=[Broken(config.cores[0], EventBus())]):
            pass
    assert Broken.closed
    assert asyncio.all_tasks() == before
    async with Kernel(config) as kernel:  # the state folder is free again
        assert kernel.ready


async def test_the_state_of_kernel_and_cores_is_told(tmp_path: Path) -> None:
    kernel = Kernel(settings(tmp_path))
    with kernel.bus.subscribe() as events:
        async with kernel:
            assert (kernel.status().state, kernel.status().cores[0].state) == ("ready", "ready")
        seen = [event async for event in events]
    states = [event.state for event in seen if isinstance(event, KernelChanged)]
    assert states == ["starting", "ready", "draining", "closed"]
    assert [e.state for e in seen if isinstance(e, CoreChanged)] == ["starting", "ready", "closed"]


async def test_two_kernels_do_not_share_a_state_folder(kernel: Kernel) -> None:
    with pytest.raises(Conflict, match="Another kernel"):
        async with Kernel(kernel.settings):
            pass


async def test_a_kernel_that_is_not_entered_says_so(tmp_path: Path) -> None:
    kernel = Kernel(settings(tmp_path))
    with pytest.raises(Conflict, match="async with"):
        await kernel.trap(KERNEL, Ps())
    with pytest.raises(Conflict, match="async with"):
        kernel.processes.attach("ann")


async def test_a_kernel_that_was_left_takes_no_calls(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        pid = kernel.processes.attach("ann")
    with pytest.raises(Draining):
        await ask(kernel, pid, "hi")


async def test_a_defect_in_a_task_of_the_kernel_fails_its_calls_and_hangs_nobody(tmp_path: Path) -> None:
    async def defect() -> None:
        raise ZeroDivisionError

    async def broken() -> None:
        async with Kernel(settings(tmp_path, core=SLOW)) as kernel:
            pid = kernel.processes.attach("ann")
            call = asyncio.create_task(ask(kernel, pid, LONG))
            await until(lambda: slots_taken(kernel) == 1)
            kernel._need()._tasks.create_task(defect())
            for failing in (call, ask(kernel, pid, "hi")):
                with pytest.raises(AiosError, match="ZeroDivision"):
                    await failing
            assert not kernel.ready

    with pytest.raises(ExceptionGroup, match="unhandled"):
        await broken()


async def test_a_call_chooses_its_class_within_what_its_group_has(tmp_path: Path) -> None:
    groups = (GroupSettings(name="tests", classes=("batch", "idle")),)
    async with Kernel(msgspec.structs.replace(settings(tmp_path), groups=groups)) as kernel:
        pid = kernel.processes.attach("ann", group="tests/unit")
        with pytest.raises(Forbidden, match="'tests' may not use the class 'interactive'"):
            await kernel.trap(pid, say("hello", scheduling_class="interactive"))
        done = await kernel.trap(pid, say("hello", scheduling_class="idle"))
        assert isinstance(done, Completion)
        assert kernel.processes.info(pid).usage.calls == 1


async def test_a_call_chooses_its_policy_within_what_its_group_allows(tmp_path: Path) -> None:
    groups = (GroupSettings(name="tests", policies=("edf",)),)
    slow = {"slots": 1, "tokens_per_s": 200}
    limited = msgspec.structs.replace(settings(tmp_path, core=slow), groups=groups)
    async with Kernel(limited) as kernel:
        pid = kernel.processes.attach("ann", group="tests/unit")
        with pytest.raises(Forbidden, match=r"'tests' may not choose the policy 'srpt'.*edf"):
            await kernel.trap(pid, say("hello", policy="srpt"))
        with pytest.raises(Forbidden, match="'default' may not choose"):
            await kernel.trap(kernel.processes.attach("bob"), say("hello", policy="edf"))
        assert kernel.status().active_calls == 0
        done = await kernel.trap(pid, say("hello", policy="composed"))
        assert kernel.status().cores[0].chosen == ()
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(ask(kernel, pid, LONG, policy=name)) for name in ("edf", "", "edf")]
            await until(lambda: kernel.status().cores[0].waiting == 2)
            assert kernel.status().cores[0].chosen == ("edf",)
            kernel.set_policy("rr")
        assert {call.result().choices[0].content for call in calls} == {LONG}
        assert (kernel.status().cores[0].policy, kernel.status().cores[0].chosen) == ("rr", ())
        assert done.choices[0].content == "hello"
