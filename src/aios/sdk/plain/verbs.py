"""Which verbs the wording of a command leaves open: what its words say beyond doubt is not left to the model.

A command is cut into clauses, each with a verb of its own ("find the drafts and delete them" has two). The
first rule that fits a clause says which steps it can be; a clause that no rule fits can be any. A question
changes nothing. The model chooses among what is left, and which words mean what."""

from __future__ import annotations

import re
from typing import NamedTuple

from aios.sdk.plain.wording import BACK, MAKES, RULES
from aios.sdk.plain.words import alike

READS = frozenset({"find", "count", "shares", "group", "summarise"})
"""Verbs that answer (a group may also be put into folders: the compiler sees to that)."""
TEXTS = frozenset({"append", "folder", "summarise", "write"})
MOST = 4

_POLITE = re.compile(
    r"^(?:[\s,.:;!-]+|(?:please|pls|plz|kindly|hi|hey|hello|ok|okay|oops|now|just|then|and|also|first|next"
    r"|finally|afterwards|quickly)\b|(?:can|could|would|will) (?:you|u)\b"
    r"|(?:can|could|may) (?:i|we) (?:have|get|see)\b"
    r"|(?:i'd|i would) (?:like|love)(?: you)?(?: to)?(?: have)?\b|i (?:want|need|have)(?: you)? to\b"
    r"|(?:i )?(?:want|need)\b|let'?s\b|go ahead and\b|help me(?: to)?\b|go and\b"
    r"|make me(?= an?\b)|(?:tell me|let me know|i wonder|do you know)"
    r"(?= (?:what's|what is|what are|which|how|where|who|when|if)\b))+", re.I,
)  # fmt: skip
_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|(?<!\w)'[^']*'(?!\w)")
_NAME = re.compile(r"(?<![\w/.-])[\w/-]*\w\.[a-z]\w{0,7}(?!\w)|(?<!\w)/\w[\w/.-]*", re.I)
_LITERAL = re.compile(
    r"(\b(?:saying|that says|which says|that reads|(?:with|having) (?:the |this )?(?:text|words?|contents?|line"
    r"|sentence|message)|replace\b.*\bwith|overwrite\b.*\bwith|contents? to)\b|:)(?!\S).*", re.I | re.S,
)  # fmt: skip
_WRITES = re.compile(
    r"^(?:create|make|new|an? |start|write|add|append|put|replace|overwrite|note|jot|save|set|insert|i need)",
    re.I,
)
_BETWEEN = re.compile(
    r"\s*(?:[,;.!?]\s+(?:and\s+|but\s+)?(?:then\s+)?|\s(?:and|then|but)\s+(?:then\s+)?)", re.I
)
_AGAIN = re.compile(r"\b(?:its?|them|these|those|they|that|each|all of)\b", re.I)
_CARRIES = re.compile(
    r"^(?:find|search|look|locate|list|take|get|grab|pick|select|gather|collect|fetch|read|go|check|open|see|show)"
    r"\b", re.I,
)  # fmt: skip
_JOTS = re.compile(r"^(?:append|add|jot|note|write)\b")
_SAVES = re.compile(r"^(?:save|write|put|store|keep|file)\b", re.I)
_QUESTION = re.compile(
    r"^(?:which|what|whats|what's|where|when|who|whose|how|is|are|am|was|were|do|does|did|have|has|should|any"
    r"|anything)\b",
    re.I,
)
_HEADS = (
    "find|search|locate|list|show|display|count|move|relocate|transfer|rename|copy|duplicate|clone|delete|remove"
    "|erase|discard|share|publish|unshare|revoke|undelete|recover|restore|revert|reset|rollback|undo|group|cluster"
    "|categorise|classify|organise|arrange|sort|split|divide|separate|tidy|summarise|summarize|condense|append"
    "|overwrite|replace|create|make|write|gather|collect|place|insert|throw"
)
"""Verbs whose misspellings are seen at the start of a clause."""
_OPENS = re.compile(
    rf"^(?:{_HEADS}|mv|cp|rm|put|add|save|store|take|get|bring|give|tell|send|drop|file|read|look|trash|bin"
    r"|sum|call|start|in it an?|inside(?: it)? an?|there an?|make|let|stop|roll|organi[sz]e|categori[sz]e"
    r"|stick)\b",
    re.I,
)


class Clause(NamedTuple):
    """`verbs`: what it can be, by the tags of steps. `most`: how many steps of these it can be."""

    verbs: frozenset[str]
    most: int


def clauses(command: str, every: frozenset[str]) -> list[Clause]:
    """The clauses that do something, in order, never none. `every`: all verbs there are. A clause that only
    says what the next one speaks of ("take the bills and ...") is none."""
    parts = _parts(_bare(command))
    asked = len(parts) == 1 and command.rstrip().endswith("?")
    found = [_clause(part, every, asked=asked) for part in parts]
    made: list[Clause] = []
    for at, (part, clause) in enumerate(zip(parts, found, strict=True)):
        after = parts[at + 1] if at + 1 < len(parts) else ""
        said = clause.verbs in (every, frozenset({"find"})) or _CARRIES.search(part) or clause.verbs == BACK
        said = said or not (_OPENS.search(part) or clause.verbs <= MAKES)
        if said and _AGAIN.search(after):
            continue
        if made and _adds_nothing(part, clause.verbs, made[-1].verbs):
            continue
        made.append(clause)
    ruled = [clause for clause in made if clause.verbs != every]  # the others tell why, and the like
    return (ruled or made)[:MOST]


def _adds_nothing(part: str, verbs: frozenset[str], before: frozenset[str]) -> bool:
    """Whether the clause `part` says again, or more exactly, what the one before it says."""
    if verbs == before:
        again = _AGAIN.search(part) and not verbs & {"move", "copy"}
        return bool(again) or verbs <= READS | BACK or (verbs <= {"share"} and "link" in part)
    return (before <= READS and verbs <= {"find"}) or (before <= {"summarise"} and bool(_SAVES.search(part)))


def antecedent(command: str) -> str:
    """What "them" means in the second clause of `command`: the first one, without its verb; "" if there is
    no second."""
    polite = _POLITE.match(command)
    rest = command[polite.end() :] if polite else command
    for found in _BETWEEN.finditer(rest):
        if _AGAIN.search(rest[found.end() :]):
            return re.sub(r"^\S+(?: (?:for|up|at|through|out))?\s+", "", rest[: found.start()])
    return ""


def _bare(command: str) -> str:
    """Without what is said inside quotes, names of files and texts to be written."""
    unquoted = _QUOTED.sub(lambda m: "«" if _NAME.fullmatch(m[0][1:-1]) else "“", command)
    text = _NAME.sub("«", unquoted).replace("’", "'")
    polite = _POLITE.sub("", text)
    if _WRITES.search(polite):
        text = _LITERAL.sub(r"\1 “", text, count=1)
    return text.strip()


def _parts(text: str) -> list[str]:
    """Cut before each verb that opens a clause."""
    cuts, start = list[str](), 0
    for found in _BETWEEN.finditer(text):
        if start < found.start() and _OPENS.search(_POLITE.sub("", text[found.end() :])):
            cuts.append(text[start : found.start()])
            start = found.end()
    return [_POLITE.sub("", part).strip(" ?.!") for part in (*cuts, text[start:])]


def _clause(text: str, every: frozenset[str], *, asked: bool) -> Clause:
    verbs = _ruled(text) or _ruled(_spelt(text.lower()))
    if verbs is None:
        verbs = READS if asked or _QUESTION.search(text) else every
    listed = re.search(r"\band\b", text) or ("," in text and verbs <= MAKES)
    several = listed and not verbs <= READS
    return Clause(verbs & every or every, MOST if several or verbs == every else 1)


def _ruled(text: str) -> frozenset[str] | None:
    text = text.lower()
    writes = _JOTS.search(text)  # its words may be those of a text, and say nothing of other verbs
    rules = (rule for rule in RULES if not writes or rule[0] <= TEXTS)
    return next((verbs for verbs, forms in rules if any(re.search(form, text) for form in forms)), None)


def _spelt(text: str) -> str:
    """With the first word spelt as the verb that it is nearly."""
    first, _, rest = text.partition(" ")
    if len(first) < 4:
        return text
    meant = (head for head in _HEADS.split("|") if alike(first, head) or _swapped(first, head))
    return f"{next(meant, first)} {rest}"


def _swapped(a: str, b: str) -> bool:
    """Whether they have the same letters, the first one first."""
    return a[0] == b[0] and sorted(a) == sorted(b)
