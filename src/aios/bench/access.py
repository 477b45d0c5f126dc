"""`aios bench access`: what a decision costs, and what recording it costs.

Decisions: the built-in rules with 50 and 5,000 more, over subjects, actions and resources drawn from a seed,
against Cedar with the same rules. Percentiles of batches, so that the clock is not what is measured.

Audit: rows appended to a log on disk in transactions of 1, 64 and 1,000 decisions, chain and all, against the
same rows in a plain table; and what a checkpoint and the verification of a row cost.
"""

from __future__ import annotations

import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from aios.access import master
from aios.access.audit import Audited, AuditLog
from aios.access.cedar import CedarPolicy
from aios.access.decision import AccessPolicy, Subject
from aios.access.policy import RulePolicy
from aios.access.redact import Redactor
from aios.access.rules import Rule, RuleFile, built_in
from aios.bench.report import machine, percentile, save_bars, write_result
from aios.errors import ConfigError
from aios.kernel.journal import Journal

RULES = (50, 5000)
ACTIONS = ("memory.read", "memory.write", "storage.write", "storage.purge", "tool.call", "llm.generate")
KINDS = {"memory": "memory", "storage": "file", "tool": "tool", "llm": "model"}
BATCH = 20
"""Decisions timed together."""
GROUPS = (1, 64, 1000)
"""Decisions in one transaction."""


def run(out: Path, *, seeds: int = 5, quick: bool = False, **_: Any) -> None:
    """Measure and write `result.json` and `plot.png` to `out`."""
    seeds, batches = (2, 50) if quick else (seeds, 1000)
    decisions = [decision_cost(count, seeds, batches) for count in RULES]
    audit = [audit_cost(group, seeds, 2000 if quick else 20_000) for group in GROUPS]
    write_result(out, {"bench": "access", "decisions": decisions, "audit": audit, **machine()})
    save_bars(
        out / "plot.png",
        title="A decision, by the number of rules (median)",
        labels=[f"{each['rules']} rules" for each in decisions],
        series={
            name: [each[name]["p50"] for each in decisions if each[name] is not None]
            for name in ("rules_us", "cedar_us")
            if all(each[name] for each in decisions)
        },
        unit="microseconds",
        log=True,
    )


def rules(count: int, seed: int) -> list[Rule]:
    """As a large installation may have them: most for a folder or tool of one group, some for all of a kind."""
    draw = random.Random(seed)
    made: list[Rule] = []
    for number in range(count):
        action = draw.choice(ACTIONS)
        kind = KINDS[action.partition(".")[0]]
        name = f"team{draw.randrange(count)}" if draw.random() < 0.9 else "*"
        made.append(
            Rule(
                id=f"r{number}", effect=draw.choice(("allow", "ask", "deny")), actions=(action,),
                resources=(f"{kind}:{name}/*" if name != "*" else f"{kind}:*",),
                groups=(f"team{draw.randrange(count)}",),
            )
        )  # fmt: skip
    return made


def cedar(made: list[Rule]) -> str:
    """The same rules as Cedar says them."""
    parts: list[str] = []
    for rule in made:
        notes = f'@id("{rule.id}")' + (' @ask("")' if rule.effect == "ask" else "")
        verb = "forbid" if rule.effect == "deny" else "permit"
        head = f'principal in Group::"{rule.groups[0]}", action == Action::"{rule.actions[0]}", resource'
        parts.append(f'{notes} {verb}({head}) when {{ context.resource like "{rule.resources[0]}" }};')
    return "\n".join(parts)


def decision_cost(count: int, seeds: int, batches: int) -> dict[str, Any]:
    """Microseconds a decision with `count` rules."""
    ours: list[float] = []
    cedars: list[float] = []
    for seed in range(seeds):
        made = rules(count, seed)
        asked = list(_asked(count, seed, batches))
        ours += _timed(RulePolicy((built_in(), RuleFile(rules=tuple(made)))), asked)
        try:
            cedars += _timed(CedarPolicy(cedar(made)), asked[: BATCH * 10])
        except ConfigError as error:
            print(f"  cedar: {error}")
    mine, theirs = _spread(ours), _spread(cedars) if cedars else None
    print(f"  {count} rules: {mine['p50']:.2f} us, Cedar {theirs and theirs['p50']} us")
    return {"rules": count, "rules_us": mine, "cedar_us": theirs}


def _asked(count: int, seed: int, batches: int) -> Iterator[tuple[Subject, str, str, dict[str, Any]]]:
    draw = random.Random(1000 + seed)
    for number in range(batches * BATCH):
        action = draw.choice(ACTIONS)
        group = f"team{draw.randrange(count)}"
        resource = f"{KINDS[action.partition('.')[0]]}:team{draw.randrange(count)}/a/{number}"
        facts = {"owner": f"{group}:ann", "owner_group": group, "resource": resource}
        yield Subject(f"{group}:ann", "ann", group, frozenset({group, "staff"})), action, resource, facts


def _timed(policy: AccessPolicy, asked: list[tuple[Subject, str, str, dict[str, Any]]]) -> list[float]:
    """Microseconds a decision, of each batch."""
    for case in asked[:BATCH]:
        policy.decide(*case)
    found: list[float] = []
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        began = time.perf_counter()
        for subject, action, resource, facts in batch:
            policy.decide(subject, action, resource, facts)
        found.append((time.perf_counter() - began) * 1e6 / len(batch))
    return found


def audit_cost(group: int, seeds: int, rows: int) -> dict[str, Any]:
    """Microseconds a decision in transactions of `group`, chained and plain; and to verify one."""
    rows = min(rows, group * 200)
    chained: list[float] = []
    plain: list[float] = []
    verified: list[float] = []
    signed: list[float] = []
    for _ in range(seeds):
        with _database() as (db, log):
            chained.append(_written(db, log.append, group, rows))
            plain.append(_written(db, _append_plain, group, rows))
            signed.append(_took(lambda: log.checkpoint(db)))
            verified.append(_took(lambda: log.verify(db)) / rows)
    told = {
        "group": group, "rows": rows, "chained_us": _median(chained), "plain_us": _median(plain),
        "chain_us": _median([a - b for a, b in zip(chained, plain, strict=True)]),
        "verify_us": _median(verified), "checkpoint_us": _median(signed),
    }  # fmt: skip
    print(f"  audit, {group} a transaction: {told['chained_us']} us, plain {told['plain_us']} us a decision")
    return told


def _written(
    db: sqlite3.Connection, append: Callable[[sqlite3.Connection, list[Audited]], None], group: int, rows: int
) -> float:
    made = [
        Audited(at=time.time(), pid=7, agent="default:ann", action="memory.read", resource=f"memory:n_{number}",
                effect="allow", rule="default.own", call=number)
        for number in range(rows)
    ]  # fmt: skip

    def write() -> None:
        for start in range(0, rows, group):
            db.execute("BEGIN IMMEDIATE")
            append(db, made[start : start + group])
            db.execute("COMMIT")

    return _took(write) / rows


def _append_plain(db: sqlite3.Connection, rows: list[Audited]) -> None:
    db.executemany(
        "INSERT INTO plain (text) VALUES (?)", [(msgspec.json.encode(row).decode(),) for row in rows]
    )


@contextmanager
def _database() -> Generator[tuple[sqlite3.Connection, AuditLog]]:
    """A journal as the kernel has it: WAL and full sync."""
    import asyncio

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        async def make() -> None:
            journal = Journal(folder / "journal.db", print)
            await journal.open()
            await journal.close()

        asyncio.run(make())
        db = sqlite3.connect(folder / "journal.db", isolation_level=None)
        try:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("CREATE TABLE plain (seq INTEGER PRIMARY KEY, text TEXT NOT NULL)")
            yield db, AuditLog(master.load(folder / "access.key", {}), Redactor(), folder / "checkpoints")
        finally:
            db.close()


def _took(work: Callable[[], object]) -> float:
    """Microseconds."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e6


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 2)


def _spread(values: list[float]) -> dict[str, float]:
    return {name: round(percentile(values, share), 2) for name, share in (("p50", 0.5), ("p99", 0.99))}
