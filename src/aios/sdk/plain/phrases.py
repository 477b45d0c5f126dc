"""What a phrase says of files: names, a folder, tags, types, times, an order, and what they are about.

"the 3 newest markdown notes about caching from last week" is three files of folder /notes whose names end in
.md, changed in that week, that have to do with "caching". Nothing here asks a kernel; select.py finds the
files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from aios.sdk.plain.scene import Scene, joined, name
from aios.sdk.plain.spans import trimmed
from aios.sdk.plain.when import NUMBERS, Period, changed, number
from aios.sdk.plain.words import GENERIC, MANY, STOP, alike, plural, singular, stem, words

Order = Literal["newest", "oldest", "largest", "smallest"]

TYPES: dict[str, tuple[str, ...]] = {
    "markdown": (".md", ".markdown"), "md": (".md",), "csv": (".csv",),
    "spreadsheet": (".csv", ".tsv", ".xlsx"),
    "table": (".csv", ".tsv"), "txt": (".txt",), "json": (".json",), "pdf": (".pdf",),
    "html": (".html", ".htm"),
    "python": (".py",), "py": (".py",), "yaml": (".yaml", ".yml"), "toml": (".toml",), "log": (".log",),
    "image": (".png", ".jpg", ".jpeg", ".gif"), "png": (".png",), "jpg": (".jpg", ".jpeg"),
}  # fmt: skip
_ORDERS: dict[str, Order] = {
    "newest": "newest", "latest": "newest", "most recent": "newest", "recent": "newest", "last": "newest",
    "oldest": "oldest", "biggest": "largest", "largest": "largest", "longest": "largest",
    "smallest": "smallest", "shortest": "smallest",
}  # fmt: skip
_COUNT = rf"(?:\d+|{'|'.join(word for word in NUMBERS if len(word) > 1 and word not in ('an', 'no'))})"
_ORDER = re.compile(
    rf"\b(?:(?P<before>{_COUNT}) )?(?P<order>newest|latest|most recent|oldest|biggest|largest|longest|smallest"
    rf"|shortest|(?:last|recent)(?= {_COUNT} ))(?: (?P<after>{_COUNT}))?\b", re.I,
)  # fmt: skip
_AGAIN = re.compile(
    r"(?:it|them|these|those|this|that|they|(?:the|this|that|these|those) (?:files?|results?|ones?)"
    r"|(?:all|both|each) of (?:it|them|these|those))", re.I,
)  # fmt: skip
_TAGS = re.compile(
    r"\b(?:tagged|labell?ed)(?: as| with)? (?P<a>[\w-]+)(?: (?:and|or) (?P<b>[\w-]+))?"
    r"|\bwith (?:the )?(?:tags?|labels?) (?P<c>[\w-]+)|\b(?P<d>\w+)-tagged\b", re.I,
)  # fmt: skip
_CHANGED = re.compile(
    r"\b(?:(?:that|which) )?(?:(?:did )?i |was |were |have |has |are |is |been )*"
    r"(?:change[ds]?|modified|edit(?:ed)?|updated?|touched|written|wrote|saved)\b", re.I,
)  # fmt: skip
_FILE = re.compile(r"(?<![\w/.-])(?:/?[\w-]+(?:[/.][\w-]+)+|/[\w.-]+)/?(?![\w])")
_FOLDER = re.compile(
    r"\b(?:(?:out of|inside|within|under|from|in|of|at) (?:the |my |our |this |folder |directory )*"
    r"(?P<a>[\w/-]+)(?: (?:folder|directory|dir)\b)?"
    r"|(?:the |my |our )?(?P<b>[\w/-]+) (?:folder|directory|dir)\b"
    r"|(?:folder|directory) (?:named |called )?(?P<c>[\w/-]+))", re.I,
)  # fmt: skip
_ABOUT = re.compile(
    r"\b(?:about|on|regarding|concerning|mention(?:s|ing)?|contain(?:s|ing)?|with|to do with|related to|to|that"
    r"|which|where|what)\b", re.I,
)  # fmt: skip
_CONTENT = re.compile(r"\b(?:about|on|regarding|concerning|mention\w*|contain\w*|related|with)\b", re.I)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a phrase says. `again`: what the step before was about. `names`: paths that it names. `folder`:
    where to look; `itself`: it may mean that folder, and not what is in it. `many`: it may mean several files.
    `inside`: it speaks of contents, and not of names only. `topic`: words that make a name of it."""

    text: str
    again: bool = False
    names: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    folder: str = "/"
    itself: bool = False
    suffixes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    period: Period | None = None
    order: Order | None = None
    count: int | None = None
    about: tuple[str, ...] = ()
    many: bool = False
    inside: bool = False

    @property
    def topic(self) -> tuple[str, ...]:
        return self.about or self.tags or tuple(suffix[1:] for suffix in self.suffixes[:1])

    @property
    def filtered(self) -> bool:
        """Whether it says more than a word or a name."""
        said = self.suffixes or self.tags or self.period or self.order
        return bool(said) or self.folder != "/"


def parse(phrase: str, scene: Scene, now: datetime, *, timed: bool = True) -> Selection:
    """`timed`: times in it say when files were changed; else they are left out."""
    if _AGAIN.fullmatch(phrase.strip()):
        return Selection(phrase, again=True)
    period, text = changed(phrase, now)
    if period:
        text = _CHANGED.sub(" ", text)
    said = Selection(phrase, period=period if timed else None)
    said, text = _ordered(said, text)
    said, text = _tagged(said, text, scene)
    said, text = _named(said, text, scene)
    said, text = _typed(said, text)
    said, text = _placed(said, text, scene)
    return _worded(said, text)


def _ordered(said: Selection, text: str) -> tuple[Selection, str]:
    found = _ORDER.search(text)
    if found is None:
        return said, text
    count = number(found["before"] or found["after"] or "")  # "" is one
    several = plural((words(text[found.end() :]) or [""])[0]) and not (found["before"] or found["after"])
    said = replace(said, order=_ORDERS[found["order"].lower()], count=None if several else count)
    return said, f"{text[: found.start()]} {text[found.end() :]}"


def _tagged(said: Selection, text: str, scene: Scene) -> tuple[Selection, str]:
    found = _TAGS.search(text)
    if found is None:
        return said, text
    known = sorted({tag for file in scene.files() for tag in file.tags})
    given = [tag for tag in found.groups() if tag]
    tags = tuple(next((tag for tag in known if alike(tag.lower(), one.lower())), one) for one in given)
    return replace(said, tags=tags, many=True), f"{text[: found.start()]} {text[found.end() :]}"


def _named(said: Selection, text: str, scene: Scene) -> tuple[Selection, str]:
    """Paths and file names. "*.md" is a type."""
    paths: list[str] = []
    unknown: list[str] = []
    for found in list(_FILE.finditer(text)):
        token = trimmed(found[0])
        there = matches(token, scene)
        if not there and "." not in token:
            continue  # "and/or"
        paths += there
        unknown += [] if there else [token]
        text = text.replace(found[0], " ", 1)
    return replace(said, names=tuple(dict.fromkeys(paths)), unknown=tuple(unknown)), text


def matches(token: str, scene: Scene) -> list[str]:
    """Paths that `token` is the end of; else the files whose names are spelt nearly so."""
    token = "/" + token.strip("/").lower()
    entries = [*(file.path for file in scene.files()), *scene.folders()]
    found = [path for path in entries if path.lower() == token]
    found = found or [path for path in entries if path.lower().endswith(token)]
    return found or [path for path in entries if _nearly(token, path)]


def _nearly(token: str, path: str) -> bool:
    suffix = token.rpartition(".")[2] if "." in token else ""
    if not suffix or not path.lower().endswith("." + suffix):
        return False
    wanted, got = words(token), words(path)[-len(words(token)) :]
    return len(wanted) == len(got) and all(map(alike, wanted, got))


def _typed(said: Selection, text: str) -> tuple[Selection, str]:
    suffixes: list[str] = []
    for found in re.finditer(r"(?:\*?\.)?\b([A-Za-z]+)\b", text):
        kind = found[1].lower()
        ending = TYPES.get(kind) or TYPES.get(kind.removesuffix("s"))
        if kind == "text" and re.match(r" (?:files|documents|ones)", text[found.end() :]):
            ending = (".txt",)
        if ending:
            suffixes += ending
            text = text.replace(found[0], " ", 1)
    return replace(said, suffixes=tuple(suffixes)), text


def _placed(said: Selection, text: str, scene: Scene) -> tuple[Selection, str]:
    """The folder it speaks of: "in X", "the X folder", or a noun that is a folder's name."""
    for found in _FOLDER.finditer(text):
        token = next(group for group in found.groups() if group)
        folder = folder_named(token, scene, loosely=True)
        if folder:
            rest = f"{text[: found.start()]} {text[found.end() :]}"
            said = replace(said, folder=folder, itself=not _nouns(rest), many=True)
            return replace(said, many=_several(text, found.start())), rest
    head = _ABOUT.split(text)[0] if _ABOUT.search(text) else text
    for word in words(head):
        folder = folder_named(word, scene)
        if folder:
            rest = re.sub(rf"\b{word}\b", " ", text, count=1, flags=re.I)
            return replace(said, folder=folder, itself=not _nouns(rest), many=_several(head)), rest
    return said, text


def folder_named(token: str, scene: Scene, *, loosely: bool = False) -> str:
    """The folder whose path ends in `token`, in any number; "" if there is none. `loosely`: or nearly so."""
    wanted = [part for part in token.lower().split("/") if part]
    best = ""
    for path in scene.folders():
        parts = path.lower().strip("/").split("/")[-len(wanted) :]
        if len(parts) != len(wanted):
            continue
        same = all(stem(a) == stem(b) or (loosely and alike(a, b)) for a, b in zip(parts, wanted, strict=True))
        if same and (not best or path.count("/") < best.count("/")):
            best = path
    return best


def _several(text: str, end: int | None = None) -> bool:
    """Whether the noun in front (of its prepositions) is in the plural, or one of "all", "both", "anything"."""
    head = _ABOUT.split(text[:end])[0]
    nouns = words(head)
    if set(nouns) & MANY or any(NUMBERS.get(word, 0) > 1 for word in nouns):
        return True
    nouns = [word for word in nouns if word not in STOP]
    return bool(nouns) and plural(nouns[-1])


def _worded(said: Selection, text: str) -> Selection:
    """What is left are words that the files have."""
    about = tuple(_nouns(text))
    many = said.many or _several(text) or bool(said.suffixes and not about)
    return replace(said, about=about, many=many, inside=bool(_CONTENT.search(text)))


def _nouns(text: str) -> list[str]:
    """Words that say something."""
    return [
        word
        for word in dict.fromkeys(words(text))
        if word not in STOP and singular(word) not in GENERIC and word not in NUMBERS
    ]


def place(phrase: str, scene: Scene, *, beside: str = "/") -> str:
    """The path that a destination means, there or not: "a new folder named /x/y", "tuesday.md in my notes".
    What it does not place is put into the folder `beside`. "" if it names nothing ("one folder")."""
    text = phrase.strip()
    absolute = text.startswith("/")
    text = re.sub(r"\b(?:a |an |the |my |our )?(?:new |empty |own |single )*(?:folder|directory|dir|file|note)"
                  r"(?: (?:named|called))?(?=\s|$)", " ", text, flags=re.I)  # fmt: skip
    inner = re.search(
        r"\s(?:in|inside|into|under|within) (?:the |my |our |same )*([\w/.-]+)?\s*$", " " + text, re.I
    )
    above = ""
    if inner:
        text = (" " + text)[: inner.start()]
        above = folder_named(inner[1], scene, loosely=True) or joined("/", inner[1]) if inner[1] else ""
    text = trimmed(re.sub(r"^\s*(?:(?:to|into|in|as|at|under|named|called|the|a|an|my|our|new|it) )+", "",
                          text.strip() + " ", flags=re.I))  # fmt: skip
    absolute = absolute or text.startswith("/")
    tokens = [token for token in text.split() if "/" in token or "." in token]
    text = tokens[0] if tokens else text
    if not text or all(word in STOP | NUMBERS.keys() or word in ("place", "same") for word in words(text)):
        return above
    if absolute or above:
        return joined(above or "/", text)
    if "." not in name(text) and (folder := folder_named(text, scene)):
        return folder
    if "/" in text:
        top, _, rest = text.partition("/")
        return joined(folder_named(top, scene) or joined("/", top), rest)
    return joined(beside, text)
