"""What others let one at, in words of the database. The grants themselves are kept by access control."""

from __future__ import annotations

from typing import Literal

import msgspec

from aios.access.globs import is_literal, matches, prefix
from aios.access.grants import Grants
from aios.memory.records import Identity

FAMILY = "memory:"
"""How the names of resources begin that are entries."""

GRANTED = (
    "SELECT e.row, json_extract(g.value, '$[2]') AS write FROM json_each(:single) g"
    " CROSS JOIN entries e ON e.id = json_extract(g.value, '$[1]')"
    " CROSS JOIN owners o ON o.number = e.owner AND o.name = json_extract(g.value, '$[0]')"
    " UNION ALL SELECT e.row, json_extract(g.value, '$[2]') FROM json_each(:globs) g"
    " CROSS JOIN owners o ON o.name = json_extract(g.value, '$[0]')"
    " CROSS JOIN entries e ON e.owner = o.number AND 'memory:' || e.id GLOB json_extract(g.value, '$[1]')"
)
"""Rows, and whether they may be written. `parameters` gives what it takes."""


def resource(id: str) -> str:
    """What an entry is called in grants and rules."""
    return f"{FAMILY}{id}"


def access(grants: Grants, who: Identity, owner: str, id: str) -> Literal["write", "read"] | None:
    """What the owner of an entry lets `who` do with it."""
    found = [
        each.grant.write
        for each in grants.to(who.agent, who.group)
        if each.owner == owner and matches(each.resource, resource(id))
    ]
    return None if not found else "write" if any(found) else "read"


def parameters(who: Identity, grants: Grants) -> dict[str, str]:
    """Of `GRANTED`."""
    single: list[tuple[str, str, bool]] = []
    globs: list[tuple[str, str, bool]] = []
    for each in grants.to(who.agent, who.group):
        start, write = prefix(each.resource), each.grant.write
        if not is_literal(each.resource):
            if start.startswith(FAMILY) or FAMILY.startswith(start):
                globs.append((each.owner, each.resource.replace("[", "[[]"), write))  # nothing special to ours
        elif start.startswith(FAMILY):
            single.append((each.owner, start.removeprefix(FAMILY), write))
    return {"single": msgspec.json.encode(single).decode(), "globs": msgspec.json.encode(globs).decode()}
