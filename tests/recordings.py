"""Answers of services on the web, recorded once and replayed ever after.

`pytest tests/unit/test_tools_services.py --record` asks the real services (those whose key is in the
environment, or that need none) and writes `tests/data/services/NAME.json`: for each request its method and
address, and of the answer the status, the content type and the text. Neither headers of requests nor cookies
are written, and the values of the keys are taken out of what is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from aios.access.redact import SHORTEST, Redactor

FOLDER = Path(__file__).parent / "data" / "services"


class Recorder(httpx.AsyncBaseTransport):
    """Asks for real, by `inner`, and keeps what `save` writes. `secrets`: values by name."""

    def __init__(self, secrets: Mapping[str, str], inner: httpx.AsyncBaseTransport | None = None) -> None:
        self._inner = inner or httpx.AsyncHTTPTransport()
        self._redactor = Redactor()
        assert all(len(value) >= SHORTEST for value in secrets.values()), "a key is too short to be told apart"
        self._redactor.know(secrets)
        self._exchanges: list[dict[str, Any]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        await response.aread()
        kept = {
            "method": request.method, "url": str(request.url), "status": response.status_code,
            "type": response.headers.get("content-type", "").partition(";")[0], "text": response.text,
        }  # fmt: skip
        self._exchanges.append(self._redactor.value(kept))
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    def save(self, file: Path, source: str) -> None:
        """`source` says where the answers are from."""
        file.parent.mkdir(parents=True, exist_ok=True)
        told = {"source": source, "exchanges": self._exchanges}
        file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")


class Replay(httpx.AsyncBaseTransport):
    """Answers as recorded in `file`, request by request: another one, or one more, fails the test."""

    def __init__(self, file: Path, secrets: Mapping[str, str]) -> None:
        self._exchanges: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))["exchanges"]
        self._redactor = Redactor()
        self._redactor.know(secrets)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        asked = request.method, self._redactor.text(str(request.url))
        assert self._exchanges, f"nothing more was recorded, and asked is {asked}"
        kept = self._exchanges.pop(0)
        assert asked == (kept["method"], kept["url"])
        return httpx.Response(kept["status"], headers={"content-type": kept["type"]}, text=kept["text"])
