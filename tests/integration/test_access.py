"""Access control in the running kernel: what is denied, asked, labelled, recorded and kept secret."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.kernels import ask, say, settings, signal, spawn, until

from aios.access.approvals import Approval
from aios.access.audit import Audited
from aios.access.grants import Granted
from aios.errors import (
    Conflict,
    DeadlineExceeded,
    Draining,
    Forbidden,
    NotFound,
    ProcessKilled,
    ToolError,
    Unauthenticated,
)
from aios.events import AccessDenied, ApprovalAnswered, ApprovalAsked
from aios.kernel.kernel import Kernel
from aios.kernel.process import KERNEL
from aios.sdk.client import AsyncClient
from aios.server.serve import listening
from aios.syscalls import Completion, Ps, SendSignal, Spawn, memory, storage
from aios.syscalls.memory_records import Grant
from aios.syscalls.tools import CallTool
from aios.tools.tool import tool

pytestmark = pytest.mark.anyio

ASK_MODELS = """
[[rules]]
id = "models"
effect = "ask"
actions = ["llm.generate", "process.spawn"]
agents = ["ann", "ann/*"]
why = "Ann is new."
"""


def configured(folder: Path, rules: str = ASK_MODELS, **access: Any) -> Any:
    file = folder / "rules.toml"
    file.write_text(rules)
    return settings(folder / "state", access={"rules": [str(file)], **access})


async def waiting(kernel: Kernel, count: int = 1) -> list[Approval]:
    await until(lambda: len(kernel.guard.approvals.list("waiting")) == count)
    return list(kernel.guard.approvals.list("waiting"))


def operator(kernel: Kernel) -> Any:
    return kernel.processes.get(kernel.processes.attach("operator", group="admin"))


def found_in_files(folder: Path, what: bytes) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and what in file.read_bytes()]


async def decisions(kernel: Kernel) -> list[Audited]:
    await kernel._journal.settled()
    return [msgspec.json.decode(row.text, type=Audited) for row in await kernel.guard.audited(limit=1000)]


# -- asking -----------------------------------------------------------------------------------------------


async def test_a_call_waits_for_a_person_holding_no_slot(tmp_path: Path) -> None:
    async with Kernel(configured(tmp_path)) as kernel:
        ann, bob = kernel.processes.attach("ann"), kernel.processes.attach("bob")
        with kernel.bus.subscribe() as events:
            asked = asyncio.create_task(ask(kernel, ann, "may I?"))
            (approval,) = await waiting(kernel)
            for _ in range(8):  # the one core has four slots
                await ask(kernel, bob, "others go on")
            assert kernel.status().cores[0].running == 0
            assert '"may I?"' in approval.arguments
            await kernel.guard.answer(operator(kernel), approval.id, "once", "fine")
            assert (await asked).choices[0].content == "may I?"
            told = [e for e in events.unread() if isinstance(e, ApprovalAsked | ApprovalAnswered)]
        assert [type(e) for e in told] == [ApprovalAsked, ApprovalAnswered]
        assert kernel.guard.approvals.get(approval.id).state == "used"
        asked = asyncio.create_task(ask(kernel, ann, "may I?"))  # once was once
        (again,) = await waiting(kernel)
        await kernel.guard.answer(operator(kernel), again.id, "deny", "not twice")
        with pytest.raises(Forbidden, match="not twice"):
            await asked


async def test_always_is_for_this_rule_and_this_agent(tmp_path: Path) -> None:
    async with Kernel(configured(tmp_path)) as kernel:
        ann = kernel.processes.attach("ann")
        asked = asyncio.create_task(ask(kernel, ann, "one"))
        (approval,) = await waiting(kernel)
        await kernel.guard.answer(operator(kernel), approval.id, "always")
        await asked
        await ask(kernel, ann, "two")
    async with Kernel(configured(tmp_path)) as kernel:  # and for the next kernel
        ann = kernel.processes.attach("ann")
        await ask(kernel, ann, "three")
        await kernel.guard.withdraw(operator(kernel), "models", "default:ann")
        asked = asyncio.create_task(ask(kernel, ann, "four"))
        await waiting(kernel)
        asked.cancel()


async def test_who_asked_and_those_below_it_can_not_answer(tmp_path: Path) -> None:
    rules = (
        ASK_MODELS
        + '[[rules]]\nid = "answer"\neffect = "allow"\nactions = ["approval.answer"]\nacross = true\n'
    )
    async with Kernel(configured(tmp_path, rules)) as kernel:
        table = kernel.processes
        ann = table.attach("ann")
        child = table.get(await _child(kernel, ann, "helper"))
        asked = asyncio.create_task(ask(kernel, ann, "may I?"))
        (approval,) = await waiting(kernel)
        named_below = table.get(table.attach("ann/web"))
        for who in (table.get(ann), child, named_below):
            with pytest.raises(Forbidden, match="neither the asker nor below"):
                await kernel.guard.answer(who, approval.id, "once")
        await kernel.guard.answer(table.get(table.attach("bob")), approval.id, "once")
        await asked
        with pytest.raises(Conflict):
            await kernel.guard.answer(table.get(table.attach("bob")), approval.id, "once")


async def _child(kernel: Kernel, pid: int, name: str) -> int:
    spawned = asyncio.create_task(spawn(kernel, pid, name))
    (approval,) = await waiting(kernel)
    await kernel.guard.answer(operator(kernel), approval.id, "once")
    return (await spawned).pid


async def test_by_default_only_admins_answer(tmp_path: Path) -> None:
    async with Kernel(configured(tmp_path)) as kernel:
        asked = asyncio.create_task(ask(kernel, kernel.processes.attach("ann"), "may I?"))
        (approval,) = await waiting(kernel)
        with pytest.raises(Forbidden, match="Only admins"):
            await kernel.guard.answer(kernel.processes.get(kernel.processes.attach("bob")), approval.id, "once")
        asked.cancel()


async def test_unattended_denies_but_for_the_list(tmp_path: Path) -> None:
    async with Kernel(configured(tmp_path, unattended=True)) as kernel:
        with pytest.raises(Forbidden, match="Nobody is there"):
            await ask(kernel, kernel.processes.attach("ann"), "one")
    for yes in ("llm.*", "rule:models"):
        async with Kernel(configured(tmp_path, unattended=True, yes_to=[yes])) as kernel:
            await ask(kernel, kernel.processes.attach("ann"), "one")


async def test_no_answer_in_time_is_a_denial(tmp_path: Path) -> None:
    async with Kernel(configured(tmp_path, approval_ttl_s=0.05)) as kernel:
        with pytest.raises(Forbidden, match="in time"):
            await ask(kernel, kernel.processes.attach("ann"), "one")
        assert kernel.guard.approvals.list()[0].state == "expired"


async def test_a_killed_process_waits_no_longer(tmp_path: Path) -> None:
    async with Kernel(configured(tmp_path)) as kernel:
        ann = kernel.processes.attach("ann")
        asked = asyncio.create_task(ask(kernel, ann, "one"))
        await waiting(kernel)
        await signal(kernel, ann, "kill")
        with pytest.raises(ProcessKilled):
            await asked


# -- restarts ---------------------------------------------------------------------------------------------


async def test_a_parked_call_with_a_key_goes_on_in_the_next_kernel(tmp_path: Path) -> None:
    async with Kernel(configured(tmp_path)) as kernel:
        ann = kernel.processes.attach("ann")
        generate = asyncio.create_task(ask(kernel, ann, "may I?", idempotency_key="k"))
        make = asyncio.create_task(kernel.trap(ann, Spawn(name="child", idempotency_key="s")))
        before = await waiting(kernel, 2)
    for task in (generate, make):
        with pytest.raises(Draining):
            await task
    async with Kernel(configured(tmp_path)) as kernel:
        assert {a.id for a in await waiting(kernel, 2)} == {a.id for a in before}
        for approval in before:
            await kernel.guard.answer(operator(kernel), approval.id, "once")
        found = await ask(kernel, ann, "may I?", idempotency_key="k")
        child = await kernel.trap(ann, Spawn(name="child", idempotency_key="s"))
        assert found.choices[0].content == "may I?"
        assert [p.pid for p in kernel.processes.list() if p.name == "child"] == [child.pid]
        assert kernel.guard.approvals.list("waiting") == ()


async def test_an_answer_given_while_the_caller_was_away_is_for_the_same_call_only(tmp_path: Path) -> None:
    async with Kernel(configured(tmp_path)) as kernel:
        ann = kernel.processes.attach("ann")
        asked = asyncio.create_task(ask(kernel, ann, "may I?"))
        (approval,) = await waiting(kernel)
        asked.cancel()
        await kernel.guard.answer(operator(kernel), approval.id, "once")
    async with Kernel(configured(tmp_path)) as kernel:
        other = asyncio.create_task(ask(kernel, ann, "may I more?"))
        await waiting(kernel)
        assert (await ask(kernel, ann, "may I?")).choices[0].content == "may I?"
        other.cancel()


async def test_an_answer_is_for_the_tool_and_its_arguments_however_they_are_sent(tmp_path: Path) -> None:
    rules = '[[rules]]\nid = "clock"\neffect = "ask"\nactions = ["tool.call"]\nresources = ["tool:clock"]'
    async with Kernel(configured(tmp_path, rules)) as kernel:
        ann = kernel.processes.attach("ann")

        async def clock(arguments: Any, **delivery: Any) -> Any:
            return await kernel.trap(ann, CallTool(name="clock", arguments=arguments, **delivery))

        with pytest.raises(DeadlineExceeded):
            await clock({"zone": "UTC"}, deadline_s=0.05, id="1")
        (approval,) = await waiting(kernel)
        assert json.loads(approval.arguments) == {
            "arguments": {"zone": "UTC"}, "call": "tool.call", "name": "clock"
        }  # fmt: skip
        await kernel.guard.answer(operator(kernel), approval.id, "once")
        with pytest.raises(DeadlineExceeded):
            await clock({"zone": "UTc"}, deadline_s=0.05)
        assert (await clock('{"zone" : "UTC"}', idempotency_key="k", id="2")).value.zone == "UTC"
        with pytest.raises(DeadlineExceeded):
            await clock({"zone": "UTC"}, deadline_s=0.05)  # it was good for once
        for left in await waiting(kernel, 2):
            await kernel.guard.answer(operator(kernel), left.id, "deny", "not now")
        with pytest.raises(ToolError, match="are not JSON"):
            await kernel.trap(ann, CallTool(name="calculator", arguments='{"expression": '))


# -- rights and rules -------------------------------------------------------------------------------------


async def test_a_child_can_only_lose_rights(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        ann = kernel.processes.attach("ann")
        child = await spawn(kernel, ann, "child", rights=("llm.*", "process.spawn"))
        grandchild = await spawn(kernel, child.pid, "grandchild", rights=("*",))
        assert child.rights == ("llm.*", "process.spawn")
        await ask(kernel, grandchild.pid, "words")
        for pid in (child.pid, grandchild.pid):
            with pytest.raises(Forbidden, match="'rights'"):
                await kernel.trap(pid, Ps())
    async with Kernel(settings(tmp_path)) as kernel:  # rights outlive the kernel
        with pytest.raises(Forbidden, match="'rights'"):
            await kernel.trap(grandchild.pid, Ps())


async def test_a_rule_denies_and_says_which(tmp_path: Path) -> None:
    rules = (
        '[[rules]]\nid = "no-parrots"\neffect = "deny"\nresources = ["model:parrot"]\ngroups = ["default"]\n'
    )
    async with Kernel(configured(tmp_path, rules)) as kernel:
        with kernel.bus.subscribe() as events:
            with pytest.raises(Forbidden, match="'no-parrots'"):
                await ask(kernel, kernel.processes.attach("ann"), "one", model="parrot")
            denied = [e for e in events.unread() if isinstance(e, AccessDenied)]
        assert [e.rule for e in denied] == ["no-parrots"]
        await ask(kernel, kernel.processes.attach("root", group="admin"), "one", model="parrot")


VAULT = """
[[rules]]
id = "vault"
effect = "deny"
actions = ["storage.*"]
resources = ["file:/vault/*"]
"""


@pytest.mark.parametrize(
    "call",
    [
        storage.ReadFile(path="/vault/a"),
        storage.ReadFile(path="vault/a"),
        storage.ReadFile(path="//vault/./a"),
        storage.Copy(path="/vault/a", to="/open"),
        storage.Move(path="/open", to="vault/b"),
        storage.LinkFile(path="/way", target="vault/a"),
    ],
)
async def test_no_other_spelling_of_a_path_goes_round_a_rule(tmp_path: Path, call: Any) -> None:
    async with Kernel(configured(tmp_path, VAULT)) as kernel:
        ann = kernel.processes.attach("ann")
        await kernel.trap(ann, storage.WriteFile(path="open", text="x"))
        with pytest.raises(Forbidden, match="'vault'"):
            await kernel.trap(ann, call)


async def test_nothing_crosses_privilege_groups(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        ann, eve = kernel.processes.attach("ann", group="research"), kernel.processes.attach("eve", group="ops")
        for what in ("kill", "pause", "resume"):
            with pytest.raises(NotFound):
                await kernel.trap(eve, SendSignal(pid=ann, signal=what))
        with pytest.raises(Forbidden):
            await spawn(kernel, eve, "mole", group="research")
        assert kernel.processes.info(ann).state == "idle"


async def test_data_of_others_takes_a_grant_that_expires(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        guard, table = kernel.guard, kernel.processes
        ann, bob, eve = (
            table.get(table.attach(n, group=g)) for n, g in (("ann", "r"), ("bob", "r"), ("eve", "o"))
        )
        facts = {"owner": "r:ann", "owner_group": "r"}

        def may(who: Any, action: str = "memory.read") -> bool:
            return guard.decide(who, action, "memory:n_1", facts).effect == "allow"

        assert [may(who) for who in (ann, bob, eve)] == [True, False, False]
        with pytest.raises(Forbidden):
            await guard.grant(
                bob, Granted(owner="r:ann", resource="*", grant=Grant(whom="agent", name="r:bob"))
            )
        for whom, name in (("agent", "o:eve"), ("group", "r")):
            grant = Grant(whom=whom, name=name)
            await guard.grant(ann, Granted(owner="r:ann", resource="memory:n_*", grant=grant))
        assert [may(who) for who in (ann, bob, eve)] == [True, True, True]
        assert not may(eve, "memory.write")
        await guard.revoke(ann, "r:ann", "memory:n_*", "group", "r")
        assert not may(bob)
        with pytest.raises(NotFound):
            await guard.revoke(ann, "r:ann", "memory:n_*", "group", "r")
        past = Grant(whom="agent", name="r:bob", expires=1.0)
        await guard.grant(ann, Granted(owner="r:ann", resource="memory:n_*", grant=past))
        assert not may(bob)
    async with Kernel(settings(tmp_path)) as kernel:
        guard, eve = kernel.guard, kernel.processes.get(kernel.processes.attach("eve", group="o"))
        assert guard.decide(eve, "memory.read", "memory:n_1", facts).effect == "allow"


# -- labels -----------------------------------------------------------------------------------------------


async def test_labels_spread_and_what_may_leak_is_asked(tmp_path: Path) -> None:
    plain = {"memory": {"thinking": "extract", "embedder": "none"}}
    async with Kernel(settings(tmp_path, **plain)) as kernel:
        guard, table = kernel.guard, kernel.processes
        ann, bob = table.get(table.attach("ann")), table.get(table.attach("bob"))

        def send(who: Any) -> str:
            return guard.decide(who, "tool.call", "tool:http", {"sink": True}).effect

        guard.saw(ann, {"private": True})
        assert send(ann) == "allow"
        made = await kernel.trap(ann.pid, memory.Alloc(text="zebra"))
        await kernel.trap(ann.pid, memory.Share(id=made.id, name="bob"))
        guard.saw(bob, {"untrusted": True})
        assert send(bob) == "allow"
        await kernel.trap(bob.pid, memory.Read(id=made.id))  # ann's memory brings the other half
        assert send(bob) == "ask"
        child = await spawn(kernel, bob.pid, "child")
        assert send(table.get(child.pid)) == "ask"
        declassified = asyncio.create_task(guard.declassify(bob, "agent:default:bob", ("private",)))
        (approval,) = await waiting(kernel)
        assert approval.action == "label.declassify"
        await guard.answer(operator(kernel), approval.id, "once")
        await declassified
        assert (send(bob), send(table.get(child.pid))) == ("allow", "allow")
        await kernel.trap(bob.pid, memory.Read(id=made.id))
        await signal(kernel, bob.pid, "kill")
        for name in ("bob", "bob/web"):  # to come back, or by another name below, washes nothing off
            assert send(table.get(table.attach(name))) == "ask"
    async with Kernel(settings(tmp_path)) as kernel:
        bob = kernel.processes.get(kernel.processes.attach("bob"))
        decided = kernel.guard.decide(bob, "tool.call", "tool:http", {"sink": True})
        assert decided.effect == "ask"


# -- the audit log ----------------------------------------------------------------------------------------


async def test_each_decision_is_on_disk_with_what_it_decided(tmp_path: Path) -> None:
    async with Kernel(configured(tmp_path)) as kernel:
        bob = kernel.processes.attach("bob")
        await ask(kernel, bob, "one")
        child = await spawn(kernel, bob, "child")
        asked = asyncio.create_task(ask(kernel, kernel.processes.attach("ann"), "two"))
        (approval,) = await waiting(kernel)
        await kernel.guard.answer(operator(kernel), approval.id, "deny", "no")
        with pytest.raises(Forbidden):
            await asked
        told = [(d.agent, d.action, d.effect, d.rule) for d in await decisions(kernel)]
        assert told == [
            ("default:bob", "llm.generate", "allow", "default.open"),
            ("default:bob", "process.spawn", "allow", "default.group"),
            ("admin:operator", "approval.answer", "deny", "models"),
            ("default:ann", "llm.generate", "deny", "models"),
        ]
        entries = await kernel._journal.examine(
            lambda db: db.execute("SELECT id, kind FROM syscalls").fetchall()
        )
        assert {d.call for d in await decisions(kernel) if d.agent == "default:bob"} == {
            id for id, _ in entries
        }
        report = await kernel.guard.verify()
        assert (report.intact, report.rows) == (True, 4)
        assert child.pid
    async with Kernel(configured(tmp_path)) as kernel:
        assert (await kernel.guard.verify()).checkpoints >= 1


async def test_an_edit_made_while_no_kernel_ran_is_found(tmp_path: Path) -> None:
    import sqlite3

    async with Kernel(settings(tmp_path)) as kernel:
        await ask(kernel, kernel.processes.attach("bob"), "one")
    with sqlite3.connect(tmp_path / "journal.db") as db:
        db.execute("UPDATE audit SET text = replace(text, 'bob', 'eve')")
    db.close()
    async with Kernel(settings(tmp_path)) as kernel:
        await ask(kernel, kernel.processes.attach("bob"), "two")
        report = await kernel.guard.verify()
        assert (report.intact, report.broken) == (False, 1)


# -- secrets ----------------------------------------------------------------------------------------------


async def test_a_planted_secret_is_found_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    value = "s3cret-Tok/en+with=all"
    heard: list[Any] = []

    @tool(effect="opaque")
    def echo(text: str) -> str:
        """Say it, often: the rest goes to a file."""
        return f"{text} " * 2000

    async with Kernel(configured(tmp_path)) as kernel:
        kernel.guard.vault.put("token", value, agents=("bob",))
        kernel._need().tools._tools.add(echo)
        bobs = kernel.processes.attach("bob")
        told_file = await kernel.trap(bobs, CallTool(name="echo", arguments={"text": "{{secret:token}}"}))
        assert told_file.file
        assert value[:6] not in told_file.text
        caplog.handler.addFilter(kernel.guard.redactor)
        ann, bob = kernel.processes.attach("ann"), kernel.processes.get(kernel.processes.attach("bob"))
        with kernel.bus.subscribe() as events:
            done = await ask(kernel, bob.pid, f"say {value}", idempotency_key="k")
            assert value not in str(done)
            asked = asyncio.create_task(ask(kernel, ann, f"use {value}", idempotency_key="q"))
            (approval,) = await waiting(kernel)
            await kernel.guard.answer(operator(kernel), approval.id, "deny", f"not with {value}")
            with pytest.raises(Forbidden) as refused:
                await asked
            with pytest.raises(Forbidden) as also:
                await spawn(kernel, bob.pid, "x", group=f"g-{value}")
            await signal(kernel, bob.pid, "pause", reason=value)
            heard += events.unread()
        logging.getLogger("aios").error("the tool said %s", value)
        caplog.handler.removeFilter(kernel.guard.redactor)
        assert kernel.guard.vault.inject("{{secret:token}}", kernel.guard.subject(bob)) == value
        told = [str(heard), str(refused.value), str(refused.value.args), str(also.value), caplog.text]
        told += [str(kernel.trace()), str(await kernel.guard.audited(limit=1000))]
        told.append(str(await kernel.trap(KERNEL, Ps(all=True))))
        await kernel._journal.settled()
    for text in told:
        assert value not in text
    assert "[secret:token]" in caplog.text
    assert found_in_files(tmp_path, b"parrot")
    assert not found_in_files(tmp_path, value.encode())


# -- the ways in ------------------------------------------------------------------------------------------


@asynccontextmanager
async def served(folder: Path, **access: Any) -> AsyncGenerator[tuple[Kernel, str]]:
    async with (
        Kernel(configured(folder, **access)) as kernel,
        listening(kernel, port=0, admin_token="aios-daemon-token") as listener,
    ):
        yield kernel, listener.url


async def test_a_callback_answers_what_agents_ask_over_http(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, url), AsyncClient(url, api_key="aios-daemon-token") as owner:
        said: list[str] = []

        async def decide(asked: Approval) -> Any:
            said.append(asked.action)
            return "once" if "please" in asked.arguments else ("deny", "Say please.")

        answering = asyncio.create_task(owner.approvals.answer_all(decide))
        async with AsyncClient(url, agent="ann") as ann:
            done = await ann.chat([{"role": "user", "content": "please"}])
            assert isinstance(done, Completion)
            with pytest.raises(Forbidden, match="Say please"):
                await ann.chat([{"role": "user", "content": "now"}])
        assert said == ["llm.generate", "llm.generate"]
        assert {a.state for a in await owner.approvals.list()} == {"used", "denied"}
        answering.cancel()


async def test_without_a_key_nobody_answers_or_keeps_secrets_even_on_loopback(tmp_path: Path) -> None:
    async with served(tmp_path) as (kernel, url), AsyncClient(url, agent="ann", retries=0) as ann:
        asked = asyncio.create_task(ann.chat([{"role": "user", "content": "please"}]))
        (approval,) = await waiting(kernel)
        async with httpx.AsyncClient(base_url=url) as web:
            tries = [
                ("POST", f"/aios/v1/approvals/{approval.id}", {"answer": "once"}),
                ("PUT", "/aios/v1/secrets", {"name": "x", "value": "long enough"}),
                ("DELETE", "/aios/v1/secrets/x", None),
                ("DELETE", "/aios/v1/standing?rule=models&agent=default:ann", None),
            ]
            for method, path, given in tries:
                assert (await web.request(method, path, json=given)).status_code == 401, path
        with pytest.raises(Unauthenticated):
            await ann.approvals.allow(approval.id)
        assert kernel.guard.approvals.get(approval.id).state == "waiting"
        asked.cancel()


async def test_an_agent_sees_its_own_approvals_and_grants_and_no_more(tmp_path: Path) -> None:
    async with served(tmp_path) as (kernel, url):
        keys = {name: kernel.keys.create(name) for name in ("ann", "eve")}
        async with AsyncClient(url, api_key=keys["ann"]) as ann, AsyncClient(url, api_key=keys["eve"]) as eve:
            asked = asyncio.create_task(ann.chat([{"role": "user", "content": "please"}]))
            (approval,) = await waiting(kernel)
            assert [a.id for a in await ann.approvals.list("waiting")] == [approval.id]
            assert await eve.approvals.list() == ()
            with pytest.raises(NotFound):
                await eve.approvals.get(approval.id)
            for client in (ann, eve):
                with pytest.raises(Forbidden):
                    await client.approvals.allow(approval.id)
            async with httpx.AsyncClient(
                base_url=url, headers={"authorization": f"Bearer {keys['eve']}"}
            ) as web:
                for path in ("audit", "audit/verify", "secrets", "agents", "standing", "approvals/watch"):
                    assert (await web.get(f"/aios/v1/{path}")).status_code == 403, path
                given = {"owner": "default:ann", "resource": "*", "name": "default:eve"}
                assert (await web.post("/aios/v1/grants", json=given)).status_code == 403
                mine = {"resource": "memory:*", "name": "default:ann", "expires_s": 60}
                assert (await web.post("/aios/v1/grants", json=mine)).status_code == 201
                found = (await web.get("/aios/v1/grants")).json()["grants"]
                assert [g["owner"] for g in found] == ["default:eve"]
                query = "resource=memory:*&name=default:ann"
                assert (await web.delete(f"/aios/v1/grants?{query}")).json() == {"grants": []}
            asked.cancel()


async def test_the_operator_sees_agents_secrets_and_the_log(tmp_path: Path) -> None:
    async with served(tmp_path) as (kernel, url):
        kernel.keys.create("bob", "research")
        await ask(kernel, kernel.processes.attach("bob", group="research"), "one")
        await kernel._journal.settled()
        headers = {"authorization": "Bearer aios-daemon-token"}
        async with httpx.AsyncClient(base_url=url, headers=headers) as web:
            (bob,) = [a for a in (await web.get("/aios/v1/agents")).json()["agents"] if a["name"] == "bob"]
            assert (bob["agent"], bob["keys"], len(bob["pids"])) == ("research:bob", 1, 1)
            given = {"name": "token", "value": "long enough", "agents": ["bob"]}
            assert (await web.put("/aios/v1/secrets", json=given)).status_code == 200
            assert "long enough" not in (await web.get("/aios/v1/secrets")).text
            assert (await web.get("/aios/v1/audit/verify")).json()["rows"] >= 2
            page = (await web.get("/aios/v1/audit", params={"limit": 1})).json()
            assert len(page["rows"]) == 1
            assert (await web.delete("/aios/v1/secrets/token")).json() == {"secrets": []}
            assert (await web.get("/aios/v1/approvals", params={"state": "wrong"})).status_code == 400


async def test_a_stream_is_refused_before_it_begins(tmp_path: Path) -> None:
    async with Kernel(configured(tmp_path, unattended=True)) as kernel:
        with pytest.raises(Forbidden):
            async for _ in kernel.stream(kernel.processes.attach("ann"), say("one")):
                raise AssertionError


# -- memory and storage -----------------------------------------------------------------------------------


async def test_calls_of_managers_are_decided_asked_and_recorded_too(tmp_path: Path) -> None:
    rules = '[[rules]]\nid = "no-notes"\neffect = "deny"\nactions = ["memory.note"]\n'
    async with Kernel(configured(tmp_path, rules, ask=["irreversible"])) as kernel:
        ann = kernel.processes.attach("ann")
        await kernel.trap(ann, storage.WriteFile(path="/a", text="one"))
        with pytest.raises(Forbidden, match="'no-notes'"):
            await kernel.trap(ann, memory.AddNote(content="two"))
        binned = await kernel.trap(ann, storage.DeleteFile(path="/a"))
        purge = asyncio.create_task(kernel.trap(ann, storage.Purge(ids=(binned.id,))))
        (approval,) = await waiting(kernel)
        assert (approval.action, approval.rule) == ("storage.purge", "irreversible")
        await kernel.guard.answer(operator(kernel), approval.id, "deny", "keep it")
        with pytest.raises(Forbidden, match="keep it"):
            await purge
        await kernel.trap(ann, storage.Restore(id=binned.id))
        told = [
            (d.action, d.resource, d.effect, d.rule)
            for d in await decisions(kernel)
            if d.agent == "default:ann"
        ]
        assert told == [
            ("storage.write", "file:/a", "allow", "default.own"),
            ("memory.note", "memory:", "deny", "no-notes"),
            ("storage.delete", "file:/a", "allow", "default.own"),
            ("storage.purge", "storage:", "deny", "irreversible"),
            ("storage.restore", "storage:", "allow", "default.own"),
        ]
        assert (await kernel.guard.verify()).intact


async def test_a_shared_memory_brings_its_labels_along(tmp_path: Path) -> None:
    async with Kernel(settings(tmp_path)) as kernel:
        guard, table = kernel.guard, kernel.processes
        ann, bob = table.get(table.attach("ann")), table.get(table.attach("bob"))
        guard.saw(ann, {"private": True})
        entry = await kernel.trap(ann.pid, memory.Alloc(data=b"a secret plan"))
        await kernel.trap(ann.pid, memory.Share(id=entry.id, name="bob"))
        guard.saw(bob, {"untrusted": True})
        assert guard.subject(bob).labels == {"untrusted"}
        await kernel.trap(bob.pid, memory.Search(query="plan", by="words"))
        assert guard.subject(bob).labels == {"untrusted", "private"}
