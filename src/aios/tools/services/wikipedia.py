"""Wikipedia, by the MediaWiki action API (https://www.mediawiki.org/wiki/API:Main_page). It needs no key."""

from __future__ import annotations

import re

from aios.errors import ToolError
from aios.syscalls import Record
from aios.tools.builtin.html import Reader
from aios.tools.services.service import FACTS, Service
from aios.tools.tool import Bound, bind


class Found(Record, frozen=True):
    title: str
    about: str


class Article(Record, frozen=True):
    title: str
    url: str
    text: str


class Wikipedia(Service):
    name = "Wikipedia"

    def tools(self) -> list[Bound]:
        return [bind(self.search, **FACTS), bind(self.page, **FACTS)]

    async def search(self, query: str, language: str = "en", limit: int = 5) -> list[Found]:
        """Search Wikipedia.

        query: words
        language: of the Wikipedia to search, such as en or de
        limit: most results, 1 to 20
        """
        asked: dict[str, str | int] = {
            "action": "query", "list": "search", "srsearch": query, "srlimit": max(1, min(20, limit)),
            "format": "json", "formatversion": 2,
        }  # fmt: skip
        told = self.parsed(await self.get(_api(language), asked))
        rows = told.get("query", {}).get("search", [])
        return [Found(title=row["title"], about=_plain(row.get("snippet", ""))) for row in rows]

    async def page(self, title: str, language: str = "en") -> Article:
        """Read a Wikipedia article as text.

        title: of the article, as the search gives it
        language: of the Wikipedia, such as en or de
        """
        asked: dict[str, str | int] = {
            "action": "query", "prop": "extracts|info", "inprop": "url", "explaintext": 1, "redirects": 1,
            "titles": title, "format": "json", "formatversion": 2,
        }  # fmt: skip
        pages = self.parsed(await self.get(_api(language), asked)).get("query", {}).get("pages", [])
        if not pages or pages[0].get("missing") or pages[0].get("invalid"):
            raise ToolError(f"There is no article {title!r}.", "Search for its title first.")
        return Article(title=pages[0]["title"], url=pages[0]["fullurl"], text=pages[0].get("extract", ""))


def package() -> list[Bound]:
    """The tools of this package."""
    return Wikipedia().tools()


def _api(language: str) -> str:
    if not re.fullmatch(r"[a-z][a-z-]{0,15}", language):  # it becomes part of a host name
        raise ToolError(f"{language!r} is no language code.", "Use one such as en.")
    return f"https://{language}.wikipedia.org/w/api.php"


def _plain(html: str) -> str:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader.text()
