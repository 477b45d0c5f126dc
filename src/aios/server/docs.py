"""`/openapi.json` and `/docs`, both made from the endpoints: one page, no scripts, nothing fetched."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from aios.server.endpoint import Endpoint
from aios.server.errors import ErrorBody

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
code,pre{background:#8881;border-radius:4px;padding:.1em .3em}h3 code:first-child{font-weight:bold}
table{border-collapse:collapse}td,th{text-align:left;vertical-align:top;padding:.15rem .8rem .15rem 0}"""


class Docs:
    """Documents `endpoints` (and not itself). Both texts are made once."""

    def __init__(self, endpoints: Sequence[Endpoint], version: str) -> None:
        spec = describe(endpoints, version)
        self._json = msgspec.json.encode(spec)
        self._html = render(spec)

    def endpoints(self) -> tuple[Endpoint, ...]:
        return (Endpoint("GET", "/openapi.json", self.openapi), Endpoint("GET", "/docs", self.docs))

    async def openapi(self, _: Request) -> Response:
        """This API, as OpenAPI 3.1."""
        return Response(self._json, media_type="application/json")

    async def docs(self, _: Request) -> Response:
        """This API, as a page to read."""
        return HTMLResponse(self._html)


def describe(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 description of `endpoints`."""
    types = [type for e in endpoints for type in (e.takes, e.gives) if type is not None]
    schemas, components = msgspec.json.schema_components(
        [*types, ErrorBody], ref_template="#/components/schemas/{name}"
    )
    found = iter(schemas)
    paths: dict[str, dict[str, Any]] = {}
    failure = {"description": "An error", "content": _json(schemas[-1])}
    for e in endpoints:
        takes = next(found) if e.takes is not None else None
        gives = next(found) if e.gives is not None else None
        operation: dict[str, Any] = {
            "summary": _summary(e),
            "operationId": e.handler.__name__,
            "parameters": _parameters(e),
            "responses": {str(e.status): {"description": "The answer"}, "default": failure},
        }
        if takes is not None:
            operation["requestBody"] = {"required": True, "content": _content(e.takes, takes)}
        if gives is not None:
            operation["responses"][str(e.status)]["content"] = _content(e.gives, gives)
        paths.setdefault(_path(e), {})[e.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "AIOS", "version": version, "license": {"name": "Apache-2.0"}},
        "security": [{"key": []}, {}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def render(spec: dict[str, Any]) -> str:
    """A page of an OpenAPI description."""
    parts = [f"<!doctype html><meta charset=utf-8><title>AIOS</title><style>{_STYLE}</style><h1>AIOS</h1>"]
    parts.append("<p>Also as <a href=/openapi.json>OpenAPI</a>.</p>")
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            parts.append(f"<h3><code>{method.upper()}</code> <code>{path}</code></h3>")
            parts.append(f"<p>{html.escape(operation['summary'])}</p>")
            query = [(p["name"], p["description"]) for p in operation["parameters"] if p["in"] == "query"]
            parts += [f"<p><code>?{name}=</code> {html.escape(text)}</p>" for name, text in query]
            if "requestBody" in operation:
                parts.append(f"<p>Takes {_link(operation['requestBody']['content'])}</p>")
            content = next(iter(operation["responses"].values())).get("content")
            if content:
                parts.append(f"<p>Gives {_link(content)}</p>")
    parts.append("<h2>Types</h2>")
    for name, schema in spec["components"]["schemas"].items():
        parts.append(f"<h3 id={name}>{name}</h3><p>{html.escape(schema.get('description', ''))}</p><table>")
        for field, kind in schema.get("properties", {}).items():
            needed = " (required)" if field in schema.get("required", ()) else ""
            parts.append(f"<tr><td><code>{field}</code>{needed}<td>{_kind(kind)}")
        parts.append("</table>")
    return "".join(parts)


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words, with links to the types it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"<a href=#{name}>{name}</a>"
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{html.escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        return f"list of {_kind(schema['items'])}"
    limits = [f"{sign} {schema[key]:g}" for key, sign in _LIMITS if key in schema]
    return " ".join([html.escape(str(schema.get("type", "anything"))), *limits])


_LIMITS = (("minimum", "≥"), ("maximum", "≤"), ("exclusiveMinimum", "&gt;"))


def _link(content: dict[str, Any]) -> str:
    (body,) = content.values()
    return _kind(body["schema"])


def _content(type: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """Bytes go as they are."""
    return {"application/octet-stream": {"schema": {"type": "string"}}} if type is bytes else _json(schema)


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _path(endpoint: Endpoint) -> str:
    return re.sub(r":\w+}", "}", endpoint.path)  # the router's `{model:path}` is OpenAPI's `{model}`


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    text = {"type": "string"}
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in re.findall(r"{(\w+)}", _path(endpoint))
    ]
    return in_path + [
        {"name": name, "in": "query", "description": what, "schema": text}
        for name, what in endpoint.query.items()
    ]


def _summary(endpoint: Endpoint) -> str:
    return " ".join((endpoint.handler.__doc__ or "").split())
