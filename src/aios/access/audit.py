"""The audit log: each decision, in the transaction of what it decided, chained so that no edit goes unseen.

Row n holds a JSON text and HMAC(key, link_n), link_n = SHA-256(link_{n-1} | text_n) (a hash chain with keyed
tags, after Schneier & Kelsey 1999, section 3). The last link stands in a row of its own, tagged too, so a log
that was cut off is noticed. Now and then the last link is signed (Ed25519) and appended to a file beside: who
keeps that file, or a copy of it elsewhere, can tell that the whole database was put back to an earlier state,
and can check an exported log without any secret."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from aios.access.decision import Effect
from aios.access.master import MasterKey
from aios.access.redact import Redactor
from aios.errors import StorageUnavailable
from aios.syscalls import Record

START = bytes(32)
"""The link before the first row."""
PAGE = 1000
APPEND = """INSERT INTO audit (seq, text, mac)
SELECT ?1 + 1 + key, value, substr(?2, 1 + 32 * key, 32) FROM json_each(?3) ORDER BY key"""


class Audited(Record, frozen=True):
    """One decision. `call`: number of the syscall in the journal, 0 if it has none. `by`: who answered, where
    somebody was asked. `digest`: of action, resource and arguments, where they were shown."""

    at: float
    pid: int
    agent: str
    action: str
    resource: str
    effect: Effect
    rule: str
    call: int = 0
    why: str = ""
    by: str = ""
    digest: str = ""


class AuditRow(Record, frozen=True):
    """As it is exported: one JSON line. `mac` is in hex."""

    seq: int
    text: str
    mac: str


class Checkpoint(Record, frozen=True):
    """Until row `seq` the chain has this link (hex), says the kernel's Ed25519 key. `at`: Unix time."""

    seq: int
    link: str
    at: float
    signature: str


class Base(Record, frozen=True):
    """Rows up to `seq` are in sealed files (archive.py), and there the chain has this link (hex). `mac` in
    hex."""

    seq: int = 0
    link: str = START.hex()
    mac: str = ""


class AuditReport(Record, frozen=True):
    """`rows` were checked, the first has number `begins`, and `archived` more in sealed files that are here;
    `broken`: the first row that is not as it was written (None: none), and `what` is wrong."""

    rows: int
    begins: int = 1
    archived: int = 0
    checkpoints: int = 0
    broken: int | None = None
    what: str = ""

    @property
    def intact(self) -> bool:
        return not self.what


class AuditLog:
    """Appends to and checks the log in a database that has its tables (journal.sql). `checkpoints`: their
    file."""

    def __init__(self, key: MasterKey, redactor: Redactor, checkpoints: Path) -> None:
        self._key, self._signer, self._redactor = key.derive("audit log"), key.signer(), redactor
        self.file = checkpoints
        self._signed = -1
        self._told: tuple[int, bytes] | None = None
        """How many checkpoints there are, and their chain; None: what the head of the log says."""
        self._telling = threading.Lock()

    @property
    def public_key(self) -> str:
        """Checks checkpoints; hex."""
        return self._signer.public_key().public_bytes_raw().hex()

    def append(self, db: sqlite3.Connection, rows: Sequence[Audited]) -> None:
        """Inside the caller's transaction. With it goes what checkpoints there are by now, without rows too."""
        seq, link, told, newest = db.execute("SELECT seq, link, told, newest FROM audit_head").fetchone()
        told, newest = self._told or (told, newest)
        encode, digest, clean = msgspec.json.encode, hashlib.sha256, self._redactor
        fresh = hmac.new(self._key, digestmod="sha256")
        texts: list[str] = []
        tags: list[bytes] = []
        for row in rows:
            text = encode(row) if clean.idle else clean.text(encode(row).decode()).encode()
            link = digest(link + text).digest()
            texts.append(text.decode())
            # Not hmac.digest, and not a statement a row: each of these gives up the interpreter's lock, and
            # while the kernel is busy this thread waits 5 ms to have it again.
            tag = fresh.copy()
            tag.update(link)
            tags.append(tag.digest())
        db.execute(APPEND, (seq, b"".join(tags), encode(texts).decode()))
        seq += len(texts)
        mac = self._head_mac(seq, link, told, newest)
        values = (seq, link, told, newest, mac)
        db.execute("UPDATE audit_head SET seq = ?, link = ?, told = ?, newest = ?, mac = ?", values)

    def checkpoint(self, db: sqlite3.Connection) -> bool:
        """Sign what there is by now, if it is more than at the last time; whether it is. The next `append`
        writes that there is one more. Raises OSError, sqlite3.Error, StorageUnavailable."""
        seq, link = db.execute("SELECT seq, link FROM audit_head").fetchone()
        if seq == 0 or seq == self._signed:
            return False
        self._tell(db, seq, link)
        self._signed = seq
        return True

    def sign(self, db: sqlite3.Connection, seq: int) -> Checkpoint:
        """Sign the log as it was at row `seq`. Raises OSError, sqlite3.Error, StorageUnavailable."""
        base = self.base(db)
        link = bytes.fromhex(base.link)
        for row in exported(db, base.seq, seq - base.seq):
            link = hashlib.sha256(link + row.text.encode()).digest()
        return self._tell(db, seq, link)

    def based(self, at: Checkpoint) -> Base:
        """The base of a log that begins after a checkpoint."""
        mac = self._base_mac(at.seq, bytes.fromhex(at.link)).hex()
        return Base(seq=at.seq, link=at.link, mac=mac)

    def base(self, db: sqlite3.Connection) -> Base:
        """Where the log begins by now."""
        found = db.execute("SELECT value FROM access WHERE kind = 'audit' AND name = 'base'").fetchone()
        return Base() if found is None else msgspec.json.decode(found[0], type=Base)

    def _tell(self, db: sqlite3.Connection, seq: int, link: bytes) -> Checkpoint:
        signature = self._signer.sign(_statement(seq, link)).hex()
        told = Checkpoint(seq=seq, link=link.hex(), at=time.time(), signature=signature)
        with self._telling:
            count, newest = self._told or self._known(db)
            with self.file.open("ab") as file:
                file.write(msgspec.json.encode(told) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self._told = count + 1, _chained([told], newest)
        return told

    def _known(self, db: sqlite3.Connection) -> tuple[int, bytes]:
        """How many checkpoints an earlier kernel wrote, and their chain. The file may have more than the head
        of the log knows of, if that kernel was killed in between; never less: then the head is believed."""
        count, newest = db.execute("SELECT told, newest FROM audit_head").fetchone()
        there = self.checkpoints()
        if _chained(there[:count]) != newest:
            return count, newest
        return len(there), _chained(there)

    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Raises StorageUnavailable."""
        try:
            return read_checkpoints(self.file.read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            raise StorageUnavailable(
                f"The checkpoints {self.file} can't be read: {error}.", "Restore them."
            ) from error

    def verify(self, db: sqlite3.Connection) -> AuditReport:
        """Check every row, the end of the log, and all checkpoints. Raises StorageUnavailable."""
        db.execute("BEGIN")  # one state of the database, whatever is appended meanwhile
        try:
            head = db.execute("SELECT seq, link, told, newest, mac FROM audit_head").fetchone()
            base = self.base(db)
            start = (base.seq, bytes.fromhex(base.link))
            if base.seq and not hmac.compare_digest(self._base_mac(*start).hex(), base.mac):
                return AuditReport(rows=0, broken=base.seq + 1, what="The beginning of the log was changed.")
            rows, told, public = exported(db, base.seq), self.checkpoints(), self._signer.public_key()
            report, link = _followed(rows, told, public, self._key, start)
        finally:
            db.execute("ROLLBACK")
        if not report.intact:
            return report
        head_seq, head_link, count, newest, mac = head
        if head_seq > 0 and not hmac.compare_digest(mac, self._head_mac(head_seq, head_link, count, newest)):
            return msgspec.structs.replace(report, broken=head_seq, what="The end of the log was changed.")
        if len(told) < count or _chained(told[:count]) != newest:
            what = f"Of {count} checkpoints that were signed, {len(told)} are there, or others are."
            return msgspec.structs.replace(report, what=what)
        last = base.seq + report.rows
        if (last, link) != (head_seq, head_link):
            what = f"The log ends at row {last}, and {head_seq} were written."
            return msgspec.structs.replace(report, broken=last + 1, what=what)
        return report

    def _head_mac(self, seq: int, link: bytes, told: int, newest: bytes) -> bytes:
        # Without checkpoints it is what earlier versions wrote.
        checkpoints = b"%d " % told + newest if told else b""
        return hmac.digest(self._key, b"head %d " % seq + checkpoints + link, "sha256")

    def _base_mac(self, seq: int, link: bytes) -> bytes:
        return hmac.digest(self._key, b"base %d " % seq + link, "sha256")


def exported(db: sqlite3.Connection, after: int = 0, limit: int = -1) -> Iterator[AuditRow]:
    """Rows in order."""
    found = db.execute("SELECT seq, text, mac FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
    for seq, text, mac in found:
        yield AuditRow(seq=seq, text=text, mac=mac.hex())


def verify_export(rows: Iterable[AuditRow], checkpoints: Sequence[Checkpoint], public_key: str) -> AuditReport:
    """Check an exported log by its checkpoints and the kernel's public key (hex), without a secret: all rows
    up to the last checkpoint are as they were signed. One that begins later than at row 1 begins where a
    checkpoint signed what came before."""
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
    following = iter(rows)
    first = next(following, None)
    before = 0 if first is None else first.seq - 1
    link = next((bytes.fromhex(each.link) for each in checkpoints if each.seq == before), START)
    whole = following if first is None else itertools.chain((first,), following)
    return _followed(whole, checkpoints, key, None, (before, link))[0]


def read_checkpoints(lines: bytes) -> tuple[Checkpoint, ...]:
    """Raises ValueError."""
    return tuple(msgspec.json.decode(line, type=Checkpoint) for line in lines.splitlines() if line)


def _followed(
    rows: Iterable[AuditRow], checkpoints: Sequence[Checkpoint], public: Ed25519PublicKey, key: bytes | None,
    start: tuple[int, bytes],
) -> tuple[AuditReport, bytes]:  # fmt: skip
    """Follow the chain from its start, the last row before it and that one's link; the report and the last
    link."""
    signed: dict[int, str] = {}
    for number, each in enumerate(checkpoints, 1):
        try:
            public.verify(bytes.fromhex(each.signature), _statement(each.seq, bytes.fromhex(each.link)))
        except (InvalidSignature, ValueError):
            return AuditReport(rows=0, what=f"Checkpoint {number} is not signed by this kernel."), START
        if signed.setdefault(each.seq, each.link) != each.link:
            what = "Two checkpoints of it differ: the log was rewritten."
            return AuditReport(rows=0, broken=each.seq, what=what), START
    seq, link = start
    if seq and signed.get(seq) != link.hex():
        what = "No checkpoint signed what came before its first row."
        return AuditReport(rows=0, begins=seq + 1, broken=seq + 1, what=what), link
    before, begins = seq, seq + 1

    def told(what: str = "", broken: int | None = None) -> AuditReport:
        sound = seq - before - (broken == seq)
        return AuditReport(rows=sound, begins=begins, broken=broken, what=what)

    for row in rows:
        seq += 1
        if row.seq != seq:
            return told("A row is missing.", seq), link
        link = hashlib.sha256(link + row.text.encode()).digest()
        if key is not None and not hmac.compare_digest(hmac.digest(key, link, "sha256").hex(), row.mac):
            return told("A row is not as it was written.", seq), link
        if signed.get(seq, link.hex()) != link.hex():
            return told("It is not what a checkpoint signed.", seq), link
    last = max(signed, default=0)
    if last > seq:
        what = f"The log ends at row {seq}, and a checkpoint signed {last}."
        return told(what, seq + 1), link
    return msgspec.structs.replace(told(), checkpoints=len(checkpoints)), link


def _chained(checkpoints: Iterable[Checkpoint], link: bytes = b"") -> bytes:
    """The last link of a chain over checkpoints; of none, `link`."""
    for each in checkpoints:
        link = hashlib.sha256(link + msgspec.json.encode(each)).digest()
    return link


def _statement(seq: int, link: bytes) -> bytes:
    return b"aios audit %d " % seq + link
