"""arXiv, by its Atom API (https://info.arxiv.org/help/api/user-manual.html). It needs no key."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from aios.errors import ToolError, ToolUnavailable
from aios.syscalls import Record
from aios.tools.services.service import FACTS, Service
from aios.tools.tool import Bound, bind

URL = "https://export.arxiv.org/api/query"
ATOM = "{http://www.w3.org/2005/Atom}"


class Paper(Record, frozen=True):
    id: str
    title: str
    authors: tuple[str, ...]
    published: str
    summary: str
    pdf: str


class Arxiv(Service):
    name = "arXiv"

    def tools(self) -> list[Bound]:
        # Its terms: one request at a time, with three seconds between two.
        facts: dict[str, Any] = {**FACTS, "concurrency": 1, "calls_per_min": 20.0}
        return [bind(self.search, **facts)]

    async def search(self, query: str, limit: int = 5) -> list[Paper]:
        """Search papers on arXiv.

        query: words, or fields such as au:lovelace AND ti:engine
        limit: most results, 1 to 30
        """
        fields = any(mark in query for mark in ("au:", "ti:", "abs:", "cat:", "all:"))
        wanted = query if fields else " AND ".join(f"all:{word}" for word in query.split())
        response = await self.get(URL, {"search_query": wanted, "max_results": max(1, min(30, limit))})
        try:
            feed = ElementTree.fromstring(response.content)
        except ElementTree.ParseError as error:
            raise ToolUnavailable(f"arXiv sent what is no Atom feed: {error}.", "Try again later.") from error
        papers = [_paper(entry) for entry in feed.iter(f"{ATOM}entry")]
        if papers and papers[0].title == "Error":  # its way to say that a query is wrong
            raise ToolError(f"arXiv: {papers[0].summary}", "Correct the query.")
        return papers


def package() -> list[Bound]:
    """The tools of this package."""
    return Arxiv().tools()


def _paper(entry: ElementTree.Element) -> Paper:
    def text(name: str) -> str:
        return " ".join((entry.findtext(f"{ATOM}{name}") or "").split())

    links = {link.get("title"): link.get("href", "") for link in entry.iter(f"{ATOM}link")}
    authors = [author.findtext(f"{ATOM}name") or "" for author in entry.iter(f"{ATOM}author")]
    return Paper(
        id=text("id").rpartition("/abs/")[2], title=text("title"), authors=tuple(authors),
        published=text("published"), summary=text("summary"), pdf=links.get("pdf", ""),
    )  # fmt: skip
