"""Wolfram|Alpha, by its LLM API (https://products.wolframalpha.com/llm-api/documentation)."""

from __future__ import annotations

from aios.errors import ToolError
from aios.tools.services.service import FACTS, Service
from aios.tools.tool import Bound, bind

URL = "https://www.wolframalpha.com/api/v1/llm-api"
KEY = "WOLFRAM_APP_ID"


class Wolfram(Service):
    name = "Wolfram|Alpha"

    def tools(self) -> list[Bound]:
        return [bind(self.ask, **FACTS)]

    async def ask(self, question: str) -> str:
        """Ask Wolfram|Alpha: mathematics, units, facts and data.

        question: in plain English, or a formula
        """
        key = self.key(KEY, "https://developer.wolframalpha.com")
        response = await self.get(
            URL, {"input": question, "maxchars": 6000}, {"Authorization": f"Bearer {key}"}
        )
        self.refused(response, KEY)
        if response.is_error:  # 501: it does not understand, and says what it would
            raise ToolError(f"Wolfram|Alpha: {response.text[:500]}", "Ask more simply.")
        return response.text


def package() -> list[Bound]:
    """The tools of this package."""
    return Wolfram().tools()
