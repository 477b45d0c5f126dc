"""Steps that make links and take them back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aios.errors import NotFound
from aios.sdk.plain import actions, plan
from aios.sdk.plain.when import until_s
from aios.sdk.plain.words import MANY, words
from aios.syscalls import storage

if TYPE_CHECKING:
    from aios.sdk.plain.compiler import Compiler

DAY_S = 86_400.0
"""How long a link is good for if nothing is said of it."""
_LASTS = re.compile(r"\b(?:for|until|till|valid|expir\w+|lasts?|within)\b.*", re.I)
_PASSWORD = re.compile(
    r"\b(?:password|passphrase|pass|pw|pin|secret)\b(?: (?:is|of|being))?[ :=]*['\"“]?([^\s'\"”,;]+)", re.I
)


async def share(compiler: Compiler, step: plan.Share) -> None:
    """Links to files, or to a folder with all that is in it."""
    said = compiler.said(step.what, timed=False)
    paths = await compiler.files(said, folders=True)
    password = _password(compiler.command)
    lasts = until_s(step.until, compiler.now) if step.until else None
    if lasts is None and (rest := _LASTS.search(compiler.command)):
        lasts = until_s(rest[0], compiler.now)
    for path in paths:
        compiler.add(actions.share(path, lasts or DAY_S, step.password if password else ""))
    compiler.before = paths


async def unshare(compiler: Compiler, what: str) -> None:
    """Raises NotFound if nothing of the kind is shared."""
    there = (await compiler.kernel.syscall(storage.ListShares())).shares
    said = compiler.said(what, timed=False)
    if set(words(what)) & MANY and not said.about and not said.names and said.folder == "/":
        paths = [share.path for share in there]
    else:
        paths = await compiler.files(said, folders=True)
    found = [share for share in there if share.path in paths]
    if not found:
        raise NotFound(f"{what!r} is not shared.", "See what is: aios do 'what is shared?'")
    for share_ in found:
        compiler.add(actions.revoke(share_.id, share_.path))
    compiler.before = [share_.path for share_ in found]


async def tell(compiler: Compiler) -> None:
    """Answer by what is shared."""
    there = (await compiler.kernel.syscall(storage.ListShares())).shares
    compiler.paths = tuple(share.path for share in there)
    compiler.text = "\n".join(compiler.paths)
    compiler.before = list(compiler.paths)


def _password(command: str) -> str:
    found = _PASSWORD.search(command)
    return found[1] if found else ""
