"""Tools of an HTTP service, one for each operation of its OpenAPI 3 description."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast
from urllib.parse import quote

import httpx
import msgspec

from aios.errors import ConfigError, ToolError, ToolUnavailable
from aios.syscalls import Record
from aios.syscalls.tools import Flags, Tool, ToolEffect
from aios.tools.registry import SEPARATOR
from aios.tools.tool import Bound, Context

Json = dict[str, Any]
METHODS: Mapping[str, ToolEffect] = {
    # RFC 9110, section 9.2.2
    "get": "idempotent", "head": "idempotent", "put": "idempotent", "delete": "idempotent",
    "post": "opaque", "patch": "opaque",
}  # fmt: skip
BODY = "body"
MOST_BYTES = 8 << 20
DEPTH = 20


class Parameter(Record, frozen=True):
    name: str
    place: Literal["path", "query", "header", "cookie"]


class OpenApi:
    """`spec`: the description, as JSON text or an object. `base_url` overrides its first server. `headers` are
    sent with each request (a key). `client` makes the requests and stays its owner's.

    Raises ConfigError for what is no such description."""

    def __init__(
        self, name: str, spec: str | Json, client: httpx.AsyncClient, *, base_url: str = "",
        headers: Mapping[str, str] | None = None, timeout_s: float = 60.0,
    ) -> None:  # fmt: skip
        try:
            self._spec = cast(Json, json.loads(spec) if isinstance(spec, str) else spec)
            paths = cast("dict[str, Json]", self._spec["paths"])
            self._base = (base_url or self._spec["servers"][0]["url"]).rstrip("/")
        except ValueError as error:
            mend = "It takes OpenAPI 3 in JSON."
            raise ConfigError(f"The description of {name} is not JSON: {error}.", mend) from error
        except (KeyError, IndexError, TypeError) as error:
            mend = "It takes paths, and servers or a url (`--url`) of the service."
            why = f"{error} is missing" if isinstance(error, KeyError) else "its paths or servers are wrong"
            raise ConfigError(f"The description of {name} is no OpenAPI: {why}.", mend) from error
        self.name, self._client, self._headers, self._timeout_s = name, client, dict(headers or {}), timeout_s
        self._digest = hashlib.sha256(msgspec.json.encode(self._spec, order="sorted")).hexdigest()
        self._schemas = _renamed(self._spec.get("components", {}).get("schemas", {}))
        bounds = [self._bound(*operation) for operation in _operations(paths)]
        self._tools = {bound.tool.name: bound for bound in bounds}

    def start(self, tasks: asyncio.TaskGroup) -> None: ...

    async def tools(self) -> Mapping[str, Bound]:
        return self._tools

    async def close(self) -> None: ...

    def _bound(self, path: str, method: str, operation: Json, shared: list[Json]) -> Bound:
        given: dict[tuple[str, str], Json] = {}
        for raw in (*shared, *operation.get("parameters", [])):
            parameter = self._resolved(raw)
            given[parameter["name"], parameter["in"]] = parameter  # an operation's own replace the path's
        properties: Json = {}
        required: list[str] = []
        places: list[Parameter] = []
        for parameter in given.values():
            name = parameter["name"]
            places.append(Parameter(name=name, place=parameter["in"]))
            properties[name] = _renamed(parameter.get("schema", {})) | _description(parameter)
            if parameter.get("required"):
                required.append(name)
        body = self._resolved(operation.get("requestBody", {}))
        if content := body.get("content", {}).get("application/json"):
            properties[BODY] = _renamed(content.get("schema", {})) | _description(body)
            if body.get("required"):
                required.append(BODY)
        parameters: Json = {
            "type": "object", "properties": properties, "required": required, "additionalProperties": False,
        }  # fmt: skip
        if self._schemas:
            parameters["$defs"] = self._schemas
        own = operation.get("operationId") or f"{method}_{path}"
        described = Tool(
            name=f"{self.name}{SEPARATOR}{re.sub(r'[^A-Za-z0-9-]+', '_', own).strip('_')}",
            description=operation.get("summary") or operation.get("description", ""), parameters=parameters,
            effect=METHODS[method], timeout_s=self._timeout_s, digest=self._digest,
            flags=Flags(returns_untrusted=True, sends_out=True, irreversible=method == "delete"),
            version=str(self._spec.get("info", {}).get("version", "")), provider=f"openapi:{self.name}",
        )  # fmt: skip

        async def call(context: Context, arguments: dict[str, Any]) -> Any:
            return await self._call(described.name, method, path, places, arguments)

        return Bound(described, call)

    async def _call(self, name: str, method: str, path: str, places: list[Parameter], arguments: Json) -> Any:
        query: dict[str, Any] = {}
        headers = dict(self._headers)
        cookies: dict[str, str] = {}
        for parameter in places:
            if (value := arguments.get(parameter.name)) is None:
                continue
            text = value if isinstance(value, str) else json.dumps(value)
            match parameter.place:
                case "path":
                    # Dots too, so that no value climbs out of its place in the path.
                    path = path.replace(f"{{{parameter.name}}}", quote(text, safe="").replace(".", "%2E"))
                case "query":
                    query[parameter.name] = value if isinstance(value, list) else text
                case "header":
                    headers.setdefault(parameter.name, text)
                case "cookie":
                    cookies[parameter.name] = text
        if cookies:
            headers["Cookie"] = "; ".join(f"{key}={quote(value)}" for key, value in cookies.items())
        request = self._client.build_request(
            method, self._base + path, params=query, headers=headers, json=arguments.get(BODY),
            timeout=self._timeout_s,
        )  # fmt: skip
        try:
            response = await self._client.send(request, stream=True)
            try:
                content = await _limited(response)
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise ToolUnavailable(f"{name}: {error!r}.", "Try again later.", retry_after=5.0) from error
        text = content.decode(response.encoding or "utf-8", "replace")
        if response.is_error:
            what = f"{name}: the service answered {response.status_code}: {text[:500]}"
            raise ToolError(what, "Correct the arguments." if response.is_client_error else "Try again later.")
        if "json" in response.headers.get("content-type", "") and text:
            try:
                return json.loads(text)
            except ValueError as error:
                raise ToolError(
                    f"{name}: the service sent broken JSON: {error}.", "Try again later."
                ) from error
        return text

    def _resolved(self, value: Json) -> Json:
        """A parameter or body, followed if it is a reference into the description."""
        for _ in range(DEPTH):
            reference = value.get("$ref", "")
            if not reference.startswith("#/"):
                return value
            found: Any = self._spec
            for part in reference[2:].split("/"):
                found = found[part.replace("~1", "/").replace("~0", "~")]
            value = cast(Json, found)
        raise ConfigError(f"{self.name}: a reference leads in a circle.", "Mend the description.")


def _operations(paths: dict[str, Json]) -> Iterator[tuple[str, str, Json, list[Json]]]:
    for path, entry in paths.items():
        for method in METHODS:
            if method in entry:
                yield path, method, entry[method], entry.get("parameters", [])


def _renamed(schema: Any) -> Any:
    """Schemas with their references where the tool's own schema keeps them."""
    if isinstance(schema, dict):
        pairs = cast(Json, schema).items()
        return {
            key: value.replace("#/components/schemas/", "#/$defs/") if key == "$ref" else _renamed(value)
            for key, value in pairs
        }
    return [_renamed(inner) for inner in cast("list[Any]", schema)] if isinstance(schema, list) else schema


def _description(value: Json) -> Json:
    return {"description": value["description"]} if value.get("description") else {}


async def _limited(response: httpx.Response) -> bytes:
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > MOST_BYTES:
            raise ToolError(f"The answer is larger than {MOST_BYTES >> 20} MiB.", "Ask for less.")
    return bytes(content)
