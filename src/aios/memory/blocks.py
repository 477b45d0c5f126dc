"""Blocks: small named texts that are always in the window, edited by the agent itself (MemGPT: Packer et al.
2023, section 2.1, working context)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from aios.errors import BadRequest, Conflict, LimitExceeded
from aios.memory import entries
from aios.memory.database import Connection
from aios.memory.entries import Row
from aios.memory.records import BlockMeta, Identity
from aios.memory.store import Draft, EntryStore
from aios.syscalls.memory import EditBlock
from aios.syscalls.memory_records import Block, Filter

REMEMBERED_S = 30 * 86_400.0
"""Of an edit under an idempotency key: at least so long."""

Also = Callable[[Connection, Row], None]
"""What is done in the transaction of an edit."""


def nothing(db: Connection, row: Row) -> None:
    return None


class Blocks:
    """The blocks of all agents. A block is named by its name, or, if it is another's, by its id."""

    def __init__(self, store: EntryStore) -> None:
        self._store = store

    async def create(
        self,
        who: Identity,
        name: str,
        text: str = "",
        *,
        about: str = "",
        limit: int | None = None,
        id: str = "",
    ) -> Block:
        """`limit`: characters it may have; `about`: what it is for, shown with it.

        Raises BadRequest, Conflict (there is one of that name), LimitExceeded."""
        if not name.strip() or any(c in name for c in '"\n<>'):
            raise BadRequest(
                f"{name!r} is no name for a block.", 'Use a short name without ", < and >.', param="name"
            )
        meta = BlockMeta(limit=self._store.limits.block_chars if limit is None else limit, about=about)
        draft = _draft(name, text, meta, "made")
        return _block(await self._store.create(who, "block", name, draft, pinned=True, id=id), text)

    async def get(self, who: Identity, block: str) -> Block:
        """Raises NotFound."""
        row, data = await self._store.read(who, await self.id_of(who, block))
        if row.kind != "block":
            raise entries.unknown(block)
        return _block(row, data.decode())

    async def edit(self, who: Identity, call: EditBlock) -> Block:
        """As `call` says; once, if there is a key: then the answer is the block as it is by now. Raises
        Conflict (the key is of another edit), and what `append`, `replace` and `set` do."""
        if call.idempotency_key is None:
            return await self._edited(who, call)
        name = (who.agent, call.idempotency_key)
        asked = repr((call.block, call.action, call.text, call.old))
        now = self._store.clock()

        def remember(db: Connection, row: Row) -> None:
            db.execute("DELETE FROM edits WHERE at < ?", (now - REMEMBERED_S,))
            db.execute("INSERT INTO edits (agent, key, asked, at) VALUES (?, ?, ?, ?)", (*name, asked, now))

        async with self._store.lock(f"{name} edits"):
            statement = "SELECT asked FROM edits WHERE agent = ? AND key = ?"
            found = await self._store.database.read(lambda db: db.execute(statement, name).fetchone())
            if found is None:
                return await self._edited(who, call, remember)
        if found[0] != asked:
            raise Conflict(
                f"The idempotency key {call.idempotency_key!r} was used for another edit.",
                "Use a new key for each.", param="idempotency_key",
            )  # fmt: skip
        return await self.get(who, call.block)

    async def append(
        self, who: Identity, block: str, text: str, *, expect: int | None = None, also: Also = nothing
    ) -> Block:
        """Add a line. Raises NotFound, Forbidden, LimitExceeded (it would be too long: nothing is changed)."""
        return await self._edit(
            who, block, lambda old: f"{old}\n{text}" if old else text, "append", expect, also
        )

    async def replace(
        self, who: Identity, block: str, old: str, new: str, *, expect: int | None = None, also: Also = nothing
    ) -> Block:
        """Put `new` where `old` stands. Raises BadRequest if `old` does not stand there exactly once, NotFound,
        Forbidden, LimitExceeded."""

        def edit(text: str) -> str:
            if not old or text.count(old) != 1:
                what = (
                    f"The text to replace stands {text.count(old) if old else 0} times in the block, not once."
                )
                raise BadRequest(what, "Quote it exactly, and enough of it.", param="old")
            return text.replace(old, new)

        return await self._edit(who, block, edit, "replace", expect, also)

    async def set(
        self, who: Identity, block: str, text: str, *, expect: int | None = None, also: Also = nothing
    ) -> Block:
        """The whole text. Raises NotFound, Forbidden, Conflict, LimitExceeded."""
        return await self._edit(who, block, lambda _: text, "set", expect, also)

    async def list(self, who: Identity) -> tuple[Block, ...]:
        """All that `who` may read, its own and those shared with it, oldest first."""
        rows = await self._store.database.read(
            lambda db: entries.visible(db, who, Filter(kinds=("block",)), self._store.grants)
        )
        return tuple([await self.get(who, row.id) for row in rows])

    async def render(self, who: Identity) -> str:
        """All blocks as one text for the window, oldest first: what comes early changes least, so that a cached
        prefix stays one."""
        return "\n".join(map(_rendered, await self.list(who)))

    async def _edited(self, who: Identity, call: EditBlock, also: Also = nothing) -> Block:
        match call.action:
            case "append":
                return await self.append(who, call.block, call.text, expect=call.expect, also=also)
            case "replace":
                return await self.replace(who, call.block, call.old, call.text, expect=call.expect, also=also)
            case "set":
                return await self.set(who, call.block, call.text, expect=call.expect, also=also)

    async def _edit(
        self, who: Identity, block: str, edit: Callable[[str], str], why: str, expect: int | None, also: Also
    ) -> Block:
        text = ""

        def compute(row: Row, data: bytes) -> Draft:
            nonlocal text
            if row.kind != "block":
                raise entries.unknown(block)
            text = edit(data.decode())
            return _draft(row.name, text, msgspec.json.decode(row.meta, type=BlockMeta), why)

        row = await self._store.change(who, await self.id_of(who, block), compute, expect=expect, also=also)
        return _block(row, text)

    async def edited(self, who: Identity, key: str | None) -> bool:
        """Whether an edit under this key was made."""
        statement, name = "SELECT 1 FROM edits WHERE agent = ? AND key = ?", (who.agent, key)
        if not key:
            return False
        return await self._store.database.read(lambda db: db.execute(statement, name).fetchone() is not None)

    async def id_of(self, who: Identity, block: str) -> str:
        """The id of a block that is named by its name, or already by its id."""
        statement = (
            "SELECT id FROM entries WHERE owner = (SELECT number FROM owners WHERE name = ?) AND name = ?"
            " AND kind = 'block'"
        )
        found = await self._store.database.read(lambda db: db.execute(statement, (who.agent, block)).fetchone())
        return block if found is None else found[0]


def _draft(name: str, text: str, meta: BlockMeta, why: str) -> Draft:
    if len(text) > meta.limit:
        raise LimitExceeded(
            f"Block {name!r} would have {len(text)} characters, and may have {meta.limit}.",
            "Shorten it: replace what is no longer needed.",
        )
    return Draft(text.encode(), msgspec.json.encode(meta).decode(), words=text, about=meta.about, why=why)


def _block(row: Row, text: str) -> Block:
    meta = msgspec.json.decode(row.meta, type=BlockMeta)
    return Block(
        id=row.id, name=row.name, text=text, limit=meta.limit, about=meta.about, owner=row.owner_name,
        version=row.version,
    )  # fmt: skip


def _rendered(block: Block) -> str:
    about = f' about="{block.about}"' if block.about else ""
    # A text can't close its own block and speak as another.
    text = block.text.replace("</block", "<\\/block")
    return f'<block name="{block.name}"{about} used="{len(block.text)}/{block.limit}">\n{text}\n</block>'
