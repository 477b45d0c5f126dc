"""The text of a file: what a search can find in it."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

from aios.storage.paths import Parts

TEXT_CHARS = 1_000_000
"""Of one file; the rest is not searched."""
PDF_PAGES = 500
PASSAGE_CHARS = 1_000

_SPACE = re.compile(r"[ \t\r\f\v]+")
_UNSHOWN = {"script", "style", "template", "noscript", "head"}
_BLOCKS = {
    "p",
    "div",
    "li",
    "tr",
    "br",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "section",
    "article",
    "table",
    "pre",
}


def extract(name: str, data: bytes) -> tuple[str, str]:
    """Text of the file `name`, and a note that says why there is none or not all. Takes its time: not for the
    loop. Text in any form (txt, md, code, json, csv), html, and pdf with the extra `pdf`."""
    lower = name.lower()
    if lower.endswith(".pdf") or data.startswith(b"%PDF-"):
        text, note = _pdf(data)
    elif (plain := _decode(data)) is None:
        return "", "It is binary."
    elif lower.endswith((".html", ".htm", ".xhtml")) or plain.lstrip()[:15].lower().startswith(
        "<!doctype html"
    ):
        text, note = _html(plain), ""
    else:
        text, note = plain, ""
    if len(text) > TEXT_CHARS:
        return text[:TEXT_CHARS], f"Only the first {TEXT_CHARS} characters are searched."
    return text, note


def passages(text: str) -> list[str]:
    """`text` in pieces of about PASSAGE_CHARS, cut between paragraphs, lines or words as far as that goes."""
    found: list[str] = []
    while len(text) > PASSAGE_CHARS:
        for gap in ("\n\n", "\n", " "):
            end = text.rfind(gap, PASSAGE_CHARS // 2, PASSAGE_CHARS)
            if end > 0:
                break
        else:
            end = PASSAGE_CHARS
        found.append(text[:end].strip())
        text = text[end:]
    found.append(text.strip())
    return [passage for passage in found if passage]


def title(path: Parts) -> str:
    """The words of a file's name."""
    return re.sub(r"[\W_]+", " ", path[-1]) if path else ""


def _decode(data: bytes) -> str | None:
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"", "utf-8-sig")):
        if data.startswith(mark):
            try:
                text = data.decode(encoding)
            except UnicodeDecodeError:
                return None
            return None if "\0" in text else text
    return None


class _Text(HTMLParser):
    """Collects what a browser would show."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in _UNSHOWN
        if tag in _BLOCKS:
            self.found.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in _UNSHOWN and self._hidden > 0
        if tag in _BLOCKS:
            self.found.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.found.append(data)


def _html(text: str) -> str:
    parser = _Text()
    parser.feed(text)
    parser.close()
    lines = (_SPACE.sub(" ", line).strip() for line in "".join(parser.found).split("\n"))
    return "\n".join(line for line in lines if line)


def _pdf(data: bytes) -> tuple[str, str]:
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError:
        return "", "To search PDF files, install aios[pdf]."
    found: list[str] = []
    size = 0
    try:
        pages = PdfReader(io.BytesIO(data)).pages
        for page in pages[:PDF_PAGES]:
            found.append(page.extract_text())
            size += len(found[-1])
            if size > TEXT_CHARS:
                break
        note = f"Only the first {PDF_PAGES} pages are searched." if len(pages) > PDF_PAGES else ""
    except (
        PyPdfError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        # What a damaged file makes of a lenient parser.
        return "\n".join(found), f"This PDF can't be read: {type(error).__name__}."
    return "\n".join(found), note
