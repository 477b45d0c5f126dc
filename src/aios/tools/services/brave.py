"""Web search, by the Brave Search API (https://api-dashboard.search.brave.com/app/documentation)."""

from __future__ import annotations

from aios.syscalls import Record
from aios.tools.services.service import FACTS, Service
from aios.tools.tool import Bound, bind

URL = "https://api.search.brave.com/res/v1/web/search"
KEY = "BRAVE_API_KEY"


class Hit(Record, frozen=True):
    title: str
    url: str
    about: str


class Brave(Service):
    name = "Brave Search"

    def tools(self) -> list[Bound]:
        return [bind(self.search, **FACTS)]

    async def search(self, query: str, limit: int = 8) -> list[Hit]:
        """Search the web.

        query: words
        limit: most results, 1 to 20
        """
        key = self.key(KEY, "https://brave.com/search/api")
        asked: dict[str, str | int] = {"q": query, "count": max(1, min(20, limit)), "text_decorations": "false"}
        headers = {"X-Subscription-Token": key, "Accept": "application/json"}
        response = await self.get(URL, asked, headers)
        self.refused(response, KEY)
        rows = self.parsed(response).get("web", {}).get("results", [])
        return [Hit(title=row["title"], url=row["url"], about=row.get("description", "")) for row in rows]


def package() -> list[Bound]:
    """The tools of this package."""
    return Brave().tools()
