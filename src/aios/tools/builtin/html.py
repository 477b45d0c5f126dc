"""The text of a web page."""

from __future__ import annotations

from html.parser import HTMLParser


class Reader(HTMLParser):
    """Text of a page: blocks on lines of their own, links with their address, nothing that is not shown."""

    HIDDEN = frozenset({"script", "style", "noscript", "template", "svg", "iframe", "object", "nav", "footer"})
    BLOCKS = frozenset(
        {"p", "div", "br", "li", "ul", "ol", "tr", "table", "section", "article", "header", "pre", "blockquote",
         "h1", "h2", "h3", "h4", "h5", "h6", "dt", "dd", "hr", "main", "figure"}
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title = ""
        self._parts: list[str] = []
        self._hidden: list[str] = []
        self._in_title = False
        self._link = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.HIDDEN:
            self._hidden.append(tag)
        elif tag == "title":
            self._in_title = True
        elif tag in self.BLOCKS:
            mark = {"li": "- ", "h1": "# ", "h2": "## ", "h3": "### "}.get(tag, "")
            self._parts.append(f"\n{mark}")
        elif tag == "a":
            target = dict(attrs).get("href") or ""
            self._link = target if target.startswith("http") else ""
        elif tag in ("td", "th"):
            self._parts.append(" | ")

    def handle_endtag(self, tag: str) -> None:
        if self._hidden and tag in self.HIDDEN:
            if tag in self._hidden:
                del self._hidden[self._hidden.index(tag) :]
        elif tag == "title":
            self._in_title = False
        elif tag in self.BLOCKS:
            self._parts.append("\n")
        elif tag == "a" and self._link:
            self._parts.append(f" ({self._link})")
            self._link = ""

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
        elif not self._hidden:
            self._parts.append(data)

    def text(self) -> str:
        lines = (" ".join(line.split()) for line in "".join(self._parts).splitlines())
        return "\n".join(line for line in lines if line)
